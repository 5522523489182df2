"""Checks of single settings. Each raises a one-line message that names the setting."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf

from lightning_langcore.utils.errors import LangcoreError


def make(node: Any, **more: Any) -> Any:
    """``hydra.utils.instantiate`` with plain containers; a ``ValueError`` of the class itself is the user's mistake.

    Raises:
        LangcoreError: the class refuses its arguments, does not exist, or needs a package that is not installed.
    """
    try:
        return instantiate(node, _convert_="all", **more)
    except InstantiationException as error:
        if isinstance(error.__cause__, LangcoreError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, ValueError):
            raise LangcoreError(str(error.__cause__)) from error
        missing = _missing_package(error)
        if missing is not None:
            raise LangcoreError(
                f"{_target(node)} needs the package {missing}, which is not installed: pip install {missing}, or choose"
                " another"
            ) from error
        if isinstance(error.__cause__, TypeError | MisconfigurationException | ImportError):
            raise LangcoreError(
                f"{_target(node)} can't be made ({one_line(error.__cause__)}): fix this name or the settings beside it"
            ) from error
        raise


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split())


def _target(node: Any) -> str:
    """``SETTING._target_=CLASS``, with the full path of the setting if the node belongs to a configuration."""
    setting = node._get_full_key("_target_") if OmegaConf.is_config(node) else "_target_"
    return f"{setting}={node['_target_']}"


def _missing_package(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name:
            return error.name
        error = error.__cause__
    return None


def raise_together(checks: Iterable[Callable[[], Any]]) -> None:
    """Run all checks and report all failures in one error.

    Raises:
        LangcoreError: one line for each failed check.
    """
    errors = []
    for check in checks:
        try:
            check()
        except LangcoreError as error:
            errors += str(error).splitlines()
    if errors:
        raise LangcoreError("\n".join(dict.fromkeys(errors)))  # several checks may report the same error


def one_of(setting: str, value: Any, known: Sequence[str]) -> None:
    """Require one of the known choices.

    Raises:
        LangcoreError: any other value.
    """
    if value not in known:
        raise LangcoreError(f"{setting}={value} is none of {', '.join(known)}")


def positive(setting: str, value: Any) -> None:
    """Require a whole number of at least 1.

    Raises:
        LangcoreError: any other value.
    """
    if not is_whole(value) or value < 1:
        raise LangcoreError(f"{setting}={value} must be a whole number of at least 1")


def listed(setting: str, values: Any, is_valid: Callable[[Any], bool], expected: str) -> None:
    """Require a list that is not empty, whose items are valid and differ from one another.

    Args:
        setting: name of the setting, for the message.
        values: the value to check.
        is_valid: the check of one item.
        expected: description of a valid list, for the message.

    Raises:
        LangcoreError: any other value.
    """
    valid = OmegaConf.is_list(values) and len(values) and all(map(is_valid, values))
    if not valid or any(list(values).count(value) > 1 for value in values):
        raise LangcoreError(f"{setting}={values} must be {expected}, at least one and each once")


def is_text(value: Any) -> bool:
    """Whether the value is a string that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def is_finite(value: Any) -> bool:
    """Whether the value is a finite number; booleans are not numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Whether the value is a whole number; booleans are not."""
    return isinstance(value, int) and not isinstance(value, bool)
