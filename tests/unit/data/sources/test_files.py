"""Text from files: which documents are read, what is refused, what the digest follows."""

import json

import pyarrow
import pytest
from pyarrow import parquet

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
