"""Streams of short documents, plain and as on the hub."""

import io
import json
from types import SimpleNamespace

import pyarrow
import torch
from pyarrow import parquet

from lightning_langcore.data.mixing import Part
from lightning_langcore.data.sources.base import Document, Splitter
from lightning_langcore.data.sources.hub import HubSource
from lightning_langcore.data.streaming.blocks import StreamedBlocks, StreamedLoader

BEGIN, END = 1, 2
RUN = Splitter(0.1, 0.1, {"base": 1, "run": 3})


class CharTokenizer(SimpleNamespace):
    """A token is a code point below 300."""

    bos_token_id, eos_token_id = BEGIN, END

    def __call__(self, texts, add_special_tokens, split_special_tokens, verbose):
        return {"input_ids": [[ord(c) % 300 for c in text] for text in texts]}


class Short:
    """Documents of a few letters, tagged where they are even, and no way to begin in the middle."""

    languages = ["zh"]

    def __init__(self, count=60, mark="s"):
        self.count, self.mark = count, mark

    def documents(self, language):
        return (
            Document(f"{self.mark}{i}", f"{self.mark}{i}" * (1 + i % 3), None if i % 2 else "even")
            for i in range(self.count)
        )


def hub(tmp_path, streaming=True, shards=4, count=60, **changes):
    """A dataset folder as on the hub, of texts as short."""
    root = tmp_path / "data"
    if not root.exists():
        root.mkdir()
        for shard in range(shards):
            texts = [f"h{i}" * (1 + i % 3) for i in range(shard, count, shards)]
            parquet.write_table(pyarrow.table({"text": texts}), root / f"train-{shard:05d}-of-{shards:05d}.parquet")
    return HubSource(root, {"zh": None}, streaming=streaming, cache_dir=tmp_path / "cache", **changes)


def source_of(kind, tmp_path):
    return Short() if kind == "plain" else hub(tmp_path, streaming=kind == "streamed")


def part(source, share=1.0, name="zh"):
    return Part(name, "zh", source, "text", share)


def blocks(*parts, **changes):
    options = {
        "splitter": RUN,
        "pool": "run",
        "tokenizer": CharTokenizer(),
        "block_size": 8,
        "batch_size": 2,
        "num_blocks": 60,
        "max_epochs": 100,
        "shuffle_buffer": 7,
    }
    return StreamedBlocks(parts, **(options | changes))


def described(batch):
    return [json.loads(row) for row in batch["documents"]]


def equal(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in one.items()
    )


def copied(state):
    """As a checkpoint keeps it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# --- resuming


def mixture(tmp_path, kind, num_workers, **changes):
    parts = [part(source_of(kind, tmp_path), 0.6, "general"), part(Short(25, "t"), 0.4, "target")]
    return StreamedLoader(blocks(*parts, keep=lambda tokens: len(tokens) != 6, **changes), num_workers)
