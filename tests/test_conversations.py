"""Conversations from files and datasets to packed rows: what is read and where it goes, against plain lists."""

import json
import random
from collections import Counter
from functools import partial

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from lightning_langcore.data.chat_encoding import Encoded, encode_conversation
from lightning_langcore.data.evaluation_batches import answer_batches
from lightning_langcore.data.packing.conversations import PackedConversations, first_fit, pack_conversations
from lightning_langcore.data.sources import conversations as module
from lightning_langcore.data.sources import hub
from lightning_langcore.data.sources.base import Conversation, Splitter, identity
from lightning_langcore.data.sources.conversations import ConversationFiles, HubConversations
from lightning_langcore.metrics.functional import next_token_nats

IGNORE = -100


def pair(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# --- files


def test_both_forms_are_read_from_files_and_folders(tmp_path):
    long = [{"role": "system", "content": "Brief."}, *pair("一", "二"), *pair("三", "四")]
    (tmp_path / "zh.jsonl").write_text(
        lines({"messages": long, "id": 5}) + "\n  \n" + lines({"messages": pair("a", "b")})
    )
    (tmp_path / "ru").mkdir()
    (tmp_path / "ru" / "b.jsonl").write_text(lines({"inputs": "Где\u2028кот?", "targets": "Тут.", "n": 1}))
    (tmp_path / "ru" / "a.jsonl").write_text(lines({"inputs": "Кто?", "targets": "Кот."}).strip())
    (tmp_path / "ru" / "c.txt").write_text("no")
    (tmp_path / "en.txt").write_text("no")
    source = ConversationFiles(tmp_path)
    assert source.languages == ["ru", "zh"]
    assert [list(c.messages) for c in source.conversations("zh")] == [long, pair("a", "b")]
    assert [list(c.messages) for c in source.conversations("ru")] == [
        pair("Кто?", "Кот."),
        pair("Где\u2028кот?", "Тут."),
    ]
    keys = [c.key for lang in source.languages for c in source.conversations(lang)]
    assert keys == ["Кто?\nКот.", "Где\u2028кот?\nТут.", "Brief.\n一\n二\n三\n四", "a\nb"]


def test_other_columns_can_be_named_and_messages_keep_role_and_content_alone(tmp_path):
    (tmp_path / "en.jsonl").write_text(lines({"instruction": "a", "output": "b", "inputs": "no", "targets": "no"}))
    (found,) = ConversationFiles(tmp_path, "instruction", "output").conversations("en")
    assert found == Conversation("a\nb", pair("a", "b"))
    more = [{**m, "name": "x"} for m in pair("c", "d")]
    (tmp_path / "en.jsonl").write_text(lines({"messages": more}))
    assert list(ConversationFiles(tmp_path).conversations("en")) == [Conversation("c\nd", pair("c", "d"))]


GOOD = lines({"inputs": "a", "targets": "b"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + '{"inputs": "a", "targ', r"en\.jsonl, line 2 is not JSON \(Unterminated string.*\): mend or remove it"),
        (GOOD.encode() + b'\n{"inputs": "\xff"}\n', r"en\.jsonl, line 3 is not UTF-8 \(byte 13\): convert it"),
        (GOOD + lines({"inputs": "a", "targets": " "}), r"en\.jsonl, line 2: message 2, an answer, is empty"),
        (GOOD + lines({"inputs": "a", "targets": None}), r"en\.jsonl, line 2: the content of message 2 is not text"),
        (lines({"messages": pair("a", "b")[:1]}), r"en\.jsonl, line 1: it has no answer"),
        (lines({"messages": []}), r"en\.jsonl, line 1: messages must be a list"),
        (
            lines({"q": "a", "targets": "b"}),
            r"line 1 has neither messages nor data\.inputs='inputs' .*, only q, targets",
        ),
        (lines(["a", "b"]), r"line 1 has neither messages nor .*, it is no object"),
        ('{"inputs": "a", "targets": "\\ud800"}\n', r"en\.jsonl, line 1 holds half a surrogate pair"),
        ("", r"en\.jsonl has no conversation: remove it or fill it"),
        ("\n\n", r"en\.jsonl has no conversation"),
    ],
)
def test_a_broken_line_is_named_with_its_file_and_number(tmp_path, content, message):
    (tmp_path / "en.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        list(ConversationFiles(tmp_path).conversations("en"))
    assert "\n" not in str(caught.value)


def test_folders_without_conversations_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data\.root=.*none: there is no such folder"):
        ConversationFiles(tmp_path / "none")
    (tmp_path / "en.txt").write_text("text")
    with pytest.raises(ValueError, match=r"data\.root=.*: no <lang>\.jsonl"):
        ConversationFiles(tmp_path)


def test_the_digest_follows_bytes_names_and_columns(tmp_path):
    (tmp_path / "en.jsonl").write_text(GOOD)
    first = ConversationFiles(tmp_path).digest()
    assert ConversationFiles(tmp_path).digest() == first
    others = {ConversationFiles(tmp_path, "x").digest(), ConversationFiles(tmp_path, targets="x").digest()}
    (tmp_path / "en.jsonl").write_text(GOOD * 2)
    others.add(ConversationFiles(tmp_path).digest())
    (tmp_path / "en.jsonl").write_text(GOOD)
    (tmp_path / "en.jsonl").rename(tmp_path / "fr.jsonl")
    others.add(ConversationFiles(tmp_path).digest())
    assert len(others | {first}) == 5


# --- a dataset laid out as aya is on the hub

AYA = [
    ("一?", "二", "zho"),
    ("Q1", "A1", "eng"),
    ("三?", "四", "zho"),
    ("Q2", " ", "eng"),
    (None, "A3", "eng"),
    ("Q4", "A4", "eng"),
    ("ش", "ب", "arb"),
]
CODES = {"en": "eng", "zh": "zho"}


def aya(root, rows=AYA, **changed):
    columns = dict(zip(("inputs", "targets", "language_code"), map(list, zip(*rows, strict=True)), strict=True))
    columns |= {"language": ["x"] * len(rows), "annotation_type": ["original"] * len(rows)} | changed
    table = pyarrow.table({name: values for name, values in columns.items() if values is not None})
    (root / "data").mkdir(parents=True)
    half = len(rows) // 2
    parquet.write_table(table.slice(0, half), root / "data" / "train-00000-of-00002.parquet")
    parquet.write_table(table.slice(half), root / "data" / "train-00001-of-00002.parquet")
    return root


@pytest.mark.parametrize("streaming", [True, False])
def test_rows_are_chosen_by_their_language_and_empty_ones_left_out_aloud(tmp_path, monkeypatch, streaming):
    said = []
    monkeypatch.setattr(module, "say", said.append)
    monkeypatch.setattr(hub, "_BATCH", 2)
    source = HubConversations(aya(tmp_path / "aya"), CODES, streaming=streaming, cache_dir=tmp_path / "cache")
    assert source.languages == ["en", "zh"]
    for _ in range(2):
        assert list(source.conversations("zh")) == [Conversation(f"{q}\n{a}", pair(q, a)) for q, a, _ in AYA[:3:2]]
        assert [c.key for c in source.conversations("en")] == ["Q1\nA1", "Q4\nA4"]
    assert len(said) == 1
    assert "left out 2 'en' row(s) without a question or an answer" in said[0]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("options", "changed", "message"),
    [
        ({"targets": "output"}, {}, r"has no column data\.targets='output', only inputs, targets, "),
        ({"language_column": "lang"}, {}, r"has no column data\.language_column='lang'"),
        ({"codes": {"ko": "kor"}}, {}, r"no conversation where .*'language_code' is 'kor' .*; it has arb, eng, zho"),
        ({}, {"targets": list(range(len(AYA)))}, r"the column data\.targets='targets' holds int, not text"),
        ({"split": "test"}, {}, r"has no split 'test', only train"),
    ],
)
def test_a_dataset_that_lacks_something_is_refused_in_one_sentence(tmp_path, streaming, options, changed, message):
    root = aya(tmp_path / "aya", **changed)
    options = {"codes": CODES, "streaming": streaming, "cache_dir": tmp_path / "cache"} | options
    source = HubConversations(root, **options)
    with pytest.raises(ValueError, match=rf"data\.path=.*{message}") as caught:
        list(source.conversations(source.languages[0]))
    assert "\n" not in str(caught.value)


