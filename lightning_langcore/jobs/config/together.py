"""Several checks whose errors are reported together."""

from collections.abc import Callable, Iterable
from typing import Any

from lightning_langcore.utils.errors import LangcoreError


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
