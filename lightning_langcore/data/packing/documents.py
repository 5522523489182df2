"""Documents as one long row of tokens on disk, read in blocks without padding.

<s> first document </s> <s> second document </s> <s> third ...
|------ block 0 ------|------ block 1 ------|---            labels: the same tokens, shifted by one
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
from lightning_langcore.data.tokenization import _token_ids, begin_token, encode, end_token
from lightning_langcore.metrics.repetition import longest_repeat
from lightning_langcore.utils.artifact_cache import make_once


class Repetition(NamedTuple):
    """Filter for documents in which a span of up to ``max_period`` tokens is repeated ``max_repeats`` or more times.

    The copies are consecutive. The defaults are those of OLMo 2 (arXiv 2501.00656, section 3.1).
    """

    max_period: int = 13
    max_repeats: int = 32

    def allows(self, tokens: list[int]) -> bool:
        """Whether a document with these tokens is kept."""
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

    Memory: a few hundred documents, or some thousands for each process. The folder is created atomically; an existing
    folder is returned unchanged, and a second process waits for the first.

    Args:
        documents: only as many as needed are read.
        tokenizer: its begin token is omitted if that is also its end token.
        folder: folder to create; 2 or 4 bytes per token and 16 per document. Its file ``filtered.jsonl`` lists the
            documents that were left out.
        num_tokens: minimum number of tokens, if the text has that many; ``None``: all the text.
        repetition: filter; ``None``: keeps all documents.
        noise: noise that is put into some documents after the filter.
        window: interval of the text in which ``noise`` may change documents, as fractions 0..1 of ``num_tokens``.
        num_proc: see :func:`encode`.
    """

    def write(temporary: Path) -> None:
        writer = _Writer(temporary, tokenizer, repetition)
        pending: deque[Document] = deque()
        for tokens in encode(_texts(documents, pending), tokenizer, num_proc=num_proc):
            document = pending.popleft()
            if writer.skip(document, tokens):
                continue
            inside = noise is not None and in_window(window, writer.num_tokens, num_tokens)
            changed = noise.document(document) if noise is not None and inside else document
            writer.add(changed, tokens if changed is document else _token_ids([changed.text], tokenizer)[0])
            if num_tokens is not None and writer.num_tokens > num_tokens:
                break
        writer.close()

    return PackedTokens(make_once(folder, write))


def _texts(documents: Iterable[Document], pending: deque[Document]) -> Iterator[str]:
    for document in documents:
        pending.append(document)
        yield document.text


def in_window(window: tuple[float, float], done: int, total: int | None) -> bool:
    """Whether token ``done`` of ``total`` lies in the window, whose bounds are fractions 0..1 of ``total``."""
    if window == (0.0, 1.0):
        return True
    assert total is not None, "a window needs the number of tokens of the run"
    return window[0] <= done / total < window[1]


class _Writer:
    """Writes tokens and the catalogue of documents to files."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerBase, repetition: Repetition | None) -> None:
        self.num_tokens = 0
        self._folder = folder
        self._repetition = repetition
        begin, self._end = begin_token(tokenizer), end_token(tokenizer)
        self._begin = [] if begin == self._end else [begin]
        self._dtype = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32)
        self._ends = array("q")
        self._catalogue = CatalogueWriter()
        self._num_filtered = 0
        self._file = (folder / "tokens.bin").open("wb")
        self._filtered = (folder / "filtered.jsonl").open("w", encoding="utf-8")

    def skip(self, document: Document, tokens: list[int]) -> bool:
        """Whether the filter leaves the document out; if so, record it in ``filtered.jsonl``."""
        if self._repetition is None:
            return False
        worst = longest_repeat(tokens, self._repetition.max_period)
        if worst.count < self._repetition.max_repeats:
            return False
        entry = {"document": document.identity, "repeats": worst.count, "period": worst.period}
        self._filtered.write(json.dumps({**entry, "head": document.text[:80]}, ensure_ascii=False) + "\n")
        self._num_filtered += 1
        return True

    def add(self, document: Document, tokens: list[int]) -> None:
        """Append a document."""
        row = np.array([*self._begin, *tokens, self._end], dtype=self._dtype)
        self._file.write(row.tobytes())  # numpy's tofile would hide the error of a full disk
        self._catalogue.add(document)
        self.num_tokens += len(row)
        self._ends.append(self.num_tokens - 1)

    def close(self) -> None:
        """Close the files and write the index, the catalogue and the metadata."""
        self._file.close()
        self._filtered.close()
        np.save(self._folder / "ends.npy", np.array(self._ends, dtype=np.int64))
        self._catalogue.write(self._folder)
        meta = {"dtype": self._dtype.name, "num_tokens": self.num_tokens, "num_filtered": self._num_filtered}
        (self._folder / "meta.json").write_text(json.dumps(meta))


class PackedTokens:
    """A folder written by :func:`pack`, memory-mapped.

    Attributes:
        tokens: (T,) all tokens.
        ends: positions of the end tokens, ascending.
        num_filtered: number of documents that were left out for repetitions.
        num_cut: number of documents that were cut, always 0: text continues in the next row.
    """

    num_cut = 0

    def __reduce__(self) -> tuple[type["PackedTokens"], tuple[Path]]:
        """Pickle the path of the folder alone, so that the workers of a loader don't copy the text."""
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
        """Number of whole blocks in which every position has a label."""
        return max(0, (len(self.tokens) - 1) // block_size)

    def tokens_per_row(self, block_size: int) -> float:
        """Number of training tokens per row."""
        return float(block_size)

    def num_documents(self, rows: np.ndarray, block_size: int) -> int:
        """Number of documents whose last token is a label in these blocks; a block that occurs twice counts twice."""
        first, last = (np.searchsorted(self.ends, rows * block_size + more) for more in (1, block_size + 1))
        return int((last - first).sum())

    def rows_with_tags(self, block_size: int) -> np.ndarray:
        """The last block of each document with noise, ascending."""
        return self.ends[self._catalogue.tagged] // block_size

    def row(self, block: int, block_size: int) -> dict[str, Any]:
        """One block.

        Returns:
            ``input_ids`` and ``shift_labels`` (block_size,) int64, the labels shifted by one token; ``num_documents``
            int64 scalar, the number of documents whose last token is among the labels; ``documents``: the numbers of
            the documents that the block overlaps.
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

    def describe(self, number: int) -> dict[str, str]:
        """See :meth:`Catalogue.describe`."""
        return self._catalogue.describe(number)