def test_no_codes_are_refused_and_the_digest_follows_settings_and_files(tmp_path):
    for codes in ({}, {False: "nor"}, {"zh": 5}):
        with pytest.raises(
            ValueError, match=r"data\.codes=.* must say what data\.language_column='language_code' holds"
        ):
            HubConversations(tmp_path, codes)
    root = aya(tmp_path / "aya")
    first = HubConversations(root, CODES).digest()
    assert HubConversations(root, CODES).digest() == first
    others = {HubConversations(root, {"en": "eng"}).digest(), HubConversations(root, CODES, "x").digest()}
    others |= {HubConversations(root, CODES, split="test").digest()}
    (root / "data" / "train-00001-of-00002.parquet").unlink()
    others.add(HubConversations(root, CODES).digest())
    assert len(others | {first}) == 5


def test_the_splits_of_a_source_share_no_conversation(tmp_path):
    (tmp_path / "en.jsonl").write_text(lines(*({"inputs": f"{i}?", "targets": "yes"} for i in range(300))))
    splitter, source = Splitter(0.2, 0.2, {"base": 1, "run": 1}), ConversationFiles(tmp_path)
    places = ("test", "validation", "base", "run")
    parts = [c.key for place in places for c in splitter.choose(source.conversations("en"), place)]
    assert Counter(parts) == Counter(c.key for c in source.conversations("en"))


