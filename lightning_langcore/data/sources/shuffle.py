"""Shuffling of a stream of documents in chunks, from any position."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from lightning_langcore.data.sources.base import Document, Position

_BATCH = 256


def shuffled_chunks(
    reads: Iterable[tuple[Position, Document]], start: Position, size: int, seed: Sequence[int]
) -> Iterator[tuple[Position, list[Document]]]:
    """Documents shuffled in chunks, so that the order after a chunk does not depend on earlier documents.

    Args:
        reads: documents, each with the position after it.
        start: position before the first document.
        size: number of documents per chunk, which are held in memory; 0: no shuffling.
        seed: seed of the order, together with the position where the chunk begins.

    Yields:
        The position where a chunk begins, and the documents of the chunk.
    """
    reads = iter(reads)
    while chunk := list(islice(reads, size or _BATCH)):
        order = np.random.default_rng([*seed, *start]).permutation(len(chunk)) if size else range(len(chunk))
        yield start, [chunk[i][1] for i in order]
        start = chunk[-1][0]
