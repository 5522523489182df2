"""Documents as one long row of tokens on disk, read in blocks without padding.

<s> first document </s> <s> second document </s> <s> third ...
|------ block 0 ------|------ block 1 ------|---            labels: the same, one further on
"""

import json
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightning_langcore.data.noise import Noise
from lightning_langcore.data.packing.manifest import Catalogue, CatalogueWriter
from lightning_langcore.data.sources.base import Document
from lightning_langcore.data.tokenization import _token_ids, encode
from lightning_langcore.metrics.repetition import longest_repeat
from lightning_langcore.utils.artifact_cache import make_once


class Repetition(NamedTuple):
    """What documents are left out: a span of up to ``max_period`` tokens, ``max_repeats`` times or more in a row.

    The defaults are those of OLMo 2 (arXiv 2501.00656, section 3.1).
    """

    max_period: int = 13
    max_repeats: int = 32

    def allows(self, tokens: list[int]) -> bool:
        """Whether a document with these tokens stays."""
        return longest_repeat(tokens, self.max_period).count < self.max_repeats


def pack(
    documents: Iterable[Document],
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    num_tokens: int | None,
    repetition: Repetition | None = None,
    noise: Noise | None = None,
    window: tuple[float, float] = (0.0, 1.0),
    num_proc: int = 1,
) -> "PackedTokens":
    """Write documents, each between a begin and an end token, until there are ``num_tokens`` and a label for the last.

    Memory: a few hundred documents, or some thousands for each process. The folder appears whole or not at all; an
    existing one is returned as it is, and a second process waits for the first.

    Args:
        documents: only as many as needed are read.
        tokenizer: its begin token is left out where it is the end token too.
        folder: 2 or 4 bytes a token, and 16 a document. ``filtered.jsonl`` in it names what was left out.
        num_tokens: at least so many, if the text has them; ``None``: all the text.
        repetition: what is left out; ``None``: nothing.
        noise: what is done to some documents, after the filter.
        window: the part of the tokens whose documents ``noise`` may hit, as shares of ``num_tokens``.
        num_proc: see :func:`encode`.
    """

    def write(temporary: Path) -> None:
        writer = _Writer(temporary, tokenizer, repetition)
        pending: deque[Document] = deque()
        for tokens in encode(_watched(documents, pending), tokenizer, num_proc=num_proc):
            document = pending.popleft()
            if writer.refuses(document, tokens):
                continue
            inside = noise is not None and within(window, writer.num_tokens, num_tokens)
            changed = noise.document(document) if noise is not None and inside else document
            writer.add(changed, tokens if changed is document else _token_ids([changed.text], tokenizer)[0])
            if num_tokens is not None and writer.num_tokens > num_tokens:
                break
        writer.close()

    return PackedTokens(make_once(folder, write))


def _watched(documents: Iterable[Document], pending: deque[Document]) -> Iterator[str]:
    for document in documents:
        pending.append(document)
        yield document.text


def within(window: tuple[float, float], done: int, total: int | None) -> bool:
    """Whether so many tokens of ``total`` lie in a part of the run."""
    if window == (0.0, 1.0):
        return True
    assert total is not None, "a window needs to know where the run ends"
    return window[0] <= done / total < window[1]


