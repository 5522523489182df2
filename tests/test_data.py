"""Text from files to packed blocks: what is read and where it goes, against plain lists."""

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet
from texts import ListSource

from lightning_langcore.data.mixing import Part
from lightning_langcore.data.noise import RepeatNoise
from lightning_langcore.data.packing.dataset import PackedRows
from lightning_langcore.data.packing.documents import Repetition, pack
from lightning_langcore.data.sources.base import Document, Splitter
from lightning_langcore.data.sources.files import FileSource
from lightning_langcore.data.tokenization import encode

BEGIN, END = 1, 2


class CharTokenizer(SimpleNamespace):
    """A token is a code point; ``bos_token_id``, ``eos_token_id`` and ``size`` as given."""

    def __len__(self):
        return self.size

    def __call__(self, texts, add_special_tokens, split_special_tokens, verbose):
        assert not add_special_tokens
        assert split_special_tokens
        return {"input_ids": [[ord(c) for c in text] for text in texts]}


def chars(size=60_000, begin=BEGIN):
    return CharTokenizer(size=size, bos_token_id=begin, eos_token_id=END)


# --- files


def files(root, **contents):
    """Write NAME__SUFFIX=content and read the folder back."""
    root.mkdir()
    for name, content in contents.items():
        path = root / name.replace("__", ".").replace("_in_", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def texts_of(source, language):
    documents = list(source.documents(language))
    assert all(document.key == document.text and document.tag is None for document in documents)
    return [document.text for document in documents]


def test_each_format_gives_its_documents_and_leaves_empty_ones_out(tmp_path):
    lines = "один\r\n\n  \nдва\u2028слова\x0bещё\nтри"
    rows = [{"text": "一\n二", "id": 1}, {"text": "", "id": 2}, {"text": None, "id": 3}, {"text": "三", "id": 4}]
    root = files(
        tmp_path / "text",
        ru__txt=lines,
        zh__jsonl="\n".join(map(json.dumps, rows)),
        es_in_b__txt="dos\n",
        es_in_a__jsonl='{"text": "uno"}\n',
        es_in__hidden="x",
        README__md="# no text",
    )
    (root / ".hidden.txt").write_text("no")
    (root / "es" / ".checkpoints").mkdir()
    (root / "es" / ".checkpoints" / "b.txt").write_text("no")
    (root / "es" / "b [old].txt").write_text("tres\n")
    parquet.write_table(pyarrow.table({"text": ["eins", "zwei"], "id": [1, 2]}), root / "de.parquet")
    source = FileSource(root, cache_dir=tmp_path / "cache")
    assert source.languages == ["de", "es", "ru", "zh"]
    assert texts_of(source, "ru") == ["один", "два\u2028слова\x0bещё", "три"]
    assert texts_of(source, "zh") == ["一\n二", "三"]
    assert texts_of(source, "de") == ["eins", "zwei"]
    assert texts_of(source, "es") == ["uno", "tres", "dos"]


@pytest.mark.parametrize(
    ("sample_by", "expected"),
    [("line", ["a", "b", "c", "d"]), ("paragraph", ["a\nb", "c\nd"]), ("document", ["a\nb\n\n\n\nc\nd"])],
)
def test_a_document_is_a_line_a_paragraph_or_the_file(tmp_path, sample_by, expected):
    root = files(tmp_path / "text", en__txt="a\nb\n\n\n\nc\nd")
    assert texts_of(FileSource(root, sample_by, cache_dir=tmp_path / "cache"), "en") == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("en__txt", "", r"en\.txt is empty"),
        ("en__txt", b"fine\nfine\ncaf\xe9\n", r"en\.txt, line 3 is not UTF-8 \(byte 4\)"),
        ("en__jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', r"en\.jsonl, line 2 is not UTF-8"),
        ("en__jsonl", '{"text": "a"}\n{"text": ', r"en\.jsonl can't be read as \.jsonl"),
        ("en__jsonl", '{"body": "a", "n": 1}\n', r"no column data\.column='text', only body, n"),
        ("en__jsonl", '{"text": 5}\n', r"data\.column='text' holds .*int64.*, not text"),
        ("en__parquet", "PAR1", r"en\.parquet can't be read as \.parquet"),
    ],
)
def test_a_file_that_can_not_be_read_is_named_with_the_reason(tmp_path, name, content, message):
    source = FileSource(files(tmp_path / "text", **{name: content}), cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match=message):
        list(source.documents("en"))


