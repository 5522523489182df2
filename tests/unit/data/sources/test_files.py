"""Text from files: which documents are read, what is refused, what the digest follows."""

import bz2
import gzip
import json
import lzma

import pyarrow
import pytest
from pyarrow import parquet

from lightning_langcore.data.sources import language_files
from lightning_langcore.data.sources.conversations import ConversationFiles
from lightning_langcore.data.sources.files import FileSource

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
        (
            "en__jsonl",
            '{"text": "a"}\n{"text": ',
            r"en\.jsonl, line 2 is not JSON \(Expecting value.*\): fix or remove it",
        ),
        ("en__jsonl", '{"body": "a", "n": 1}\n', r"no column data\.column='text', only body, n"),
        ("en__jsonl", '{"text": 5}\n', r"en\.jsonl, line 1: the column data\.column='text' holds int, not text"),
        ("en__jsonl", '{"text": "\\ud800"}\n', r"en\.jsonl, line 1 holds half a surrogate pair"),
        ("en__json", '[{"text": "a"}, 5]', r"en\.json, item 2 is not an object"),
        ("en__json", '{"text": "a",', r"en\.json, line 1 is not JSON"),
        ("en__csv", "body,n\na,1\n", r"en\.csv has no column data\.column='text', only body, n"),
        ("en__txt__gz", gzip.compress(b"one\ntwo\n")[:-9], r"en\.txt\.gz can't be read as gzip \("),
        ("en__txt__xz", b"no xz", r"en\.txt\.xz can't be read as xz \("),
        ("en__txt__gz", gzip.compress(b"fine\ncaf\xe9\n"), r"en\.txt\.gz, line 2 is not UTF-8 \(byte 4\)"),
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


# --- names and compression


@pytest.fixture
def said(monkeypatch):
    """The lines about what is left out."""
    lines = []
    monkeypatch.setattr(language_files, "say", lines.append)
    language_files._say_once.cache_clear()
    return lines


def arrow_compressed(text, codec):
    made = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(made, codec) as stream:
        stream.write(text.encode())
    return made.getvalue().to_pybytes()


def test_compressed_files_and_endings_in_upper_case_are_read(tmp_path, said):
    row = json.dumps({"text": "два\nслова"}) + "\n"
    made = files(tmp_path / "text", en__TXT="one\n", de__text="eins\n", fr__ndjson=row, ko__JSON=f"[{row}]")
    for name, content in {
        "es.txt.gz": gzip.compress(b"uno\n") + gzip.compress(b"dos\n"),
        "ru.jsonl.GZ": gzip.compress(row.encode()),
        "zh.jsonl.zst": arrow_compressed(row, "zstd") + arrow_compressed(row, "zstd"),
        "ar.txt.lz4": arrow_compressed("a\nb", "lz4"),
        "vi.txt.bz2": bz2.compress(b"mot\n"),
        "it.csv.xz": lzma.compress(b'id,text\n1,"uno, ""due""\n\ntre"\n2,\n'),
        "pt.tsv": b"text\tid\num\t5\n",
    }.items():
        (made / name).write_bytes(content)
    source = FileSource(made)
    assert {language: texts_of(source, language) for language in source.languages} == {
        "en": ["one"], "de": ["eins"], "fr": ["два\nслова"], "ko": ["два\nслова"], "es": ["uno", "dos"],
        "ru": ["два\nслова"], "zh": ["два\nслова"] * 2, "ar": ["a", "b"], "vi": ["mot"], "it": ['uno, "due"\n\ntre'],
        "pt": ["um"],
    }  # fmt: skip
    assert said == []


def test_arrow_files_of_a_saved_dataset_are_read(tmp_path, said):
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"text": ["a", "b"], "id": [1, 2]}).save_to_disk(tmp_path / "text" / "en")
    source = FileSource(tmp_path / "text", cache_dir=tmp_path / "cache")
    assert texts_of(source, "en") == ["a", "b"]
    (line,) = said
    assert "left out en/dataset_info.json, en/state.json (documentation or metadata by its name)" in line
    with pytest.raises(ValueError, match=r"saved by save_to_disk: read it with data=hub data\.path="):
        FileSource(tmp_path / "text" / "en")


