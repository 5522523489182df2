"""What a source of text is, and how its documents are divided."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Protocol


class Source(Protocol):
    """Documents in several languages, always in the same order."""

    @property
    def languages(self) -> list[str]:
        """Codes of the languages it has."""

    def documents(self, language: str) -> Iterator[tuple[str, str]]:
        """Pairs of key and text; the key alone decides the split, and translations of one another may share it."""

    def digest(self) -> str:
        """Changes when the text changes."""


class Splitter:
    """Sorts documents into splits and, within the training split, pools, by a hash of their key.

    So a document never changes its place when others are added, and splits and pools never share one.

    Args:
        test: share of the documents for ``test``, 0..1.
        validation: share for ``validation``.
        pools: pool -> weight, for what the training split is used for: ``base``, ``locate`` and ``run`` stay disjoint.

    Raises:
        ValueError: shares outside [0, 1), or no pool.
    """

    def __init__(self, test: float, validation: float, pools: Mapping[str, float]) -> None:
        if test < 0 or validation < 0 or test + validation >= 1:
            raise ValueError(f"data.splits: test={test} and validation={validation} must leave a share for training")
        if not pools or min(pools.values()) < 0 or sum(pools.values()) <= 0:
            raise ValueError(f"data.pools={dict(pools)} must have weights that are not negative, one of them positive")
        self._splits = {"test": test, "validation": validation}
        self._pools = dict(pools)

    def place(self, key: str) -> str:
        """``test``, ``validation`` or the name of a pool."""
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        position = int.from_bytes(digest[:8], "little") / 2**64
        for split, share in self._splits.items():
            if position < share:
                return split
            position -= share
        position = int.from_bytes(digest[8:], "little") / 2**64 * sum(self._pools.values())
        for pool, weight in self._pools.items():
            if position < weight:
                return pool
            position -= weight
        return pool

    def texts(self, source: Source, language: str, place: str) -> Iterator[str]:
        """The texts of one split or pool, in the source's order."""
        return (text for key, text in source.documents(language) if self.place(key) == place)
