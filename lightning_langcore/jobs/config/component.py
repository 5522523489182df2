"""A node with ``_target_``: a class or function of ours or of the user's, and its arguments."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lightning_langcore.utils.errors import LangcoreError

REGION_FILE, BASE = "<region.file>", "<paths.base>"
"""What ``${region.file}`` and ``${paths.base}`` resolve to until the job has made or found these files."""


@dataclass(frozen=True)
class Component:
    """An object that is made from the configuration, as by ``hydra.utils.instantiate``.

    Args:
        setting: full name of the node, for messages.
        node: ``_target_`` and the arguments, resolved; a reference to a file of the job is still one of ``REGION_FILE``
            and ``BASE``.
    """

    setting: str
    node: Mapping[str, Any] = field(repr=False)

    @property
    def target(self) -> str:
        """The full name in ``_target_``."""
        return str(self.node["_target_"])

    @property
    def arguments(self) -> dict[str, Any]:
        """The node without Hydra's own keys."""
        return {key: value for key, value in self.node.items() if not (key.startswith("_") and key.endswith("_"))}

    @cached_property
    def resolved(self) -> Any:
        """The class or function that ``_target_`` names.

        Raises:
            LangcoreError: it does not exist, or needs a package that is not installed.
        """
        try:
            return get_object(self.target)
        except (ImportError, AttributeError, ValueError) as error:
            raise self._error(error) from error

    def is_a(self, cls: type) -> bool:
        """Whether the target is this class or a subclass of it."""
        return inspect.isclass(self.resolved) and issubclass(self.resolved, cls)

    def check_arguments(self) -> None:
        """Check that the target takes the arguments, without making it.

        Raises:
            LangcoreError: the target does not exist or can't be imported, or an argument has another name.
        """
        try:
            parameters = inspect.signature(self.resolved).parameters.values()
        except (TypeError, ValueError):  # a builtin without a signature
            return
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return
        known = [parameter.name for parameter in parameters]
        for name in self.arguments:
            if name not in known:
                close = get_close_matches(name, known)
                way = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known)}"
                raise LangcoreError(f"{self.setting}.{name}: {self.target} has no argument {name}; {way}")

    def with_files(self, files: Mapping[str, str]) -> "Component":
        """The component whose references are replaced by these files."""
        return Component(self.setting, replaced(self.node, files))

    def make(self, **more: Any) -> Any:
        """Make the object, with plain containers as arguments.

        Raises:
            LangcoreError: the class refuses its arguments, does not exist, or needs a package that is not installed.
        """
        try:
            return instantiate(dict(self.node), _convert_="all", **more)
        except InstantiationException as error:
            cause = error.__cause__
            if isinstance(cause, LangcoreError):
                raise cause from None
            if isinstance(cause, ValueError):
                raise LangcoreError(str(cause)) from error
            if isinstance(cause, TypeError | MisconfigurationException | ImportError):
                raise self._error(cause) from error
            raise

    def _error(self, error: BaseException) -> LangcoreError:
        name = f"{self.setting}._target_={self.target}"
        missing = _missing_package(error)
        if missing is not None:
            return LangcoreError(
                f"{name} needs the package {missing}, which is not installed: pip install {missing}, or choose another"
            )
        return LangcoreError(f"{name} can't be made ({one_line(error)}): fix this name or the settings beside it")


def replaced(value: Any, files: Mapping[str, str]) -> Any:
    """A plain value with its references replaced; see :meth:`Component.with_files`."""
    if isinstance(value, Mapping):
        return {key: replaced(item, files) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, files) for item in value]
    return files.get(value, value) if isinstance(value, str) else value


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split())


def _missing_package(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name:
            return error.name
        error = error.__cause__
    return None
