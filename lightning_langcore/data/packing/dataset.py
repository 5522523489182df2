"""Packed rows of several parts as a dataset, and a loader that knows where it was."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_langcore.data.mixing import Part


class Packed(Protocol):
    """Text or conversations, packed on disk into rows of one length.

    ``num_filtered`` documents were left out, ``num_cut`` were shortened.
    """

    folder: Path
    num_filtered: int
    num_cut: int

    def num_rows(self, block_size: int) -> int:
        """Rows there are."""

    def tokens_a_row(self, block_size: int) -> float:
        """Tokens in a row, without padding, on average."""

    def num_documents(self, rows: np.ndarray, block_size: int) -> int:
        """Documents that end in these rows."""

    def rows_with_tags(self, block_size: int) -> np.ndarray:
        """The last row of each document to which something was done, ascending."""

    def row(self, number: int, block_size: int) -> dict[str, Any]:
        """One row; ``documents`` holds the numbers of the documents in it."""

    def about(self, number: int) -> dict[str, str]:
        """``document``, the identity, and ``tag`` where something was done to it."""


class PackedRows(Dataset[dict[str, Any]]):
    """Rows of several parts in a given order.

    Items: ``input_ids`` and ``shift_labels`` (block_size,) int64, the token after each position, -100 where it does not
    count; ``num_documents`` int64 scalar, how many documents end there; ``documents``: which ones it overlaps, as a
    JSON list of ``source``, ``language``, ``document`` and, where something was done to it, ``tag``. With ``positions``
    also ``position_ids`` (block_size,) int64, which begin anew in each conversation.

    Args:
        packed: the rows of each part.
        parts: what they are.
        order: pairs of part and row.
        block_size: tokens a row.
        positions: see above.
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
        """Of the rows and their order."""
        h = hashlib.sha256(json.dumps([self.block_size, *(rows.folder.name for rows in self.packed)]).encode())
        h.update(np.ascontiguousarray(self.order).tobytes())
        return h.hexdigest()

    def __getitem__(self, item: int) -> dict[str, Any]:
        part, number = self.order[item].tolist()
        row = self.packed[part].row(number, self.block_size)
        named = {"source": self.parts[part].name, "language": self.parts[part].language}
        about = [named | self.packed[part].about(document) for document in row["documents"]]
        row["documents"] = json.dumps(about, ensure_ascii=False)
        if self.positions and "position_ids" not in row:
            row["position_ids"] = torch.arange(self.block_size)
        return row


class ResumableLoader(DataLoader[dict[str, Any]]):
    """A loader that remembers how many batches it has handed out; Lightning keeps that in its checkpoints.

    Without it a run resumed inside an epoch sees the batches again from the start. Lightning forgets the position if
    ``configure_optimizers`` asks for ``trainer.estimated_stepping_batches`` of a trainer that must count batches to
    know: give ``max_steps`` and leave ``max_epochs`` at -1.
    """

    _start = 0
    _handed_out = 0

    def _digest(self) -> str | None:
        """Of what is read in which batches; ``None`` where the dataset does not say."""
        digest = getattr(self.dataset, "digest", None)
        world_size = getattr(self.sampler, "num_replicas", 1)
        return None if digest is None else f"{digest()}, {self.batch_size} rows a batch, {world_size} rank(s)"

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        start, self._start = self._start % max(1, len(self)), 0  # a checkpoint at an epoch's end begins the next
        for number, batch in enumerate(super().__iter__()):
            if number < start:
                continue
            self._handed_out = number + 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Batches handed out, and of which text."""
        return {"num_batches": self._handed_out, "text": self._digest()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin after as many batches.

        Raises:
            ValueError: the checkpoint was written by a run that read its text on the fly, or read another.
        """
        if "num_batches" not in state:
            raise ValueError("this checkpoint was written by a run with data.on_the_fly=true: go on with the same")
        if state.get("text") not in (None, self._digest()):
            raise ValueError(
                "this checkpoint was written by a run on other text, in another order or in other batches: resume with"
                " the data, seed, data.batch_size and trainer.devices of that run"
            )
        self._start = state["num_batches"]
        self._handed_out = self._start
