"""Conversations as rows of tokens on disk: several in a row, none of them split; what is left of a row is padding.

first conversation | second one | third ......... | padding      row 0
0 1 2 3 4 5 6 7    | 0 1 2 3 4  | 0 1 2 3 4 5 6   | 0 1 2        position_ids
. . . t t t t .    | . . t t .  | . . t t t t .   | . . .        shift_labels: t where the next token is an answer's
"""

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_langcore.data.chat_encoding import Encoded
from lightning_langcore.data.packing.manifest import Catalogue, CatalogueWriter
from lightning_langcore.data.sources.base import Conversation
from lightning_langcore.metrics.functional import IGNORE
from lightning_langcore.utils.artifact_cache import make_once

Talk = tuple[Conversation, Encoded]

_WINDOW = 256  # conversations that are fitted into rows at a time
_ARRAYS = ("starts", "rows")


def pack_conversations(
    conversations: Iterable[Conversation],
    encode: Callable[[Conversation], Encoded],
    folder: Path,
    num_tokens: int | None,
    block_size: int,
) -> "PackedConversations":
    """Write whole conversations, several to a row, until there are ``num_tokens`` of them.

    Memory: 256 conversations and 24 bytes for each that is written. The order is that of the conversations but for 256
    to and fro. The folder appears whole or not at all; an existing one is returned as it is, and a second process waits
    for the first.

    Args:
        conversations: only as many as needed are read.
        encode: makes at most ``block_size`` tokens of one.
        folder: 5 bytes a token, and 16 a conversation.
        num_tokens: at least so many without padding, if there are enough; ``None``: all.
        block_size: tokens a row.
    """

    def write(temporary: Path) -> None:
        writer = _Writer(temporary)
        for row in _rows(_encoded(conversations, encode, num_tokens), block_size):
            writer.add(row)
        writer.close(block_size)

    return PackedConversations(make_once(folder, write))


def _encoded(
    conversations: Iterable[Conversation], encode: Callable[[Conversation], Encoded], num_tokens: int | None
) -> Iterator[Talk]:
    total = 0
    for conversation in conversations:
        encoded = encode(conversation)
        yield conversation, encoded
        total += len(encoded.ids)
        if num_tokens is not None and total >= num_tokens:
            return


def _rows(talks: Iterator[Talk], block_size: int) -> Iterator[list[Talk]]:
    """Rows of whole conversations; the emptiest of a window waits for the next one."""
    waiting: list[Talk] = []
    while window := list(islice(talks, _WINDOW)):
        *full, waiting = first_fit([*waiting, *window], block_size, len(waiting))
        yield from full
    if waiting:
        yield waiting


def first_fit(talks: Sequence[Talk], block_size: int, num_waiting: int = 0) -> list[list[Talk]]:
    """First fit decreasing: the longest first, each into the first row with room for it.

    At most 22 % and a row above the least number of rows.

    Args:
        talks: conversations with their tokens, at least one.
        block_size: tokens a row.
        num_waiting: so many at the start have their turn before all others.

    Returns:
        Rows in the order of their first conversation, the emptiest last.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    sizes = [len(encoded.ids) for _, encoded in talks]
    for number in sorted(range(len(talks)), key=lambda n: (n >= num_waiting, -sizes[n])):
        assert sizes[number] <= block_size, "encode cuts to block_size"
        row = next((r for r, left in enumerate(room) if left >= sizes[number]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(block_size)
        rows[row].append(number)
        room[row] -= sizes[number]
    emptiest = rows.pop(int(np.argmax(room)))
    return [[talks[n] for n in sorted(row)] for row in [*sorted(rows, key=min), emptiest]]


class _Writer:
    """Tokens and answers to files, and what is known of each conversation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starts = array("q", [0])
        self._rows = array("q", [0])
        self._catalogue = CatalogueWriter()
        self._counts = {"num_answer_tokens": 0, "num_cut_conversations": 0, "num_cut_tokens": 0}
        self._tokens = (folder / "tokens.bin").open("wb")
        self._answers = (folder / "answers.bin").open("wb")

    def add(self, row: Sequence[Talk]) -> None:
        """Append a row."""
        for conversation, encoded in row:
            self._tokens.write(np.array(encoded.ids, dtype=np.uint32).tobytes())  # tofile loses a full disk's error
            self._answers.write(np.array(encoded.is_answer, dtype=np.bool_).tobytes())
            self._catalogue.add(conversation)
            self._starts.append(self._starts[-1] + len(encoded.ids))
            self._counts["num_answer_tokens"] += sum(encoded.is_answer)
            self._counts["num_cut_conversations"] += encoded.num_cut > 0
            self._counts["num_cut_tokens"] += encoded.num_cut
        self._rows.append(len(self._catalogue))

    def close(self, block_size: int) -> None:
        """Write the rest."""
        self._tokens.close()
        self._answers.close()
        for name, numbers in zip(_ARRAYS, (self._starts, self._rows), strict=True):
            np.save(self._folder / f"{name}.npy", np.array(numbers, np.int64))
        self._catalogue.write(self._folder)
        sizes = {"block_size": block_size, "num_tokens": self._starts[-1], "num_conversations": len(self._catalogue)}
        (self._folder / "meta.json").write_text(json.dumps(sizes | self._counts))


