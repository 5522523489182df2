"""A bar where there is a terminal, plain lines where there is none; nothing for what is over at once."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from lightning_utilities.core.rank_zero import rank_zero_only
from tqdm import tqdm

T = TypeVar("T")

DELAY_SECONDS = 2.0
"""Work that ends sooner shows nothing."""

LINE_SECONDS = 10.0
"""Without a terminal: seconds between two lines."""


def is_terminal() -> bool:
    """Whether bars can be drawn on standard error."""
    return sys.stderr.isatty()


def say(text: str, every_rank: bool = False) -> None:
    """A plain line for the user, from the first rank only unless ``every_rank``."""
    if every_rank or getattr(rank_zero_only, "rank", 0) == 0:
        print(text, file=sys.stderr, flush=True)


def track(items: Iterable[T], description: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Hand the items on and show how many are done.

    Args:
        items: what to iterate over.
        description: what is being done.
        total: how many, where ``items`` does not know.
        unit: what one is called.
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
