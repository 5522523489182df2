"""Packed rows of several parts as a dataset, and a loader that can be resumed."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_langcore.data.mixing import Part
from lightning_langcore.utils.errors import LangcoreError


class Packed(Protocol):
    """Text or conversations, packed on disk into rows of equal length.

    Attributes:
        folder: folder of the files.
        num_filtered: number of documents that were left out.
        num_cut: number of documents that were shortened.
    """

    folder: Path
    num_filtered: int
    num_cut: int

    def num_rows(self, block_size: int) -> int:
        """Number of rows."""

    def tokens_per_row(self, block_size: int) -> float:
        """Mean number of tokens per row without padding."""

    def num_documents(self, rows: np.ndarray, block_size: int) -> int:
        """Number of documents that end in these rows."""

    def rows_with_tags(self, block_size: int) -> np.ndarray:
        """The last row of each document with noise, ascending."""

    def row(self, number: int, block_size: int) -> dict[str, Any]:
        """One row; ``documents`` holds the numbers of the documents in it."""

    def describe(self, number: int) -> dict[str, str]:
        """``document``: the identity; ``tag``: the noise, if there is any."""


class PackedRows(Dataset[dict[str, Any]]):
    """Rows of several parts in a given order.

    Items: ``input_ids`` and ``shift_labels`` (block_size,) int64, the token after each position, or -100 at positions
    without a label; ``num_documents`` int64 scalar, the number of documents that end in the row; ``documents``: the
    documents that the row overlaps, as a JSON list of ``source``, ``language``, ``document`` and, for documents with
    noise, ``tag``. With ``positions`` also ``position_ids`` (block_size,) int64, which restart at 0 in each
    conversation.

    Args:
        packed: packed text of each part.
        parts: the parts.
        order: (N, 2) int64, pairs of part and row.
        block_size: tokens per row.
        positions: whether items have ``position_ids``.
    """

    def __init__(
        self, packed: Sequence[Packed], parts: Sequence[Part], order: np.ndarray, block_size: int, positions: bool
    ) -> None:
        self.packed = packed
        self.parts = parts
        self.order = order
        self.block_size = block_size
        self.positions = positions

    def __len__(self) -> int:
        return len(self.order)

    def digest(self) -> str:
        """SHA-256 of the rows and their order."""
        h = hashlib.sha256(json.dumps([self.block_size, *(rows.folder.name for rows in self.packed)]).encode())
        h.update(np.ascontiguousarray(self.order).tobytes())
        return h.hexdigest()

    def __getitem__(self, item: int) -> dict[str, Any]:
        part, number = self.order[item].tolist()
        row = self.packed[part].row(number, self.block_size)
        named = {"source": self.parts[part].name, "language": self.parts[part].language}
        described = [named | self.packed[part].describe(document) for document in row["documents"]]
        row["documents"] = json.dumps(described, ensure_ascii=False)
        if self.positions and "position_ids" not in row:
            row["position_ids"] = torch.arange(self.block_size)
        return row


class ResumableLoader(DataLoader[dict[str, Any]]):
    """A loader that counts the batches it has returned; Lightning saves this state in its checkpoints.

    With a plain loader a run that is resumed inside an epoch sees the batches again from the start. Lightning loses the
    state if ``configure_optimizers`` reads ``trainer.estimated_stepping_batches`` and the trainer must count batches to
    compute it: set ``max_steps`` and leave ``max_epochs`` at -1.
    """

    _start = 0
    _num_returned = 0

    def _digest(self) -> str | None:
        """Digest of the text and of its division into batches; ``None`` if the dataset has no digest."""
        digest = getattr(self.dataset, "digest", None)
        world_size = getattr(self.sampler, "num_replicas", 1)
        return None if digest is None else f"{digest()}, {self.batch_size} rows a batch, {world_size} rank(s)"

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        start, self._start = self._start % max(1, len(self)), 0  # 0 after a checkpoint at the end of an epoch
        for number, batch in enumerate(super().__iter__()):
            if number < start:
                continue
            self._num_returned = number + 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Number of batches returned so far, and digest of the text."""
        return {"num_batches": self._num_returned, "text": self._digest()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Skip the batches that were returned before the checkpoint.

        Raises:
            LangcoreError: the checkpoint was written by a run that read its text on the fly, or that read other text.
        """
        if "num_batches" not in state:
            raise LangcoreError("this checkpoint was written by a run with data.on_the_fly=true: resume with the same")
        if state.get("text") not in (None, self._digest()):
            raise LangcoreError(
                "this checkpoint was written by a run on other text, in another order or in other batches: resume with"
                " the data, seed, data.batch_size and trainer.devices of that run"
            )
        self._start = state["num_batches"]
        self._num_returned = self._start
