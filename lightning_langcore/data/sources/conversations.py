"""Questions and answers for fine-tuning: from files of the user, or from a dataset on the hub."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_langcore.data.sources.base import Conversation
from lightning_langcore.data.sources.hub import dataset_version, open_dataset, read_columns
from lightning_langcore.data.sources.language_files import files_by_language
from lightning_langcore.data.sources.messages import check_messages
from lightning_langcore.data.sources.rows import JSON_ENDINGS, read_rows
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say


class ConversationFiles:
    """Conversations in ``<root>/<lang>.jsonl`` or ``<root>/<lang>/*.jsonl``, one per line, in one of two formats.

    Files may also end in ``.ndjson`` or ``.json`` (lines, or one list), may be compressed (``.jsonl.gz``, ``.bz2``,
    ``.xz``, ``.zst``, ``.lz4``), and endings may be in upper case. What is left out of the folder is printed once.

    Examples::

        {"messages": [{"role": "user", "content": "Two and two?"}, {"role": "assistant", "content": "Four."}]}
        {"inputs": "Two and two?", "targets": "Four."}

    Messages keep all their keys, such as ``tool_calls``, and a conversation the other values of its line, such as
    ``tools``: a chat template may use them. Empty lines are skipped. Memory: one line.

    Args:
        root: the folder.
        inputs: column of the question.
        targets: column of the answer.

    Raises:
        LangcoreError: no such folder, or no language in it. When read, with file and line: a line that is not JSON or
            has neither format, or a conversation without an answer; a file without a conversation.

    Example:
        >>> from pathlib import Path
        >>> from lightning_langcore import ConversationFiles
        >>> Path("talks").mkdir()
        >>> _ = Path("talks/en.jsonl").write_text('{"inputs": "Two and two?", "targets": "Four."}')
        >>> next(ConversationFiles("talks").conversations("en")).messages[1]["content"]
        'Four.'
    """

    def __init__(self, root: Path | str, inputs: str = "inputs", targets: str = "targets") -> None:
        self.root = Path(root)
        self.inputs = inputs
        self.targets = targets
        self._digest: str | None = None
        self._files = files_by_language(self.root, JSON_ENDINGS)

    @property
    def languages(self) -> list[str]:
        """The languages found, sorted."""
        return sorted(self._files)

    def conversations(self, language: str) -> Iterator[Conversation]:
        """The key is the text: the content decides the split."""
        for file in self._files[language]:
            found = False
            for conversation in self._read(file):
                found = True
                yield conversation
            if not found:
                raise LangcoreError(f"{file} has no conversation: remove it or fill it")

    def digest(self) -> str:
        """SHA-256 of the names and bytes of the files and of the columns; the first call reads all files."""
        if self._digest is None:
            h = hashlib.sha256(json.dumps([self.inputs, self.targets]).encode())
            for file in (file for language in self.languages for file in self._files[language]):
                h.update(str(file.relative_to(self.root)).encode())
                with file.open("rb") as handle:
                    h.update(hashlib.file_digest(handle, "sha256").digest())
            self._digest = h.hexdigest()
        return self._digest

    def _read(self, file: Path) -> Iterator[Conversation]:
        for row, where in read_rows(file):
            yield self._conversation(row, where)

    def _conversation(self, row: Mapping[str, Any], where: str) -> Conversation:
        used = {self.inputs, self.targets}
        if used <= row.keys():
            messages: Any = _messages(row[self.inputs], row[self.targets])
        elif "messages" in row:
            messages, used = row["messages"], {"messages"}
        else:
            raise LangcoreError(
                f"{where} has neither messages nor data.inputs={self.inputs!r} with data.targets={self.targets!r},"
                f" only {', '.join(row)}"
            )
        check_messages(messages, where)
        fields = {key: value for key, value in row.items() if key not in used}
        return _conversation(messages, fields)


class HubConversations:
    """Questions and answers of a dataset with a language column, such as ``CohereLabs/aya_dataset`` on the hub.

    Rows without a question or an answer are left out, and their number is printed. Rows are read in the order of the
    dataset. For each language all rows of the dataset are read.

    Args:
        path: id on the hub, or a folder with the same layout.
        codes: language -> value of ``language_column``, such as ``{"zh": "zho"}``.
        inputs: column of the question.
        targets: column of the answer.
        language_column: column of the language.
        split: split of the dataset; all its rows are divided again into splits and pools.
        streaming: see :func:`lightning_langcore.data.sources.hub.open_dataset`.
        cache_dir: cache folder of ``datasets``; ``None``: its default.
        config: config of the dataset; ``None``: its default.
        revision: branch, tag or commit on the hub; ``None``: the main branch.

    Raises:
        LangcoreError: no codes. When read: an error of ``open_dataset``, no such column, a column that does not hold
            text, a language without rows, or a stream that fails.

    Example:
        >>> from lightning_langcore import HubConversations
        >>> source = HubConversations("CohereLabs/aya_dataset", {"zh": "zho", "ru": "rus"})  # reads nothing yet
        >>> source.languages
        ['zh', 'ru']
    """

    def __init__(
        self,
        path: Path | str,
        codes: Mapping[str, str],
        inputs: str = "inputs",
        targets: str = "targets",
        language_column: str = "language_code",
        split: str = "train",
        streaming: bool = True,
        cache_dir: Path | str | None = None,
        config: str | None = None,
        revision: str | None = None,
    ) -> None:
        if not codes or not all(isinstance(part, str) for pair in codes.items() for part in pair):
            raise LangcoreError(
                f"data.codes={dict(codes)} must say what data.language_column={language_column!r} holds for each"
                " language, as {zh: zho}; put a code that YAML reads as something else, such as no, in quotes"
            )
        self.path = str(path)
        self.codes = dict(codes)
        self.columns = {"data.language_column": language_column, "data.inputs": inputs, "data.targets": targets}
        self.split = split
        self.streaming = streaming
        self.cache_dir = cache_dir
        self.config = config
        self.revision = revision
        self._reported: set[str] = set()

    @property
    def languages(self) -> list[str]:
        """The languages of ``codes``, in its order."""
        return list(self.codes)

    def conversations(self, language: str) -> Iterator[Conversation]:
        """The key is the text: the content decides the split."""
        others: set[str] = set()
        num_found = num_empty = 0
        for code, question, answer in self._read():
            if code != self.codes[language]:
                others.add(code)
            elif not question.strip() or not answer.strip():
                num_empty += 1
            else:
                num_found += 1
                yield _conversation(_messages(question, answer))
        if num_found == 0:
            raise LangcoreError(
                f"{self._what} has no conversation where data.language_column={self.columns['data.language_column']!r}"
                f" is {self.codes[language]!r} (data.codes, for {language!r}); it has {', '.join(sorted(others)[:10])}"
            )
        if num_empty and language not in self._reported:
            self._reported.add(language)
            say(f"{self._what}: left out {num_empty} {language!r} row(s) without a question or an answer")

    def digest(self) -> str:
        """SHA-256 of the settings and of the version of the dataset on the hub or on disk."""
        settings = [self.path, self.config, self.split, self.streaming, self.codes, self.columns, self.revision]
        text = json.dumps([*settings, dataset_version(self.path, self.revision)], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def _what(self) -> str:
        return f"data.path={self.path} (split {self.split!r})"

    def _read(self) -> Iterator[tuple[str, str, str]]:
        """Language code, question and answer of every row; a missing value is an empty string."""
        rows = open_dataset(self.path, self.config, self.split, self.streaming, self.cache_dir, revision=self.revision)
        for code, question, answer in read_columns(rows, self.columns, self._what):
            yield code or "", question or "", answer or ""


def _messages(question: Any, answer: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _conversation(messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any] | None = None) -> Conversation:
    key = "\n".join(message.get("content") or "" for message in messages)
    return Conversation(key, messages, fields=fields or None)
