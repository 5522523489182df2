"""Training straight from a stream: every document once over ranks and workers, and resumed equals uninterrupted."""

import io
import json
import multiprocessing
from collections import Counter
from itertools import islice
from types import SimpleNamespace

import lightning.pytorch as pl
import pyarrow
import pytest
import torch
from helpers import Plain, tiny_llama
from pyarrow import parquet
from texts import ListSource
from torch import distributed

from lightning_langcore import ContinuedPretraining
from lightning_langcore.data.mixing import Part
from lightning_langcore.data.sources.base import Document, Splitter, identity
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


# --- what a batch holds


@pytest.mark.parametrize("block_size", [1, 3, 8, 50])
def test_blocks_are_the_framed_documents_of_the_pool_one_after_the_other(block_size):
    source = Short()
    plain, owner = [], []
    for document in RUN.choose(source.documents("zh"), "run"):
        framed = [BEGIN, *map(ord, document.text), END]
        plain += framed
        owner += [document] * len(framed)
    count = (len(plain) - 1) // block_size
    loader = StreamedLoader(
        blocks(part(source, name="mine"), block_size=block_size, batch_size=1, num_blocks=count, shuffle_buffer=0)
    )
    batches = list(loader)
    assert len(batches) == len(loader) == count
    for number, batch in enumerate(batches):
        start = number * block_size
        assert batch["input_ids"].tolist() == [plain[start : start + block_size]]
        assert batch["shift_labels"].tolist() == [plain[start + 1 : start + block_size + 1]]
        assert batch["num_documents"].tolist() == [batch["shift_labels"].tolist()[0].count(END)]
        window = dict.fromkeys(owner[start : start + block_size + 1])
        tags = [{} if document.tag is None else {"tag": document.tag} for document in window]
        assert described(batch) == [
            [
                {"source": "mine", "language": "zh", "document": document.identity, **tag}
                for document, tag in zip(window, tags, strict=True)
            ]
        ]
    assert loader.used() == [
        {
            "source": "mine", "language": "zh", "kind": "text", "tokens": count * block_size,
            "documents": plain[1 : count * block_size + 1].count(END), "filtered": 0, "epochs": 0,
        }
    ]  # fmt: skip


def test_a_begin_token_that_is_the_end_token_is_written_once():
    made = blocks(part(Short()), shuffle_buffer=0, tokenizer=CharTokenizer(bos_token_id=END), num_blocks=2)
    assert next(iter(StreamedLoader(made)))["input_ids"][0, 0] != END


@pytest.mark.parametrize("kind", ["plain", "streamed", "downloaded"])
def test_the_seed_decides_the_order_and_the_buffer_shuffles(tmp_path, kind):
    def order(**changes):
        batches = list(StreamedLoader(blocks(part(source_of(kind, tmp_path)), num_blocks=20, **changes)))
        return torch.cat([batch["input_ids"] for batch in batches])

    assert torch.equal(order(), order())
    assert not torch.equal(order(), order(seed=1))
    assert not torch.equal(order(), order(shuffle_buffer=0))


# --- shares


def test_any_run_of_blocks_holds_the_shares_to_within_a_few_blocks():
    shares = [1 / 11, 5 / 11, 4 / 11, 1 / 11]
    for seed in range(3):
        made = blocks(*(part(Short(), share, str(i)) for i, share in enumerate(shares)), seed=seed)
        for start in (0, 1000, 10**9):
            counts = [0] * 4
            for number in range(5000):
                counts[made.part_of(start + number)] += 1
                expected = [share * (number + 1) for share in shares]
                assert max(abs(count - share) for count, share in zip(counts, expected, strict=True)) < 3.5


