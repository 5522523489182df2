"""Text from files of the user: a file or a folder of files per language."""

import glob
import hashlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal

from lightning_langcore.data.sources.base import Document, Source
from lightning_langcore.data.sources.compression import BYTE_ORDER_MARK, opened_as_text
from lightning_langcore.data.sources.language_files import files_by_language, named
from lightning_langcore.data.sources.rows import CSV_DELIMITERS, JSON_ENDINGS, read_rows
from lightning_langcore.utils.errors import LangcoreError

TEXT_ENDINGS = (".txt", ".text")
TABLES = {".parquet": "parquet", ".arrow": "arrow"}
ENDINGS = (*TEXT_ENDINGS, *JSON_ENDINGS, *CSV_DELIMITERS, *TABLES)
TEXT_TYPES = ("string", "large_string", "null")


class FileSource(Source):
    """Text in ``<root>/<lang>.txt|.jsonl|.parquet`` or ``<root>/<lang>/*``.

    In ``.txt`` and ``.text`` a document is a line (or a paragraph, or the whole file); in other files (``.jsonl``,
    ``.ndjson``, ``.json``, ``.csv``, ``.tsv``, ``.parquet``, ``.arrow``) it is a value of ``column``, whatever other
    columns hold. Files of text and rows may be compressed (``.jsonl.gz``, ``.bz2``, ``.xz``, ``.zst``, ``.lz4``), and
    endings may be in upper case. What is left out of the folder is printed once; empty documents are left out. Of
    ``.parquet`` and ``.arrow``, ``datasets`` keeps a memory-mapped copy under ``cache_dir``.

    Args:
        root: the folder.
        sample_by: unit of a document in ``.txt``: ``line``, ``paragraph`` (blank lines between) or ``document``.
        column: column of the text in files with columns.
        cache_dir: cache folder of ``datasets``; ``None``: its default.

    Raises:
        LangcoreError: no such folder, or no language in it. When read: an empty or unreadable file (with the line that
            is not UTF-8 or not JSON), or no column of text.

    Example:
        >>> from pathlib import Path
        >>> from lightning_langcore import FileSource
        >>> Path("text").mkdir()
        >>> _ = Path("text/en.txt").write_text("The cat sleeps.")
        >>> FileSource("text").languages
        ['en']
    """

    def __init__(
        self,
        root: Path | str,
        sample_by: Literal["line", "paragraph", "document"] = "line",
        column: str = "text",
        cache_dir: Path | str | None = None,
    ) -> None:
        if sample_by not in ("line", "paragraph", "document"):
            raise LangcoreError(f"data.sample_by={sample_by!r} is none of line, paragraph, document")
        self.root = Path(root)
        self._digest: str | None = None
        self.sample_by = sample_by
        self.column = column
        self.cache_dir = None if cache_dir is None else str(cache_dir)
        self._files = files_by_language(self.root, ENDINGS, uncompressed=TABLES)

    @property
    def languages(self) -> list[str]:
        """The languages found, sorted."""
        return sorted(self._files)

    def documents(self, language: str) -> Iterator[Document]:
        """The key is the text: the content decides the split."""
        for file in self._files[language]:
            yield from (Document(text, text) for text in self._texts(file) if text.strip())

    def digest(self) -> str:
        """SHA-256 of the names and bytes of the files and of the settings; the first call reads all files."""
        if self._digest is None:
            self._digest = self._read_digest()
        return self._digest

    def _read_digest(self) -> str:
        h = hashlib.sha256(f"{self.sample_by} {self.column}".encode())
        if self.sample_by == "paragraph":
            h.update(b"without newlines around")  # which earlier versions kept
        for language in self.languages:
            for file in self._files[language]:
                h.update(str(file.relative_to(self.root)).encode())
                with file.open("rb") as handle:
                    h.update(hashlib.file_digest(handle, "sha256").digest())
                    handle.seek(0)
                    if handle.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK:
                        h.update(b"without byte order mark")
        return h.hexdigest()

    def _texts(self, file: Path) -> Iterator[str]:
        ending = named(file).ending
        if ending in TEXT_ENDINGS:
            yield from self._plain_texts(file)
        elif ending in TABLES:
            yield from self._table_texts(file, TABLES[ending])
        else:
            yield from self._row_texts(file)

    def _plain_texts(self, file: Path) -> Iterator[str]:
        with opened_as_text(file) as stream:
            if self.sample_by == "document":
                yield stream.read()
            elif self.sample_by == "line":
                yield from (line.removesuffix("\n") for line in stream)
            else:
                for is_blank, lines in groupby(stream, lambda line: line == "\n"):
                    if not is_blank:
                        yield "".join(lines).removesuffix("\n")

    def _row_texts(self, file: Path) -> Iterator[str]:
        """Values of the column in a file that is read row by row, whatever the other columns hold."""
        found: set[str] = set()
        for row, where in read_rows(file):
            text = row.get(self.column)
            if isinstance(text, str):
                yield text
            elif text is not None:
                raise LangcoreError(
                    f"{where}: the column data.column={self.column!r} holds {type(text).__name__}, not text"
                )
            if self.column not in found:
                found.update(row)
        if self.column not in found:
            raise LangcoreError(f"{file} has no column data.column={self.column!r}, only {', '.join(sorted(found))}")

    def _table_texts(self, file: Path, builder: str) -> Iterator[str]:
        import datasets  # imported here because it takes a second

        if file.stat().st_size == 0:
            raise LangcoreError(f"{file} is empty: remove it or fill it")
        datasets.disable_progress_bars()
        try:
            rows = datasets.load_dataset(
                builder, data_files=glob.escape(str(file)), split="train", cache_dir=self.cache_dir
            )
        except Exception as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise LangcoreError(f"{file} can't be read as {named(file).ending}: {reason}") from error
        if self.column not in rows.column_names:
            raise LangcoreError(
                f"{file} has no column data.column={self.column!r}, only {', '.join(rows.column_names)}"
            )
        if getattr(rows.features[self.column], "dtype", None) not in TEXT_TYPES:
            raise LangcoreError(
                f"{file}: the column data.column={self.column!r} holds {rows.features[self.column]}, not text"
            )
        for batch in rows.select_columns([self.column]).iter(batch_size=1000):
            yield from (text for text in batch[self.column] if text is not None)