def test_what_is_left_out_is_named_once_with_the_reason(tmp_path, said):
    root = files(
        tmp_path / "text", en__txt="one\n", README__txt="no text", es_in_a__pdf="x", zh_in_a__txt="x", zh_in_b__zip="x",
        notes__md="x", fr__parquet__gz="x",
    )  # fmt: skip
    (root / "es" / "license.TXT").write_text("MIT")
    (root / "gone.txt").symlink_to(root / "nowhere")
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "c.txt").write_text("c\n")
    (root / "ko").symlink_to(root / "elsewhere")
    (root / "zh" / "more").symlink_to(root / "elsewhere")
    for _ in range(2):
        source = FileSource(root)
    assert source.languages == ["elsewhere", "en", "ko", "zh"]
    assert texts_of(source, "ko") == ["c"]
    (line,) = said
    assert line.startswith(
        f"data.root={root}: left out README.txt, es/license.TXT (documentation or metadata by its name);"
    )
    for part in (
        "es/a.pdf, notes.md (its ending is none of .txt, .text, .jsonl, ",
        "es/ (no file in it that can be read)",
        "fr.parquet.gz (compressed .parquet: unpack it)",
        "gone.txt (a link to nothing)",
        "zh/b.zip (an archive: unpack it)",
        "zh/more (a link to a folder, which is not followed)",
    ):
        assert part in line


def test_text_beside_conversations_is_named_too(tmp_path, said):
    root = files(tmp_path / "talks", en__jsonl="{}", zh__txt="text", es__jsonl__gz="", ru__parquet="x")
    assert ConversationFiles(root).languages == ["en", "es"]
    assert said == [f"data.root={root}: left out ru.parquet, zh.txt (its ending is none of .jsonl, .ndjson, .json)"]


# --- only the column of the text decides


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ({"url": None}, {"url": "http://x"}),
        ({}, {"url": "x"}),
        ({"id": 1}, {"id": "wiki-7"}),
        ({"meta": {"a": 1}}, {"meta": [1, "b"]}),
        ({"text": None}, {}),
    ],
)
def test_other_columns_may_change_begin_late_or_be_null_for_long(tmp_path, first, last):
    root = tmp_path / "text"
    root.mkdir()
    filling = "word " * 2000
    with (root / "en.jsonl").open("w") as file:  # datasets infers the types from the first 10 MB
        file.writelines(json.dumps({"text": f"{filling}{i}", **first}) + "\n" for i in range(1100))
        file.write(json.dumps({"text": "last", **last}) + "\n")
    texts = texts_of(FileSource(root, cache_dir=tmp_path / "cache"), "en")
    assert texts[-1] == "last"
    assert len(texts) == (1 if "text" in first else 1101)


# --- byte order marks and newlines


def test_a_byte_order_mark_is_no_text(tmp_path):
    mark = b"\xef\xbb\xbf"
    root = files(tmp_path / "text", en__txt=mark + b"first\nsecond\n", es__jsonl=mark + b'{"text": "uno"}\n')
    (root / "ru.csv").write_bytes(mark + "text\nраз\n".encode())
    (root / "de.json").write_bytes(mark + b'[{"text": "eins"}]')
    (root / "fr.txt.gz").write_bytes(gzip.compress(mark + b"un\n"))
    source = FileSource(root)
    found = {language: texts_of(source, language) for language in source.languages}
    assert found == {"en": ["first", "second"], "es": ["uno"], "ru": ["раз"], "de": ["eins"], "fr": ["un"]}
    talk = files(tmp_path / "talks", en__jsonl=mark + b'{"inputs": "a", "targets": "b"}\n')
    assert [talk.key for talk in ConversationFiles(talk).conversations("en")] == ["a\nb"]


def test_a_paragraph_has_no_newline_around_it(tmp_path):
    root = files(tmp_path / "text", en__txt="\na\nb\n\n\nc\r\n\r\nd\n", es__txt="e\n\n")
    source = FileSource(root, "paragraph")
    assert texts_of(source, "en") == ["a\nb", "c", "d"]
    assert texts_of(source, "es") == ["e"]


def test_the_digest_of_text_that_is_read_as_before_stays_the_same(tmp_path):
    root = files(tmp_path / "text", en__txt="a\nb\n", ru__jsonl='{"text": "c"}\n')
    before = "803c49f982448fc9f179cd556ff63304d163f76e34b902a406fdc0b097c95cb4"
    assert FileSource(root).digest() == before
    assert FileSource(root, "paragraph").digest() != "7766f262aa26848e0419ed379d2a8a0ef910f11cdf8adc49e8ddc39db0f75f87"
    (root / "en.txt").write_bytes(b"\xef\xbb\xbfa\nb\n")
    assert FileSource(root).digest() != "7b0feacde8dc76769616c82fa26d02d627d8f12acc6f7f64cc35ad32c7d9695a"