# --- packed rows


def table(count, longest, seed=0):
    """Numbered conversations, every seventh with a tag, and what each is as tokens, by key."""
    rng = random.Random(seed)
    found, made = [], {}
    for i in range(count):
        size = rng.randint(2, longest)
        ids = [rng.randrange(1, 100_000) for _ in range(size)]
        found.append(Conversation(f"key {i}", pair("q", "a"), f"foreign:{i}" if i % 7 == 0 else None))
        made[f"key {i}"] = Encoded(ids, [rng.random() < 0.5 for _ in ids], rng.choice([0, 0, 3]))
    return found, made


def pack(folder, found, made, block_size, num_tokens=None):
    return pack_conversations(found, lambda talk: made[talk.key], folder, num_tokens, block_size)


def plain_row(made, keys, block_size):
    """The row that these conversations make one after another, written down token by token."""
    ids, positions, labels = [], [], []
    for key in keys:
        tokens, flags = made[key].ids, made[key].is_answer
        ids += tokens
        positions += range(len(tokens))
        labels += [tokens[i + 1] if flags[i + 1] else IGNORE for i in range(len(tokens) - 1)] + [IGNORE]
    rest = block_size - len(ids)
    return ids + [0] * rest, positions + list(range(rest)), labels + [IGNORE] * rest


