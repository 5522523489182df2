"""Documents as one long row of tokens on disk, read in blocks without padding.

<s> first document </s> <s> second document </s> <s> third ...
|------ block 0 ------|------ block 1 ------|---            labels: the same, one further on
"""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

_BATCH = 256


def encode(
    documents: Iterable[str], tokenizer: PreTrainedTokenizerBase, batch_size: int = _BATCH
) -> Iterator[list[int]]:
    """Each document's tokens, without special ones; ``batch_size`` documents are read and tokenized at a time.

    A ``</s>`` that stands in the text is text, not an end token.
    """
    documents = iter(documents)
    while batch := list(islice(documents, batch_size)):
        yield from tokenizer(batch, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def pack(documents: Iterable[str], tokenizer: PreTrainedTokenizerBase, folder: Path, num_tokens: int) -> "PackedTokens":
    """Write documents, each between a begin and an end token, until there are ``num_tokens`` and a label for the last.

    Memory: a few hundred documents. The folder appears whole or not at all; an existing one is returned as it is.

    Args:
        documents: texts; only as many as needed are read.
        tokenizer: its begin token is left out where it is the end token too.
        folder: 2 or 4 bytes a token, and 8 a document.
        num_tokens: at least so many, if the text has them.
    """
    if folder.exists():
        return PackedTokens(folder)
    dtype = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32)
    begin = [] if tokenizer.bos_token_id == tokenizer.eos_token_id else [tokenizer.bos_token_id]
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        ends, total = [], 0
        with (temporary / "tokens.bin").open("wb") as file:
            for tokens in encode(documents, tokenizer):
                row = np.array([*begin, *tokens, tokenizer.eos_token_id], dtype=dtype)
                row.tofile(file)
                total += len(row)
                ends.append(total - 1)
                if total > num_tokens:
                    break
        np.save(temporary / "ends.npy", np.array(ends, dtype=np.int64))
        (temporary / "meta.json").write_text(json.dumps({"dtype": dtype.name, "num_tokens": total}))
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():
                raise  # else another process was first, with the same content
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return PackedTokens(folder)


class PackedTokens:
    """A folder written by :func:`pack`, memory-mapped.

    Attributes:
        tokens: 1-D, the row of tokens.
        ends: positions of the end tokens, ascending.
    """

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        empty = meta["num_tokens"] == 0
        dtype = np.dtype(meta["dtype"])
        self.tokens = np.empty(0, dtype) if empty else np.memmap(folder / "tokens.bin", dtype=dtype, mode="r")
        self.ends = np.load(folder / "ends.npy")

    def num_blocks(self, block_size: int) -> int:
        """Whole blocks whose every position has a label."""
        return max(0, (len(self.tokens) - 1) // block_size)


class PackedBlocks(Dataset[dict[str, Tensor]]):
    """Blocks of several packed rows in a given order.

    Items: ``input_ids`` and ``shift_labels`` (block_size,) int64, the labels one token further on; ``num_documents``
    int64 scalar, how many documents' last token is among the labels.

    Args:
        packed: the rows.
        order: pairs of row and block.
        block_size: tokens a block.
    """

    def __init__(self, packed: Sequence[PackedTokens], order: np.ndarray, block_size: int) -> None:
        self.packed = packed
        self.order = order
        self.block_size = block_size

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        row, block = self.order[item]
        packed, start = self.packed[row], int(block) * self.block_size
        tokens = torch.from_numpy(packed.tokens[start : start + self.block_size + 1].astype(np.int64))
        first, last = np.searchsorted(packed.ends, [start + 1, start + self.block_size + 1])
        return {
            "input_ids": tokens[:-1],
            "shift_labels": tokens[1:],
            "num_documents": torch.tensor(int(last - first)),
        }
