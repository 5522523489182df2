"""Conversations from files and datasets: which rows are read, what is refused, what the digest follows."""

import json
from collections import Counter

import pyarrow
import pytest
from pyarrow import parquet

from lightning_langcore.data.sources import conversations as module
from lightning_langcore.data.sources import hub
from lightning_langcore.data.sources.base import Conversation, Splitter
from lightning_langcore.data.sources.conversations import ConversationFiles, HubConversations
from tests.support.packed_conversations import pair


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


def test_other_columns_can_be_named_and_all_that_a_chat_template_may_use_is_kept(tmp_path):
    (tmp_path / "en.jsonl").write_text(lines({"instruction": "a", "output": "b", "inputs": "no", "targets": "no"}))
    (found,) = ConversationFiles(tmp_path, "instruction", "output").conversations("en")
    assert found == Conversation("a\nb", pair("a", "b"), fields={"inputs": "no", "targets": "no"})
    more = [pair("c", "d")[0], {"role": "assistant", "content": None, "tool_calls": [{"name": "x"}]}, *pair("e", "f")]
    more[-1]["reasoning_content"] = "g"
    (tmp_path / "en.jsonl").write_text(lines({"messages": more, "tools": [{"name": "x"}]}))
    (found,) = ConversationFiles(tmp_path).conversations("en")
    assert found == Conversation("c\n\ne\nf", more, fields={"tools": [{"name": "x"}]})


GOOD = lines({"inputs": "a", "targets": "b"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + '{"inputs": "a", "targ', r"en\.jsonl, line 2 is not JSON \(Unterminated string.*\): fix or remove it"),
        (GOOD.encode() + b'\n{"inputs": "\xff"}\n', r"en\.jsonl, line 3 is not UTF-8 \(byte 13\): convert it"),
        (GOOD + lines({"inputs": "a", "targets": " "}), r"en\.jsonl, line 2: message 2, an answer, is empty"),
        (GOOD + lines({"inputs": "a", "targets": None}), r"en\.jsonl, line 2: the content of message 2 is not text"),
        (lines({"messages": pair("a", "b")[:1]}), r"en\.jsonl, line 1: it has no answer"),
        (lines({"messages": []}), r"en\.jsonl, line 1: messages must be a list"),
        (
            lines({"q": "a", "targets": "b"}),
            r"line 1 has neither messages nor data\.inputs='inputs' .*, only q, targets",
        ),
        (lines(["a", "b"]), r"en\.jsonl, item 1 is not an object"),
        (lines("a", "b"), r"en\.jsonl, line 1 is not an object"),
        ('{"inputs": "a", "targets": "\\ud800"}\n', r"en\.jsonl, line 1 holds half a surrogate pair"),
        (
            json.dumps({"messages": [pair("a", "b")[0], {**pair("a", "b")[1], "thinking": "\ud800"}]}),
            r"en\.jsonl, line 1 holds half a surrogate pair",
        ),
        ("", r"en\.jsonl is empty: remove it or fill it"),
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