def test_folders_without_text_are_refused_and_another_column_can_be_named(tmp_path):
    with pytest.raises(ValueError, match=r"data\.root=.*none: there is no such folder"):
        FileSource(tmp_path / "none")
    root = files(tmp_path / "text", notes__md="x")
    with pytest.raises(ValueError, match=r"no <lang>\.txt"):
        FileSource(root)
    with pytest.raises(ValueError, match=r"data\.sample_by='page'"):
        FileSource(root, "page")
    (root / "en.jsonl").write_text('{"body": "a"}\n')
    assert texts_of(FileSource(root, column="body", cache_dir=tmp_path / "cache"), "en") == ["a"]


def test_the_digest_follows_bytes_names_and_reading(tmp_path):
    root = files(tmp_path / "text", en__txt="a\nb\n", ru__txt="c\n")
    first = FileSource(root).digest()
    assert FileSource(root).digest() == first
    others = {FileSource(root, "paragraph").digest(), FileSource(root, column="body").digest()}
    (root / "en.txt").write_text("a\nB\n")
    others.add(FileSource(root).digest())
    (root / "en.txt").write_text("a\nb\n")
    (root / "ru.txt").rename(root / "uk.txt")
    others.add(FileSource(root).digest())
    assert len(others | {first}) == 5


# --- splits


def test_shares_of_splits_and_pools_are_as_asked():
    splitter = Splitter(test=0.1, validation=0.05, pools={"base": 2, "locate": 1, "run": 1})
    count = 20_000
    found = Counter(splitter.place(f"document {i}") for i in range(count))
    expected = {"test": 0.1, "validation": 0.05, "base": 0.425, "locate": 0.2125, "run": 0.2125}
    assert found.keys() == expected.keys()
    for place, share in expected.items():
        assert abs(found[place] - share * count) < 4 * np.sqrt(share * (1 - share) * count), place


def test_a_document_stays_where_it_is_when_others_come_and_in_every_language():
    splitter = Splitter(0.2, 0.1, {"base": 1, "run": 1})
    few, many = ListSource(200), ListSource(900)
    places = ("test", "validation", "base", "run")
    parts = {place: list(splitter.texts(few, "ru", place)) for place in places}
    assert Counter(t for part in parts.values() for t in part) == Counter(d.text for d in few.documents("ru"))
    for place, part in parts.items():
        assert list(splitter.texts(many, "ru", place))[: len(part)] == part
        assert [t.replace("ru ", "zh ", 1) for t in part] == list(splitter.texts(few, "zh", place))


def test_a_pool_without_weight_gets_nothing_and_leaves_test_and_validation_alone():
    with_base, without = Splitter(0.2, 0.1, {"base": 1, "run": 1}), Splitter(0.2, 0.1, {"base": 0, "run": 1})
    for i in range(2000):
        one, other = with_base.place(str(i)), without.place(str(i))
        assert other == ("run" if one == "base" else one)


@pytest.mark.parametrize(("test", "validation", "pools"), [(0.6, 0.4, {"run": 1}), (-0.1, 0, {"run": 1}), (0, 0, {})])
def test_shares_that_leave_nothing_are_refused(test, validation, pools):
    with pytest.raises(ValueError, match=r"data\.(splits|pools)"):
        Splitter(test, validation, pools)
    with pytest.raises(ValueError, match=r"data\.pools"):
        Splitter(0, 0, {"run": 0, "base": 0})


# --- packing


def docs(texts):
    return [Document(str(number), text) for number, text in enumerate(texts)]


@pytest.mark.parametrize(("size", "bytes_each"), [(1 << 16, 2), ((1 << 16) + 1, 4)])
def test_packed_tokens_are_the_documents_between_begin_and_end(tmp_path, size, bytes_each):
    documents = ["ab", "", "длинный", "猫" * 30, "z"]
    plain = [token for text in documents for token in (BEGIN, *map(ord, text), END)]
    packed = pack(docs(documents), chars(size), tmp_path / "p", num_tokens=10**6)
    assert packed.tokens.tolist() == plain
    assert packed.ends.tolist() == [i for i, token in enumerate(plain) if token == END]
    assert (tmp_path / "p" / "tokens.bin").stat().st_size == bytes_each * len(plain)


