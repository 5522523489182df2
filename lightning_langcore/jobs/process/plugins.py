"""Modules of the user that a run imports before it reads its configuration."""

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path


def import_modules(names: Iterable[str]) -> None:
    """Import the modules that the setting ``imports`` names, from the present folder too.

    Raises:
        ValueError: there is no such module, or it needs one that is not installed.
    """
    here = str(Path.cwd())
    for name in names:
        if here not in sys.path:
            sys.path.insert(0, here)
        try:
            import_module(name)
        except ImportError as error:
            raise ValueError(
                f"imports={name}: can't be imported ({error}): name a module of this folder or package"
            ) from error