class _Writer:
    """Rows of tokens to a file, and what is known of each document."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerBase, repetition: Repetition | None) -> None:
        self.num_tokens = 0
        self._folder = folder
        self._repetition = repetition
        self._begin = [] if tokenizer.bos_token_id == tokenizer.eos_token_id else [tokenizer.bos_token_id]
        self._end = tokenizer.eos_token_id
        self._dtype = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32)
        self._ends = array("q")
        self._catalogue = CatalogueWriter()
        self._num_filtered = 0
        self._file = (folder / "tokens.bin").open("wb")
        self._filtered = (folder / "filtered.jsonl").open("w", encoding="utf-8")

    def refuses(self, document: Document, tokens: list[int]) -> bool:
        """Whether the document is left out, which is written down."""
        if self._repetition is None:
            return False
        worst = longest_repeat(tokens, self._repetition.max_period)
        if worst.count < self._repetition.max_repeats:
            return False
        about = {"document": document.identity, "repeats": worst.count, "period": worst.period}
        self._filtered.write(json.dumps({**about, "head": document.text[:80]}, ensure_ascii=False) + "\n")
        self._num_filtered += 1
        return True

    def add(self, document: Document, tokens: list[int]) -> None:
        """Append a document."""
        row = np.array([*self._begin, *tokens, self._end], dtype=self._dtype)
        self._file.write(row.tobytes())  # numpy's tofile loses the error of a full disk
        self._catalogue.add(document)
        self.num_tokens += len(row)
        self._ends.append(self.num_tokens - 1)

    def close(self) -> None:
        """Write the rest."""
        self._file.close()
        self._filtered.close()
        np.save(self._folder / "ends.npy", np.array(self._ends, dtype=np.int64))
        self._catalogue.write(self._folder)
        meta = {"dtype": self._dtype.name, "num_tokens": self.num_tokens, "num_filtered": self._num_filtered}
        (self._folder / "meta.json").write_text(json.dumps(meta))


class PackedTokens:
    """A folder written by :func:`pack`, memory-mapped.

    Attributes:
        tokens: 1-D, the row of tokens.
        ends: positions of the end tokens, ascending.
        num_filtered: documents that were left out for their repetitions.
        num_cut: documents that were cut: none, text goes on in the next row.
    """

    num_cut = 0

    def __reduce__(self) -> tuple[type["PackedTokens"], tuple[Path]]:
        """Pickled, as for the workers of a loader, it is the folder: else its text would be copied."""
        return PackedTokens, (self.folder,)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        meta = json.loads((folder / "meta.json").read_text())
        empty = meta["num_tokens"] == 0
        dtype = np.dtype(meta["dtype"])
        self.tokens = np.empty(0, dtype) if empty else np.memmap(folder / "tokens.bin", dtype=dtype, mode="r")
        self.ends = np.load(folder / "ends.npy")
        self.num_filtered: int = meta["num_filtered"]
        self._catalogue = Catalogue(folder)

    def num_rows(self, block_size: int) -> int:
        """Whole blocks whose every position has a label."""
        return max(0, (len(self.tokens) - 1) // block_size)

    def tokens_a_row(self, block_size: int) -> float:
        """Tokens that are trained on in a row."""
        return float(block_size)

    def num_documents(self, rows: np.ndarray, block_size: int) -> int:
        """Documents whose last token is a label in one of these blocks; a block that stands twice counts twice."""
        first, last = (np.searchsorted(self.ends, rows * block_size + more) for more in (1, block_size + 1))
        return int((last - first).sum())

    def rows_with_tags(self, block_size: int) -> np.ndarray:
        """The last block of each document to which something was done, ascending."""
        return self.ends[self._catalogue.tagged] // block_size

    def row(self, block: int, block_size: int) -> dict[str, Any]:
        """One block.

        Returns:
            ``input_ids`` and ``shift_labels`` (block_size,) int64, the labels one token further on; ``num_documents``
            int64 scalar, how many documents' last token is among the labels; ``documents``: the numbers of the
            documents that it overlaps.
        """
        start = block * block_size
        tokens: Tensor = torch.from_numpy(self.tokens[start : start + block_size + 1].astype(np.int64))
        opened, first, latest, last = np.searchsorted(self.ends, start + np.array([0, 1, block_size, block_size + 1]))
        return {
            "input_ids": tokens[:-1],
            "shift_labels": tokens[1:],
            "num_documents": torch.tensor(int(last - first)),
            "documents": range(int(opened), int(latest) + 1),
        }

    def about(self, number: int) -> dict[str, str]:
        """See :meth:`Catalogue.about`."""
        return self._catalogue.about(number)