class PackedConversations:
    """A folder written by :func:`pack_conversations`, memory-mapped; a sequence of rows.

    Attributes:
        folder: where it is.
        num_tokens: tokens without padding.
        num_answer_tokens: those that are learnt.
        num_conversations: how many.
        num_cut: conversations that were too long for a row.
        num_cut_tokens: tokens that they lost.
        num_filtered: conversations that were left out: none.
    """

    num_filtered = 0

    def __reduce__(self) -> tuple[type["PackedConversations"], tuple[Path]]:
        """Pickled, as for the workers of a loader, it is the folder: else its tokens would be copied."""
        return PackedConversations, (self.folder,)

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        self.folder = folder
        self.num_tokens: int = meta["num_tokens"]
        self.num_answer_tokens: int = meta["num_answer_tokens"]
        self.num_conversations: int = meta["num_conversations"]
        self.num_cut: int = meta["num_cut_conversations"]
        self.num_cut_tokens: int = meta["num_cut_tokens"]
        self._block_size: int = meta["block_size"]
        self._starts, self._rows = (np.load(folder / f"{name}.npy") for name in _ARRAYS)
        self._catalogue = Catalogue(folder)
        self._tokens, self._answers = (
            np.memmap(folder / name, dtype=dtype, mode="r") if self.num_tokens else np.empty(0, dtype)
            for name, dtype in (("tokens.bin", np.uint32), ("answers.bin", np.bool_))
        )

    def __len__(self) -> int:
        return len(self._rows) - 1

    @property
    def padding(self) -> float:
        """Share of the rows that is padding, 0..1; NaN without rows."""
        return 1 - self.num_tokens / (len(self) * self._block_size) if len(self) else float("nan")

    def num_rows(self, block_size: int) -> int:
        """Rows there are; ``block_size`` is the one that they were packed with."""
        assert block_size == self._block_size
        return len(self)

    def tokens_a_row(self, block_size: int) -> float:
        """Tokens without padding, in the mean; NaN without rows."""
        assert block_size == self._block_size
        return self.num_tokens / len(self) if len(self) else float("nan")

    def num_documents(self, rows: np.ndarray, block_size: int) -> int:
        """Conversations in these rows; a row that stands twice counts twice."""
        assert block_size == self._block_size
        return int((self._rows[rows + 1] - self._rows[rows]).sum())

    def rows_with_tags(self, block_size: int) -> np.ndarray:
        """The row of each conversation to which something was done, ascending."""
        assert block_size == self._block_size
        return np.searchsorted(self._rows, self._catalogue.tagged, side="right") - 1

    def row(self, number: int, block_size: int) -> dict[str, Any]:
        """One row.

        Returns:
            ``input_ids``, ``position_ids`` and ``shift_labels`` (block_size,) int64: the positions begin anew in each
            conversation and in the padding, the labels are the token after each position where an answer goes on to it,
            else -100; ``num_documents`` int64 scalar, the conversations; ``documents``: their numbers.
        """
        assert block_size == self._block_size
        first, last = (int(i) for i in self._rows[number : number + 2])
        bounds = self._starts[first : last + 1]
        begin, end = bounds[0], bounds[-1]
        tokens = np.zeros(block_size + 1, np.int64)
        tokens[: end - begin] = self._tokens[begin:end]
        learnt = np.zeros(block_size + 1, np.bool_)
        learnt[: end - begin] = self._answers[begin:end]
        learnt[bounds - begin] = False  # a conversation's first token follows nothing
        sizes = np.diff([*(bounds - begin), block_size])
        return {
            "input_ids": torch.from_numpy(tokens[:-1]),
            "position_ids": torch.from_numpy(np.concatenate([np.arange(size) for size in sizes])),
            "shift_labels": torch.from_numpy(np.where(learnt, tokens, IGNORE)[1:]),
            "num_documents": torch.tensor(last - first),
            "documents": range(first, last),
        }

    def about(self, number: int) -> dict[str, str]:
        """See :meth:`Catalogue.about`."""
        return self._catalogue.about(number)