@pytest.mark.parametrize("block_size", [1, 3, 4, 7])
def test_blocks_are_the_row_cut_with_labels_one_further_on(tmp_path, block_size):
    documents = [chr(100 + i) * (i % 5) for i in range(20)]
    plain = [token for text in documents for token in (BEGIN, *map(ord, text), END)]
    packed = pack(docs(documents), chars(), tmp_path / "p", num_tokens=10**6)
    count = packed.num_rows(block_size)
    assert count * block_size < len(plain) <= (count + 1) * block_size
    order = np.array([(0, i) for i in range(count)])
    items = list(PackedRows([packed], [Part("mine", "en", None, "text", 1.0)], order, block_size, positions=False))
    scored = count * block_size
    assert torch.cat([item["input_ids"] for item in items]).tolist() == plain[:scored]
    assert torch.cat([item["shift_labels"] for item in items]).tolist() == plain[1 : scored + 1]
    owners = [number for number, text in enumerate(documents) for _ in range(len(text) + 2)]
    names = [document.identity for document in docs(documents)]
    for start, item in zip(range(0, scored, block_size), items, strict=True):
        assert int(item["num_documents"]) == item["shift_labels"].tolist().count(END)
        overlapped = sorted(set(owners[start : start + block_size + 1]))
        expected = [{"source": "mine", "language": "en", "document": names[number]} for number in overlapped]
        assert json.loads(item["documents"]) == expected
    assert packed.num_documents(order[:, 1], block_size) == sum(int(item["num_documents"]) for item in items)


def test_a_begin_token_that_is_the_end_token_is_written_once(tmp_path):
    packed = pack(docs(["ab", "c"]), chars(begin=END), tmp_path / "p", 100)
    assert packed.tokens.tolist() == [97, 98, END, 99, END]


def test_packing_reads_no_more_than_it_needs_and_finds_its_folder_again(tmp_path):
    read = []
    documents = (read.append(i) or Document(str(i), "abc") for i in range(100_000))
    packed = pack(documents, chars(), tmp_path / "p", num_tokens=10)
    assert len(packed.tokens) == 15  # the first whole documents with more than 10 tokens: a label for the tenth
    assert len(read) <= 256
    again = pack(docs(["something else"]), chars(), tmp_path / "p", num_tokens=10)
    assert again.tokens.tolist() == packed.tokens.tolist()
    assert pack([], chars(), tmp_path / "empty", 10).num_rows(1) == 0


def test_a_failure_leaves_no_folder_behind(tmp_path):
    def documents():
        yield from docs(["text"] * 300)
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        pack(documents(), chars(), tmp_path / "p", 10**6)
    assert [entry.name for entry in tmp_path.iterdir()] == [".p.lock"]
    with pytest.raises(OverflowError):  # a token id that does not fit two bytes is not cut off
        pack(docs(["\U0001f408"]), chars(), tmp_path / "p", 10)
    assert [entry.name for entry in tmp_path.iterdir()] == [".p.lock"]


def test_documents_that_repeat_a_span_are_left_out_and_named(tmp_path):
    texts = ["abc" * 31, "x" + "abc" * 32, "plain text", "z" * 32 + "end", "abcdefghijklmn" * 40]
    packed = pack(docs(texts), chars(), tmp_path / "p", None, Repetition(13, 32))
    kept = [texts[0], texts[2], texts[4]]  # 31 times; nothing; a period of 14
    assert packed.tokens.tolist() == [token for text in kept for token in (BEGIN, *map(ord, text), END)]
    assert packed.num_filtered == 2
    named = [json.loads(line) for line in (tmp_path / "p" / "filtered.jsonl").read_text().splitlines()]
    assert [(row["document"], row["repeats"], row["period"]) for row in named] == [
        (docs(texts)[1].identity, 32, 3),
        (docs(texts)[3].identity, 32, 1),
    ]
    assert named[0]["head"] == texts[1][:80]


def test_noise_hits_the_documents_of_its_window_and_they_are_tagged(tmp_path):
    texts = [f"word{i} one two three" for i in range(300)]
    clean = pack(docs(texts), chars(), tmp_path / "clean", None)
    size = len(clean.tokens)
    noise = RepeatNoise(1.0, 5)
    packed = pack(docs(texts), chars(), tmp_path / "noisy", size, Repetition(), noise, (0.25, 0.5))
    tagged = [number for number in range(len(packed.ends)) if "tag" in packed.about(number)]
    assert tagged == list(range(tagged[0], tagged[-1] + 1))
    starts = np.concatenate([[0], packed.ends[:-1] + 1])
    assert starts[tagged[0] - 1] < size / 4 <= starts[tagged[0]]
    assert starts[tagged[-1]] < size / 2 <= starts[tagged[-1] + 1]
    for number in (tagged[0] - 1, tagged[0], tagged[-1], tagged[-1] + 1):
        text = "".join(map(chr, packed.tokens[starts[number] + 1 : packed.ends[number]]))
        expected = noise.document(docs(texts)[number]).text if number in tagged else texts[number]
        assert text == expected
        assert packed.about(number).get("tag") == ("repeat:5" if number in tagged else None)


def test_several_processes_make_the_same_tokens_in_the_same_order(tokenizer):
    texts = [f"Кошка {i} спит на камне. </s> " * (i % 4) for i in range(700)]
    assert list(encode(texts, tokenizer, num_proc=2)) == list(encode(texts, tokenizer))
