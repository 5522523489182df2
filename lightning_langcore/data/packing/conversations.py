"""Conversations as rows of tokens on disk: several per row, none of them split; the rest of a row is padding.

first conversation | second one | third ......... | padding      row 0
0 1 2 3 4 5 6 7    | 0 1 2 3 4  | 0 1 2 3 4 5 6   | 0 1 2        position_ids
. . . t t t t .    | . . t t .  | . . t t t t .   | . . .        shift_labels: t if the next token is part of an answer
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

EncodedConversation = tuple[Conversation, Encoded]

_WINDOW = 256  # number of conversations that are fitted into rows at a time
_ARRAYS = ("starts", "rows")


def pack_conversations(
    conversations: Iterable[Conversation],
    encode: Callable[[Conversation], Encoded],
    folder: Path,
    num_tokens: int | None,
    block_size: int,
) -> "PackedConversations":
    """Write whole conversations, several per row, until ``num_tokens`` are reached.

    Memory: 256 conversations, and 24 bytes for each conversation that is written. A conversation moves by at most about
    256 places from its original order. The folder is created atomically; an existing folder is returned unchanged, and
    a second process waits for the first.

    Args:
        conversations: only as many as needed are read.
        encode: encodes a conversation as at most ``block_size`` tokens.
        folder: folder to create; 5 bytes per token and 16 per conversation.
        num_tokens: minimum number of tokens without padding, if there are enough; ``None``: all conversations.
        block_size: tokens per row.
    """

    def write(temporary: Path) -> None:
        writer = _Writer(temporary)
        for row in _rows(_encoded(conversations, encode, num_tokens), block_size):
            writer.add(row)
        writer.close(block_size)

    return PackedConversations(make_once(folder, write))


def _encoded(
    conversations: Iterable[Conversation], encode: Callable[[Conversation], Encoded], num_tokens: int | None
) -> Iterator[EncodedConversation]:
    total = 0
    for conversation in conversations:
        encoded = encode(conversation)
        yield conversation, encoded
        total += len(encoded.ids)
        if num_tokens is not None and total >= num_tokens:
            return


def _rows(conversations: Iterator[EncodedConversation], block_size: int) -> Iterator[list[EncodedConversation]]:
    """Rows of whole conversations; the emptiest row of a window is filled further from the next window."""
    waiting: list[EncodedConversation] = []
    while window := list(islice(conversations, _WINDOW)):
        *full, waiting = first_fit([*waiting, *window], block_size, len(waiting))
        yield from full
    if waiting:
        yield waiting


def first_fit(
    conversations: Sequence[EncodedConversation], block_size: int, num_waiting: int = 0
) -> list[list[EncodedConversation]]:
    """First-fit decreasing bin packing: the longest conversation first, each into the first row with enough free space.

    The number of rows is at most 22 % plus one row above the minimum.

    Args:
        conversations: conversations with their tokens, at least one.
        block_size: tokens per row.
        num_waiting: number of conversations at the start of the sequence that are packed before all others.

    Returns:
        Rows in the order of their first conversation, the emptiest row last.
    """
    rows: list[list[int]] = []
    free: list[int] = []
    sizes = [len(encoded.ids) for _, encoded in conversations]
    for number in sorted(range(len(conversations)), key=lambda n: (n >= num_waiting, -sizes[n])):
        assert sizes[number] <= block_size, "encode cuts to block_size"
        row = next((r for r, space in enumerate(free) if space >= sizes[number]), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(block_size)
        rows[row].append(number)
        free[row] -= sizes[number]
    emptiest = rows.pop(int(np.argmax(free)))
    return [[conversations[n] for n in sorted(row)] for row in [*sorted(rows, key=min), emptiest]]


class _Writer:
    """Writes tokens, answer flags and the catalogue of conversations to files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starts = array("q", [0])
        self._rows = array("q", [0])
        self._catalogue = CatalogueWriter()
        self._counts = {"num_answer_tokens": 0, "num_cut_conversations": 0, "num_cut_tokens": 0}
        self._tokens = (folder / "tokens.bin").open("wb")
        self._answers = (folder / "answers.bin").open("wb")

    def add(self, row: Sequence[EncodedConversation]) -> None:
        """Append a row."""
        for conversation, encoded in row:
            # numpy's tofile would hide the error of a full disk
            self._tokens.write(np.array(encoded.ids, dtype=np.uint32).tobytes())
            self._answers.write(np.array(encoded.is_answer, dtype=np.bool_).tobytes())
            self._catalogue.add(conversation)
            self._starts.append(self._starts[-1] + len(encoded.ids))
            self._counts["num_answer_tokens"] += sum(encoded.is_answer)
            self._counts["num_cut_conversations"] += encoded.num_cut > 0
            self._counts["num_cut_tokens"] += encoded.num_cut
        self._rows.append(len(self._catalogue))

    def close(self, block_size: int) -> None:
        """Close the files and write the index, the catalogue and the metadata."""
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
        folder: the folder.
        num_tokens: number of tokens without padding.
        num_answer_tokens: number of tokens that are labels.
        num_conversations: number of conversations.
        num_cut: number of conversations that were too long for a row.
        num_cut_tokens: number of tokens that were cut from them.
        num_filtered: number of conversations that were left out, always 0.
    """

    num_filtered = 0

    def __reduce__(self) -> tuple[type["PackedConversations"], tuple[Path]]:
        """Pickle the path of the folder alone, so that the workers of a loader don't copy the tokens."""
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
        """Fraction of the tokens of all rows that is padding, 0..1; NaN without rows."""
        return 1 - self.num_tokens / (len(self) * self._block_size) if len(self) else float("nan")

    def num_rows(self, block_size: int) -> int:
        """Number of rows; ``block_size`` must be the one that they were packed with."""
        assert block_size == self._block_size
        return len(self)

    def tokens_per_row(self, block_size: int) -> float:
        """Mean number of tokens per row without padding; NaN without rows."""
        assert block_size == self._block_size
        return self.num_tokens / len(self) if len(self) else float("nan")

    def num_documents(self, rows: np.ndarray, block_size: int) -> int:
        """Number of conversations in these rows; a row that occurs twice counts twice."""
        assert block_size == self._block_size
        return int((self._rows[rows + 1] - self._rows[rows]).sum())

    def rows_with_tags(self, block_size: int) -> np.ndarray:
        """The row of each conversation with noise, ascending."""
        assert block_size == self._block_size
        return np.searchsorted(self._rows, self._catalogue.tagged, side="right") - 1

    def last_answer_tokens(self) -> np.ndarray:
        """The last token of the last answer of each conversation that has one left, (N,) token ids; reads the flags."""
        places = np.flatnonzero(self._answers)
        last = np.searchsorted(places, self._starts[1:]) - 1
        found = places[last[last >= 0]]
        starts = self._starts[:-1][last >= 0]
        return np.asarray(self._tokens[found[found >= starts]])

    def row(self, number: int, block_size: int) -> dict[str, Any]:
        """One row.

        Returns:
            ``input_ids``, ``position_ids`` and ``shift_labels`` (block_size,) int64: positions restart at 0 in each
            conversation and in the padding; the label is the token after each position if that token is part of an
            answer, otherwise -100. ``num_documents`` int64 scalar: number of conversations. ``documents``: numbers of
            the conversations.
        """
        assert block_size == self._block_size
        first, last = (int(i) for i in self._rows[number : number + 2])
        bounds = self._starts[first : last + 1]
        begin, end = bounds[0], bounds[-1]
        tokens = np.zeros(block_size + 1, np.int64)
        tokens[: end - begin] = self._tokens[begin:end]
        learnt = np.zeros(block_size + 1, np.bool_)
        learnt[: end - begin] = self._answers[begin:end]
        learnt[bounds - begin] = False  # the first token of a conversation has no context
        sizes = np.diff([*(bounds - begin), block_size])
        return {
            "input_ids": torch.from_numpy(tokens[:-1]),
            "position_ids": torch.from_numpy(np.concatenate([np.arange(size) for size in sizes])),
            "shift_labels": torch.from_numpy(np.where(learnt, tokens, IGNORE)[1:]),
            "num_documents": torch.tensor(last - first),
            "documents": range(first, last),
        }

    def describe(self, number: int) -> dict[str, str]:
        """See :meth:`Catalogue.describe`."""
        return self._catalogue.describe(number)
