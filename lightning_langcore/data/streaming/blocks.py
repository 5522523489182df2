"""Training from a stream, without a packed copy on disk: for text that is larger than the disk.

Each worker of each rank is a reader that reads its own share of the documents. Batch j of a rank comes from its worker
j % num_workers, and row i of that batch is block n = (j * world_size + rank) * batch_size + i of the run. The part of
the mix that fills a block is a function of n alone.
"""

import json
import os
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import PreTrainedTokenizerBase

from lightning_langcore.data.mixing import Part
from lightning_langcore.data.sources.base import Splitter
from lightning_langcore.data.streaming.reader import PartReader
from lightning_langcore.data.tokenization import begin_token, end_token
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say

_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: its multiples modulo 2^64 are evenly distributed over 0..2^64."""


class StreamedBlocks(IterableDataset[dict[str, Any]]):
    """Batches of blocks, filled with documents as they are read; for :class:`StreamedLoader`.

    Items: ``input_ids`` and ``shift_labels`` (batch_size, block_size) int64, the labels shifted by one token;
    ``num_documents`` (batch_size,) int64, the number of documents whose last token is among the labels; ``documents``:
    the documents that each row overlaps, in the format of
    :class:`~lightning_langcore.data.packing.dataset.PackedRows`; ``state``: state of the worker after the batch.

    Memory: ``shuffle_buffer`` documents of each part, in each worker.

    Args:
        parts: parts of the mix. At any time the share of a part is exact to within a few blocks.
        splitter: assigns the documents to splits and pools.
        pool: pool that is read.
        tokenizer: tokenizer of the model; each document is put between its begin and end token.
        block_size: tokens per block.
        batch_size: blocks per batch and rank.
        num_blocks: number of blocks of a pass over the loader, over all ranks; rounded down to whole batches.
        seed: seed of the order of parts and documents.
        rank: rank of this process.
        world_size: number of ranks.
        max_epochs: maximum number of times the text of a part may be read, rounded up.
        shuffle_buffer: number of documents that are shuffled at a time; 0: no shuffling.
        keep: whether to train on a document with these tokens; ``None``: keeps all documents.

    Raises:
        LangcoreError: less than a batch for each rank. When read: a part that has no documents for a reader, or a part
            whose text is exhausted.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        splitter: Splitter,
        pool: str,
        tokenizer: PreTrainedTokenizerBase,
        block_size: int,
        batch_size: int,
        num_blocks: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        max_epochs: float = 1,
        shuffle_buffer: int = 10_000,
        keep: Callable[[list[int]], bool] | None = None,
    ) -> None:
        self.parts = parts
        self.splitter = splitter
        self.pool = pool
        self.tokenizer = tokenizer
        self.block_size = block_size
        self.batch_size = batch_size
        self.num_batches = num_blocks // (batch_size * world_size)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.max_epochs = max_epochs
        self.shuffle_buffer = shuffle_buffer
        self.keep = keep
        begin, self.end = begin_token(tokenizer), end_token(tokenizer)
        self.begin = [] if begin == self.end else [begin]
        self._bounds = list(accumulate(part.share for part in parts))[:-1]
        self._offset = int(np.random.default_rng(seed).integers(1 << 64, dtype=np.uint64))
        self._batches: Sequence[int] = range(self.num_batches)
        self._states: Sequence[Sequence[Mapping[str, Any]]] = []
        if self.num_batches == 0:
            raise LangcoreError(
                f"data.num_tokens makes {num_blocks} rows of {block_size} tokens, less than one batch of"
                f" data.batch_size={batch_size} for each of {world_size} rank(s): raise data.num_tokens or lower"
                " data.batch_size"
            )

    def __len__(self) -> int:
        return self.num_batches

    def part_of(self, block: int) -> int:
        """Index of the part that fills a block: element ``block`` of a low-discrepancy sequence in 0..1, by share."""
        return bisect(self._bounds, (block * _GOLDEN + self._offset) % 2**64 / 2**64)

    def resume(self, batches: Sequence[int], states: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Set the next batches of this rank, and the state of each worker; an empty state is the start."""
        self._batches, self._states = batches, states

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        if worker is None:
            yield from self._read(0, 1)
            return
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # otherwise a forked tokenizer warns
        try:
            yield from self._read(worker.id, worker.num_workers)
        except LangcoreError as error:
            yield {"error": str(error)}  # an error raised in a worker would reach the user as a traceback

    def _read(self, worker: int, num_workers: int) -> Iterator[dict[str, Any]]:
        batches = self._batches[worker::num_workers]
        if not batches:
            return
        reader = batches[0] % num_workers
        share = (self.rank * num_workers + reader, self.world_size * num_workers)
        states = (self._states[reader] if self._states else None) or [{} for _ in self.parts]
        readers = [PartReader(self, number, share, state) for number, state in enumerate(states)]
        for batch in batches:
            yield self._batch(batch, readers)

    def _batch(self, batch: int, readers: Sequence["PartReader"]) -> dict[str, Any]:
        first = (batch * self.world_size + self.rank) * self.batch_size
        blocks = [readers[self.part_of(first + row)].block() for row in range(self.batch_size)]
        tokens = torch.tensor([block.tokens for block in blocks])
        return {
            "input_ids": tokens[:, :-1].contiguous(),
            "shift_labels": tokens[:, 1:].contiguous(),
            "num_documents": torch.tensor([block.num_documents for block in blocks]),
            "documents": [json.dumps(block.documents, ensure_ascii=False) for block in blocks],
            "state": [reader.state for reader in readers],
        }


class StreamedLoader(DataLoader[dict[str, Any]]):
    """A loader of :class:`StreamedBlocks` that tracks the state of every worker of every rank.

    Lightning saves the loader state of rank 0 alone in its checkpoints, so the states of all ranks are gathered. A
    second pass continues where the first one ended.
    """

    dataset: StreamedBlocks

    def __init__(self, blocks: StreamedBlocks, num_workers: int = 0) -> None:
        super().__init__(blocks, batch_size=None, num_workers=num_workers)
        self._num_returned = 0
        self._states: list[list[dict[str, Any]]] = [[] for _ in range(max(1, num_workers))]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        start = self._num_returned
        if self.dataset.shuffle_buffer:
            say(
                f"reading up to {self.dataset.shuffle_buffer:,} documents of each part to shuffle (data.shuffle_buffer)"
            )
        self.dataset.resume(range(start, (start // len(self) + 1) * len(self)), self._states)
        for number, batch in enumerate(super().__iter__(), start):
            if "error" in batch:
                raise LangcoreError(batch["error"])
            self._states[number % len(self._states)] = batch.pop("state")
            self._num_returned = number + 1
            yield batch

    def used(self) -> list[dict[str, Any]]:
        """How much of each part all ranks have read so far. Collective: every rank must call it.

        Returns:
            Dicts of ``source``, ``language``, ``kind``, ``tokens``, ``documents``, ``filtered`` (documents that were
            not kept) and ``epochs``, which is 0 until a reader reaches the end of the text, whose length is unknown.
        """
        states = [state for rank in self._gathered() for state in rank if state]
        found = []
        for number, part in enumerate(self.dataset.parts):
            own = [state[number] for state in states]
            sums = {key: sum(state[key] for state in own) for key in ("tokens", "documents", "filtered")}
            epochs = max((state["epoch"] for state in own), default=0)
            found.append({"source": part.name, "language": part.language, "kind": part.kind, **sums, "epochs": epochs})
        return found

    def state_dict(self) -> dict[str, Any]:
        """State of all ranks. Collective: every rank must call it."""
        return {"streamed_batches": self._num_returned, "settings": self._settings(), "ranks": self._gathered()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of :meth:`state_dict`.

        Raises:
            LangcoreError: the checkpoint was written by a run on packed text, or on a stream with other settings.
        """
        if "streamed_batches" not in state:
            raise LangcoreError(
                "this checkpoint was written by a run on packed text: resume with data.on_the_fly=false"
            )
        for name, value in self._settings().items():
            if state["settings"][name] != value:
                raise LangcoreError(
                    f"this checkpoint was written with {name}={state['settings'][name]}, now it is {value}: a stream"
                    " can be resumed only with the same settings"
                )
        self._num_returned = state["streamed_batches"]
        self._states = list(state["ranks"][self.dataset.rank])

    def _settings(self) -> dict[str, Any]:
        blocks = self.dataset
        return {
            "world size": blocks.world_size,
            "data.num_workers": self.num_workers,
            "data.block_size": blocks.block_size,
            "data.batch_size": blocks.batch_size,
            "data.mix": {part.label: part.share for part in blocks.parts},
            "seed": blocks.seed,
            "data.shuffle_buffer": blocks.shuffle_buffer,
        }

    def _gathered(self) -> list[list[list[dict[str, Any]]]]:
        """Rank -> worker -> part -> state."""
        found: list[Any] = [[] for _ in range(self.dataset.world_size)]
        found[self.dataset.rank] = self._states
        if self.dataset.world_size > 1 and distributed.is_available() and distributed.is_initialized():
            distributed.all_gather_object(found, self._states)
        return found
