"""Text from files of the user: a file or a folder of files per language."""

import glob
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lightning_langcore.data.sources.base import Document, Source
from lightning_langcore.utils.errors import LangcoreError

BUILDERS = {".txt": "text", ".jsonl": "json", ".parquet": "parquet"}
TEXT_TYPES = ("string", "large_string", "null")


class FileSource(Source):
    """Text in ``<root>/<lang>.txt|.jsonl|.parquet`` or ``<root>/<lang>/*``, read through ``datasets``.

    In ``.txt`` a document is a line (or a paragraph, or the whole file); in other files it is a value of ``column``.
    Empty documents are left out. ``datasets`` keeps a memory-mapped copy under ``cache_dir``.

    Args:
        root: the folder.
        sample_by: unit of a document in ``.txt``: ``line``, ``paragraph`` (blank lines between) or ``document``.
        column: column of the text in ``.jsonl`` and ``.parquet``.
        cache_dir: cache folder of ``datasets``; ``None``: its default.

    Raises:
        LangcoreError: no such folder, or no language in it. When read: an empty or unreadable file (with the line that
            is not UTF-8), or no column of text.

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
        if not self.root.is_dir():
            raise LangcoreError(f"data.root={root}: there is no such folder")
        self._files = files_by_language(self.root)
        if not self._files:
            raise LangcoreError(f"data.root={root}: no <lang>.txt, .jsonl, .parquet or folder <lang>/ with such files")

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
        for language in self.languages:
            for file in self._files[language]:
                h.update(str(file.relative_to(self.root)).encode())
                with file.open("rb") as handle:
                    h.update(hashlib.file_digest(handle, "sha256").digest())
        return h.hexdigest()

    def _texts(self, file: Path) -> Iterator[str]:
        import datasets  # imported here because it takes a second

        if file.stat().st_size == 0:
            raise LangcoreError(f"{file} is empty: remove it or fill it")
        options = {"sample_by": self.sample_by} if file.suffix == ".txt" else {}
        datasets.disable_progress_bars()
        try:
            rows = datasets.load_dataset(
                BUILDERS[file.suffix],
                data_files=glob.escape(str(file)),
                split="train",
                cache_dir=self.cache_dir,
                **options,
            )
        except Exception as error:
            _check_encoding(file)
            reason = str(error.__cause__ or error).splitlines()[0]
            raise LangcoreError(f"{file} can't be read as {file.suffix}: {reason}") from error
        column = "text" if file.suffix == ".txt" else self.column
        if column not in rows.column_names:
            raise LangcoreError(f"{file} has no column data.column={column!r}, only {', '.join(rows.column_names)}")
        if getattr(rows.features[column], "dtype", None) not in TEXT_TYPES:
            raise LangcoreError(f"{file}: the column data.column={column!r} holds {rows.features[column]}, not text")
        try:
            for batch in rows.select_columns([column]).iter(batch_size=1000):
                yield from (text for text in batch[column] if text is not None)
        except UnicodeDecodeError:
            _check_encoding(file)
            raise


def files_by_language(root: Path) -> dict[str, list[Path]]:
    """The text files of each language in a folder, sorted, without hidden files."""
    found: dict[str, list[Path]] = {}
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            files = sorted(
                f for f in entry.rglob("*") if f.suffix in BUILDERS and f.is_file() and not _hidden(f, entry)
            )
        else:
            files = [entry] if entry.suffix in BUILDERS else []
        if files:
            found.setdefault(entry.stem if entry.is_file() else entry.name, []).extend(files)
    return found


def _hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def _check_encoding(file: Path) -> None:
    if file.suffix == ".parquet":
        return
    with file.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise LangcoreError(
                    f"{file}, line {number} is not UTF-8 (byte {error.start + 1}): convert it"
                ) from error
