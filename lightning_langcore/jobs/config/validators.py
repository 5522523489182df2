"""Checks of single settings: each raises one sentence that names the setting; several are reported together."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf


def make(node: Any, **more: Any) -> Any:
    """``hydra.utils.instantiate``, with plain containers; what the class itself refuses arrives as it was raised.

    Raises:
        ValueError: the class refuses its arguments, is not there, or needs a package that is not installed.
    """
    try:
        return instantiate(node, _convert_="all", **more)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError):
            raise error.__cause__ from None
        missing = _missing_package(error)
        if missing is not None:
            raise ValueError(
                f"{_target(node)} needs the package {missing}, which is not installed: pip install {missing}, or choose"
                " another"
            ) from error
        if isinstance(error.__cause__, TypeError | MisconfigurationException | ImportError):
            raise ValueError(
                f"{_target(node)} can't be made ({one_line(error.__cause__)}): mend this name or the settings beside it"
            ) from error
        raise


def one_line(error: BaseException) -> str:
    """What an error says, without the breaks."""
    return " ".join(str(error).split())


def _target(node: Any) -> str:
    """The class as the user may set it: with the whole path of the setting, where it comes from a configuration."""
    setting = node._get_full_key("_target_") if OmegaConf.is_config(node) else "_target_"
    return f"{setting}={node['_target_']}"


def _missing_package(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name:
            return error.name
        error = error.__cause__
    return None


def together(checks: Iterable[Callable[[], Any]]) -> None:
    """Run all checks.

    Raises:
        ValueError: one line for each that failed.
    """
    errors = []
    for one in checks:
        try:
            one()
        except ValueError as error:
            errors += str(error).splitlines()  # the same may be found by more than one
    if errors:
        raise ValueError("\n".join(dict.fromkeys(errors)))


def one_of(setting: str, value: Any, known: Sequence[str]) -> None:
    """One of some words."""
    if value not in known:
        raise ValueError(f"{setting}={value} is none of {', '.join(known)}")


def positive(setting: str, value: Any) -> None:
    """A whole number of at least 1."""
    if not is_whole(value) or value < 1:
        raise ValueError(f"{setting}={value} must be a whole number of at least 1")


def listed(setting: str, values: Any, fits: Callable[[Any], bool], what: str) -> None:
    """A list in which each fits and none stands twice."""
    fit = OmegaConf.is_list(values) and len(values) and all(map(fits, values))
    if not fit or any(list(values).count(value) > 1 for value in values):
        raise ValueError(f"{setting}={values} must be {what}, at least one and each once")


def is_text(value: Any) -> bool:
    """Text that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def is_finite(value: Any) -> bool:
    """A number that is neither NaN nor infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """A whole number."""
    return isinstance(value, int) and not isinstance(value, bool)