@pytest.mark.parametrize(("count", "longest", "block_size"), [(700, 20, 32), (300, 32, 32), (600, 3, 200), (1, 5, 5)])
def test_every_conversation_stands_whole_in_one_row(tmp_path, count, longest, block_size):
    found, made = table(count, longest)
    by_identity = {identity(talk.key): talk for talk in found}
    packed = pack(tmp_path / "p", found, made, block_size)
    seen = []
    for number in range(packed.num_rows(block_size)):
        row = packed.row(number, block_size)
        about = [packed.about(i) for i in row["documents"]]
        inside = [by_identity[one["document"]] for one in about]
        assert [one.get("tag") for one in about] == [talk.tag for talk in inside]
        ids, positions, labels = plain_row(made, [talk.key for talk in inside], block_size)
        assert row["input_ids"].tolist() == ids
        assert row["position_ids"].tolist() == positions
        assert row["shift_labels"].tolist() == labels
        assert {row[name].dtype for name in ("input_ids", "position_ids", "shift_labels")} == {torch.int64}
        assert int(row["num_documents"]) == len(inside) == packed.num_documents(np.array([number]), block_size)
        seen += [talk.key for talk in inside]
    assert sorted(seen) == sorted(talk.key for talk in found)
    total = sum(len(encoded.ids) for encoded in made.values())
    assert (packed.num_tokens, packed.num_conversations) == (total, count)
    assert packed.num_answer_tokens == sum(sum(encoded.is_answer) for encoded in made.values())
    assert packed.num_cut == sum(encoded.num_cut > 0 for encoded in made.values())
    assert packed.num_cut_tokens == sum(encoded.num_cut for encoded in made.values())
    assert packed.padding == pytest.approx(1 - total / (len(packed) * block_size))
    assert packed.tokens_a_row(block_size) == pytest.approx(total / len(packed))
    assert packed.num_documents(np.array([0, 0]), block_size) == 2 * int(packed.row(0, block_size)["num_documents"])


def test_little_is_padded_and_conversations_stay_near_their_place(tmp_path):
    found, made = table(3000, 40)
    packed = pack(tmp_path / "p", found, made, 128)
    assert packed.padding < 0.01
    place = {identity(talk.key): number for number, talk in enumerate(found)}
    order = [place[packed.about(i)["document"]] for i in range(len(found))]
    assert max(abs(number - i) for i, number in enumerate(order)) < 300
    assert abs(np.mean([number - i for i, number in enumerate(order)])) < 1


def test_first_fit_never_overfills_and_is_within_its_bound_of_the_least():
    for seed in range(30):
        found, made = table(60, 20, seed)
        pairs = [(talk, made[talk.key]) for talk in found]
        rows = first_fit(pairs, 25)
        sizes = [sum(len(encoded.ids) for _, encoded in row) for row in rows]
        assert max(sizes) <= 25
        assert sizes[-1] == min(sizes)
        assert len(rows) <= np.ceil(11 / 9 * np.ceil(sum(sizes) / 25)) + 1
        assert Counter(talk.key for row in rows for talk, _ in row) == Counter(talk.key for talk in found)


def test_packing_reads_no_more_than_it_needs_and_finds_its_folder_again(tmp_path):
    found, made = table(500, 20)
    ends = np.cumsum([len(made[talk.key].ids) for talk in found])
    for wanted in (1, int(ends[10]), int(ends[10]) + 1):
        read = []
        packed = pack(tmp_path / str(wanted), (read.append(talk) or talk for talk in found), made, 32, wanted)
        count = int(np.searchsorted(ends, wanted)) + 1
        assert (len(read), packed.num_tokens) == (count, ends[count - 1])
    again = pack(tmp_path / "1", [], {}, 32, 1)
    assert again.num_tokens == ends[0]
    assert PackedConversations(tmp_path / "1").row(0, 32)["input_ids"].tolist()[: ends[0]] == made["key 0"].ids
    assert len(pack(tmp_path / "empty", [], {}, 32)) == 0


def test_a_failure_leaves_no_folder_behind(tmp_path):
    found, made = table(600, 20)
    del made["key 550"]
    with pytest.raises(KeyError):
        pack(tmp_path / "p", found, made, 32)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_first_token_that_is_an_answer_is_not_learnt_from_the_conversation_before(tmp_path):
    made = {"a": Encoded([1, 2, 3], [False, True, True]), "b": Encoded([4, 5], [True, True])}
    packed = pack(tmp_path / "p", [Conversation(key, pair("q", "a")) for key in made], made, 6)
    row = packed.row(0, 6)
    assert row["input_ids"].tolist() == [1, 2, 3, 4, 5, 0]
    assert row["shift_labels"].tolist() == [2, 3, IGNORE, 5, IGNORE, IGNORE]
    assert row["position_ids"].tolist() == [0, 1, 2, 0, 1, 0]


