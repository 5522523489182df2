"""Training straight from a stream, without a packed copy on disk: for text that is larger than the disk.

Each worker of each rank is a reader with documents of its own. Batch j of a rank comes from its worker j modulo their
number, and its row i is block n = (j * world_size + rank) * batch_size + i of the run. A function of n alone says which
part of the mix the block is filled from.
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
from lightning_langcore.utils.progress import say

_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: its multiples fill every part of 0..2^64 evenly."""


class StreamedBlocks(IterableDataset[dict[str, Any]]):
    """Batches of blocks, filled with documents as they are read; for :class:`StreamedLoader`.

    Items: ``input_ids`` and ``shift_labels`` (batch_size, block_size) int64, the labels one token further on;
    ``num_documents`` (batch_size,) int64, how many documents' last token is among the labels; ``documents``: for each
    row which ones it overlaps, as :class:`~lightning_langcore.data.packing.dataset.PackedRows` has it; ``state``: where
    the worker stands after the batch.

    Memory: ``shuffle_buffer`` documents of each part, in each worker.

    Args:
        parts: what is mixed. The share of a part is kept to within a few blocks at any time.
        splitter: divides the documents.
        pool: which ones count.
        tokenizer: of the model; each document stands between its begin and end token.
        block_size: tokens a block.
        batch_size: blocks a batch and rank.
        num_blocks: of a pass over the loader, all ranks together; rounded down to whole batches.
        seed: of the order of parts and documents.
        rank: of this process.
        world_size: ranks.
        max_epochs: how often the text of a part may be read, rounded up.
        shuffle_buffer: documents that are shuffled at a time; 0: as they come.
        keep: whether a document with these tokens is trained on; ``None``: all are.

    Raises:
        ValueError: less than a batch for each rank. When read: a part that has no documents for a reader, or whose text
            runs dry.
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
        self.begin = [] if tokenizer.bos_token_id == tokenizer.eos_token_id else [tokenizer.bos_token_id]
        self._bounds = list(accumulate(part.share for part in parts))[:-1]
        self._offset = int(np.random.default_rng(seed).integers(1 << 64, dtype=np.uint64))
        self._batches: Sequence[int] = range(self.num_batches)
        self._states: Sequence[Sequence[Mapping[str, Any]]] = []
        if self.num_batches == 0:
            raise ValueError(
                f"data.num_tokens makes {num_blocks} rows of {block_size} tokens, less than one batch of"
                f" data.batch_size={batch_size} for each of {world_size} rank(s): raise the first or lower the last"
            )

    def __len__(self) -> int:
        return self.num_batches

    def part_of(self, block: int) -> int:
        """Which part fills a block: point ``block`` of an evenly spread sequence, in the parts' shares of 0..1."""
        return bisect(self._bounds, (block * _GOLDEN + self._offset) % 2**64 / 2**64)

    def go_on(self, batches: Sequence[int], states: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Set which batches of this rank come next, and where each worker stands; empty where it begins."""
        self._batches, self._states = batches, states

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        if worker is None:
            yield from self._read(0, 1)
            return
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else a forked tokenizer warns
        try:
            yield from self._read(worker.id, worker.num_workers)
        except ValueError as error:
            yield {"error": str(error)}  # raised here it would reach the user as a traceback

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
    """A loader of :class:`StreamedBlocks` that remembers where every worker of every rank stands.

    Lightning keeps that in its checkpoints, those of rank 0 alone; the states of all ranks are gathered for it. A
    second pass goes on where the first ended.
    """

    dataset: StreamedBlocks

    def __init__(self, blocks: StreamedBlocks, num_workers: int = 0) -> None:
        super().__init__(blocks, batch_size=None, num_workers=num_workers)
        self._handed_out = 0
        self._states: list[list[dict[str, Any]]] = [[] for _ in range(max(1, num_workers))]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        start = self._handed_out
        if self.dataset.shuffle_buffer:
            say(
                f"reading up to {self.dataset.shuffle_buffer:,} documents of each part to shuffle (data.shuffle_buffer)"
            )
        self.dataset.go_on(range(start, (start // len(self) + 1) * len(self)), self._states)
        for number, batch in enumerate(super().__iter__(), start):
            if "error" in batch:
                raise ValueError(batch["error"])
            self._states[number % len(self._states)] = batch.pop("state")
            self._handed_out = number + 1
            yield batch

    def used(self) -> list[dict[str, Any]]:
        """What was read of each part until now by all ranks; every rank must call it.

        Returns:
            Dicts of ``source``, ``language``, ``kind``, ``tokens``, ``documents``, ``filtered`` (documents that were
            not kept) and ``epochs``, 0 until a reader has come to the end of the text, for its length is not known.
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
        """Where all ranks stand; every rank must call it."""
        return {"streamed_batches": self._handed_out, "settings": self._settings(), "ranks": self._gathered()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there.

        Raises:
            ValueError: the checkpoint is not of a stream, or of one with other settings.
        """
        if "streamed_batches" not in state:
            raise ValueError("this checkpoint was written by a run on packed text: go on with data.on_the_fly=false")
        for name, value in self._settings().items():
            if state["settings"][name] != value:
                raise ValueError(
                    f"this checkpoint was written with {name}={state['settings'][name]}, now it is {value}: a stream"
                    " goes on only with the same"
                )
        self._handed_out = state["streamed_batches"]
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