def test_over_the_seeds_every_block_has_the_shares_as_its_chances():
    found = Counter(blocks(part(Short(), 0.2), part(Short(), 0.8), seed=seed).part_of(17) for seed in range(2000))
    assert abs(found[0] - 400) < 4 * (2000 * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize("world_size", [1, 2])
def test_the_tokens_of_a_run_are_in_the_shares_whoever_reads_them(world_size):
    parts = [part(Short(), 0.75, "general"), part(Short(mark="t"), 0.25, "target")]
    found = []
    for rank in range(world_size):
        loader = StreamedLoader(blocks(*parts, num_blocks=80, rank=rank, world_size=world_size))
        for batch in loader:
            for row in described(batch):
                assert len({document["source"] for document in row}) == 1
                found.append(row[0]["source"])
    assert len(found) == 80
    assert abs(Counter(found)["target"] - 20) <= 2


# --- every document once


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["plain", "streamed", "downloaded"])
def test_ranks_and_workers_read_every_document_of_an_epoch_once(tmp_path, kind, world_size, num_workers):
    """Blocks of a token, so that no document is lost in a block that is not full; 4 shards, for 1 to 6 readers."""
    source = source_of(kind, tmp_path)
    found = Counter()
    for rank in range(world_size):
        made = blocks(
            part(source), block_size=1, batch_size=1, num_blocks=10**6, rank=rank, world_size=world_size, max_epochs=9
        )
        loader = StreamedLoader(made, num_workers)
        unfinished, latest = set(range(max(1, num_workers))), {}
        for number, batch in enumerate(loader):
            reader = number % max(1, num_workers)
            if loader.state_dict()["ranks"][rank][reader][0]["epoch"] > 0:
                unfinished.discard(reader)
                if not unfinished:
                    break
                continue
            for document in described(batch)[0]:
                if document["document"] != latest.get(reader):
                    found[document["document"]] += 1
                latest[reader] = document["document"]
    expected = {identity(document.key) for document in RUN.choose(source.documents("zh"), "run")}
    assert found == dict.fromkeys(expected, 1)
    assert len(expected) > 20


# --- resuming


def mixture(tmp_path, kind, num_workers, **changes):
    parts = [part(source_of(kind, tmp_path), 0.6, "general"), part(Short(25, "t"), 0.4, "target")]
    return StreamedLoader(blocks(*parts, keep=lambda tokens: len(tokens) != 6, **changes), num_workers)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["plain", "streamed", "downloaded"])
def test_a_stream_goes_on_exactly_where_it_was(tmp_path, kind, num_workers):
    """Over several epochs of both parts, with documents left out, and through what a checkpoint can hold."""
    whole = list(mixture(tmp_path, kind, num_workers))
    assert len(whole) == 30
    for done in (1, 2, 3, 12, 29):
        first = mixture(tmp_path, kind, num_workers)
        seen = list(islice(first, done))
        second = mixture(tmp_path, kind, num_workers)
        second.load_state_dict(copied(first.state_dict()))
        rest = list(second)
        assert len(seen) + len(rest) == 30
        assert all(equal(*pair) for pair in zip(seen + rest, whole, strict=True))
    last = mixture(tmp_path, kind, num_workers)
    assert len(list(last)) == 30
    assert last.used() == second.used()
    assert last.used()[0]["filtered"] > 0
    assert last.used()[1]["epochs"] > 0


def test_a_second_pass_goes_on_and_a_checkpoint_between_the_passes_too(tmp_path):
    long = list(mixture(tmp_path, "plain", 0, num_blocks=120))
    short = mixture(tmp_path, "plain", 0)
    assert all(equal(*pair) for pair in zip(list(short) + list(short), long, strict=True))
    first, second = mixture(tmp_path, "plain", 0), mixture(tmp_path, "plain", 0)
    list(first)
    second.load_state_dict(first.state_dict())
    assert all(equal(*pair) for pair in zip(second, long[30:], strict=True))


class Seen(ContinuedPretraining):
    def __init__(self):
        super().__init__(tiny_llama(), lambda parameters: torch.optim.AdamW(parameters, lr=1e-3))
        self.seen = []

    def on_train_batch_start(self, batch, batch_idx):
        self.seen.append(batch["input_ids"].clone())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_resumed_from_a_checkpoint_equals_one_that_was_not_interrupted(tmp_path, num_workers):
    def fit(module, callbacks=(), ckpt_path=None, **more):
        quiet = {"max_epochs": -1, "enable_checkpointing": bool(callbacks), "callbacks": list(callbacks)}
        trainer = pl.Trainer(**Plain(tmp_path, **quiet, **more))
        loader = mixture(tmp_path, "streamed", num_workers, num_blocks=24)
        trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True)

    whole, first, second = Seen(), Seen(), Seen()
    fit(whole, max_steps=12)
    keep = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=5)
    fit(first, [keep], max_steps=5)
    fit(second, ckpt_path=tmp_path / "last.ckpt", max_steps=12)
    assert len(whole.seen) == 12
    assert len(second.seen) == 7
    assert all(map(torch.equal, first.seen + second.seen, whole.seen))
    for mine, theirs in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def rank_of_two(rank, folder, states):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder / 'store'}", rank=rank, world_size=2)
    loader = mixture(folder, "plain", 0, rank=rank, world_size=2)
    list(islice(loader, 4))
    states.put((rank, loader.state_dict(), loader.used()))
    distributed.barrier()
    distributed.destroy_process_group()


