"""Training straight from a stream: what a batch holds, every document once over ranks and workers."""

from collections import Counter

import pytest
import torch

from lightning_langcore.data.sources.base import identity
from lightning_langcore.data.streaming.blocks import StreamedLoader
from tests.support.streams import BEGIN, END, RUN, CharTokenizer, Short, blocks, described, part, source_of
from tests.support.texts import ListSource

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


@pytest.mark.slow
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


# --- what can't be trained on


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_that_runs_dry_says_which_and_the_way_out_works(num_workers):
    def loader(max_epochs):
        parts = [part(ListSource(), 0.5, "general"), part(Short(20), 0.5)]
        return StreamedLoader(blocks(*parts, max_epochs=max_epochs, num_blocks=40), num_workers)

    batches = iter(loader(1))
    with pytest.raises(
        ValueError, match=r"^data: the text of 'zh' \(pool run\) is exhausted: reader \d of \d .*data\.max_epochs=2"
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
