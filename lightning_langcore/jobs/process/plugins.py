"""The user's modules, which a run imports before it checks its configuration."""

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from lightning_langcore.utils.errors import LangcoreError


def import_modules(names: Iterable[str]) -> None:
    """Import the modules of the setting ``imports``; the current folder is added to ``sys.path``.

    Raises:
        LangcoreError: a module is missing, or imports a package that is not installed.
    """
    folder = str(Path.cwd())
    for name in names:
        if folder not in sys.path:
            sys.path.insert(0, folder)
        try:
            import_module(name)
        except ImportError as error:
            raise LangcoreError(
                f"imports={name}: can't be imported ({error}): name a module of this folder or an installed one"
            ) from error