# --- scoring answers


def dialogues(count=25, seed=0):
    rng = random.Random(seed)
    return [
        Conversation(str(i), pair("что? " * rng.randrange(1, 4), rng.choice("абв猫x") * rng.randrange(1, 9)))
        for i in range(count)
    ]


def test_answers_are_scored_once_with_their_bytes_whatever_the_batch(tokenizer):
    encode = partial(encode_conversation, tokenizer=tokenizer, template="plain", max_length=64)
    found = dialogues()
    expected = [
        token
        for talk in found
        for token in [*tokenizer(talk.messages[1]["content"])["input_ids"], tokenizer.eos_token_id]
    ]
    for size in (1, 70, 4096):
        batches = answer_batches(found, encode, batch_tokens=size)
        assert sum(b["num_bytes"] for b in batches) == sum(len(t.messages[1]["content"].encode()) for t in found)
        labels = [b["shift_labels"][b["shift_labels"] != IGNORE].tolist() for b in batches]
        assert sorted(token for part in labels for token in part) == sorted(expected)
        for batch in batches:
            rows, width = batch["input_ids"].shape
            assert rows == 1 or rows * width <= size
            shifted = batch["input_ids"][:, 1:][batch["shift_labels"][:, :-1] != IGNORE]
            assert shifted.tolist() == batch["shift_labels"][batch["shift_labels"] != IGNORE].tolist()


def test_conversations_are_taken_whole_until_there_are_enough_answer_tokens(tokenizer):
    encode = partial(encode_conversation, tokenizer=tokenizer, template="plain", max_length=64)
    found = dialogues()
    ends = np.cumsum([sum(encode(talk).is_answer) for talk in found])
    for wanted in (1, int(ends[3]), int(ends[3]) + 1, 10**6):
        count = min(int(np.searchsorted(ends, wanted)) + 1, len(found))
        batches = answer_batches(found, encode, wanted)
        assert sum(len(batch["input_ids"]) for batch in batches) == count
        assert sum(int((batch["shift_labels"] != IGNORE).sum()) for batch in batches) == ends[count - 1]


def test_a_cut_answer_brings_as_large_a_share_of_its_bytes(tokenizer):
    encode = partial(encode_conversation, tokenizer=tokenizer, template="plain", max_length=6)
    (batch,) = answer_batches([Conversation("k", pair("why", "abcdefghi"))], encode)
    assert int((batch["shift_labels"] != IGNORE).sum()) == 5
    assert batch["num_bytes"] == round(9 * 5 / 10)


def test_packed_rows_cost_as_many_nats_as_each_conversation_alone(tmp_path, llama, tokenizer):
    encode = partial(encode_conversation, tokenizer=tokenizer, template="plain", max_length=48)
    found = dialogues()
    packed = pack_conversations(found, encode, tmp_path / "p", None, 48)
    rows = [packed.row(number, 48) for number in range(len(packed))]
    batch = {name: torch.stack([row[name] for row in rows]) for name in ("input_ids", "position_ids", "shift_labels")}
    assert max(int(row["num_documents"]) for row in rows) > 1
    with torch.no_grad():
        logits = llama(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
        nats, count = next_token_nats(logits, batch["shift_labels"])
        alone = [
            next_token_nats(llama(input_ids=b["input_ids"]).logits, b["shift_labels"])
            for b in answer_batches(found, encode, batch_tokens=1)
        ]
    assert int(count) == packed.num_answer_tokens == sum(int(n) for _, n in alone)
    assert float(nats) == pytest.approx(sum(float(n) for n, _ in alone), rel=1e-6)
