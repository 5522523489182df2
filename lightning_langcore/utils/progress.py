"""Progress as a bar in a terminal and as plain lines elsewhere; short tasks print nothing."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from lightning_utilities.core.rank_zero import rank_zero_only
from tqdm import tqdm

T = TypeVar("T")

DELAY_SECONDS = 2.0
"""Minimum duration of a task, in seconds, before progress is shown."""

LINE_SECONDS = 10.0
"""Seconds between two lines without a terminal."""


def is_terminal() -> bool:
    """Whether standard error is a terminal, so that bars can be drawn."""
    return sys.stderr.isatty()


def say(text: str, every_rank: bool = False) -> None:
    """Print a line on standard error, on rank 0 only unless ``every_rank``."""
    if every_rank or getattr(rank_zero_only, "rank", 0) == 0:
        print(text, file=sys.stderr, flush=True)


def track(items: Iterable[T], description: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yield the items and show progress.

    Args:
        items: items to iterate over.
        description: description of the task.
        total: number of items, if ``items`` has no length.
        unit: name of one item.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if is_terminal():
        quiet = getattr(rank_zero_only, "rank", 0) != 0
        yield from tqdm(items, description, total, leave=False, delay=DELAY_SECONDS, unit=unit, disable=quiet)
        return
    last = time.monotonic() + DELAY_SECONDS - LINE_SECONDS
    for done, item in enumerate(items):
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            say(f"{description}: {done}{'' if total is None else f' of {total}'} {unit}")
        yield item