def test_the_state_of_one_rank_holds_those_of_all(tmp_path):
    context = multiprocessing.get_context("fork")
    states = context.Queue()
    ranks = [context.Process(target=rank_of_two, args=(rank, tmp_path, states)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = {rank: (state, used) for rank, state, used in (states.get(timeout=60) for _ in ranks)}
    for process in ranks:
        process.join(60)
    assert found[0] == found[1]
    state, used = found[0]
    assert sum(part["tokens"] for part in used) == 2 * 4 * 2 * 8
    for rank in range(2):
        whole = list(mixture(tmp_path, "plain", 0, rank=rank, world_size=2))
        resumed = mixture(tmp_path, "plain", 0, rank=rank, world_size=2)
        resumed.load_state_dict(copied(state))
        assert all(equal(*pair) for pair in zip(resumed, whole[4:], strict=True))


def test_a_checkpoint_of_other_settings_or_another_text_is_refused(tmp_path):
    loader = mixture(tmp_path, "plain", 0)
    next(iter(loader))
    state = loader.state_dict()
    for changes, message in [
        ({"num_workers": 2}, r"written with data\.num_workers=0, now it is 2: a stream goes on only with the same"),
        ({"world_size": 2}, r"written with world size=1, now it is 2"),
        ({"batch_size": 3}, r"written with data\.batch_size=2, now it is 3"),
        ({"shuffle_buffer": 8}, r"written with data\.shuffle_buffer=7, now it is 8"),
    ]:
        other = mixture(tmp_path, "plain", **({"num_workers": 0} | changes))
        with pytest.raises(ValueError, match=message):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match=r"a run on packed text: go on with data\.on_the_fly=false"):
        loader.load_state_dict({"num_batches": 3})
    changed = StreamedLoader(blocks(part(Short(mark="x")), num_blocks=60))
    kept = StreamedLoader(blocks(part(Short()), num_blocks=60))
    next(iter(kept))
    changed.load_state_dict(kept.state_dict())
    with pytest.raises(ValueError, match=r"the text of 'zh' is not what it was when the checkpoint was written"):
        next(iter(changed))


# --- what can't be trained on


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_that_runs_dry_says_which_and_the_way_out_works(num_workers):
    def loader(max_epochs):
        parts = [part(ListSource(), 0.5, "general"), part(Short(20), 0.5)]
        return StreamedLoader(blocks(*parts, max_epochs=max_epochs, num_blocks=40), num_workers)

    batches = iter(loader(1))
    with pytest.raises(
        ValueError, match=r"^data: 'zh' \(pool run\) ran dry: reader \d of \d .*data\.max_epochs=2"
    ) as e:
        list(batches)
    assert "\n" not in str(e.value)
    allowed = loader(9)
    assert len(list(allowed)) == 20
    enough = allowed.used()[1]["epochs"] + 1
    assert len(list(loader(enough))) == 20
    with pytest.raises(ValueError, match=rf"has read its share of the text {enough - 1} time\(s\), \d+ tokens"):
        list(loader(enough - 1))


def test_a_reader_without_documents_and_a_run_without_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"data: reader 1 of 1 .* finds no document of 'zh' \(pool base\)"):
        list(StreamedLoader(blocks(part(Short(1)), pool="base")))
    with pytest.raises(ValueError, match=r"finds no document of 'zh'"):
        list(StreamedLoader(blocks(part(Short()), keep=lambda _: False)))
    with pytest.raises(ValueError, match=r"data\.num_tokens makes 3 rows of 8 tokens, less than one batch of .*=2 for"):
        blocks(part(Short()), num_blocks=3, world_size=2)
