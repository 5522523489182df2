"""The embedded phrasebook as a source: unlimited, parallel, without a download."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import count
from pathlib import Path

from lightning_langcore.data import phrasebook
from lightning_langcore.data.phrasebook.dialogues import conversation
from lightning_langcore.data.sources.base import Conversation, Document, Source
from lightning_langcore.data.sources.files import FileSource

CONVERSATIONS_ONLY = ("question_grammars", "dialogue_planner.py", "dialogues.py", "questions.py")
"""Files and folders of the phrasebook's code that are used for conversations only, not for documents."""


class _Phrasebook:
    """What text and conversations of the phrasebook have in common."""

    endless = True

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @property
    def languages(self) -> list[str]:
        """The eight languages of the phrasebook."""
        return list(phrasebook.LANGUAGES)


class PhrasebookSource(_Phrasebook):
    """Documents of :mod:`lightning_langcore.data.phrasebook`; documents with the same key are translations.

    Args:
        seed: another seed is another corpus.

    Example:
        >>> from lightning_langcore import PhrasebookSource
        >>> PhrasebookSource().languages
        ['en', 'zh', 'es', 'ru', 'ar', 'ko', 'vi', 'fr']
    """

    def documents(self, language: str) -> Iterator[Document]:
        """Endless; the key is the same for the translations of a document."""
        for index in count():
            yield Document(f"{self.seed}/{index}", phrasebook.document(language, index, self.seed))

    def digest(self) -> str:
        """SHA-256 of the seed and of the phrasebook's code, which determine the text."""
        return code_digest(self.seed, leave_out=CONVERSATIONS_ONLY)


def general_text(root: Path | str | None = None, cache_dir: Path | str | None = None) -> Source:
    """General text for runs on conversations: a :class:`FileSource` of ``root``; ``None``: the phrasebook.

    Args:
        root: folder of the text.
        cache_dir: folder of the cache of ``datasets``; ``None``: its default.

    Example:
        >>> from lightning_langcore.data import general_text
        >>> type(general_text()).__name__
        'PhrasebookSource'
    """
    return PhrasebookSource() if root is None else FileSource(root, cache_dir=cache_dir)


def code_digest(seed: int, leave_out: tuple[str, ...] = ()) -> str:
    """SHA-256 of a seed and of the code of the phrasebook, without files and folders named in ``leave_out``.

    Only the statements of each file count: not its name or location, imports or docstrings. A file that is moved or
    gets new docstrings keeps the digest, so that cached base models stay valid.
    """
    files = _python_files(resources.files(phrasebook), leave_out)
    digests = sorted(_digest_of_statements(file.read_text(encoding="utf-8")) for file in files)
    return hashlib.sha256(str(seed).encode() + b"".join(digests)).hexdigest()


@cache  # each language asks for it, and parsing the phrasebook takes half a second
def _digest_of_statements(source: str) -> bytes:
    return hashlib.sha256(statements(source).encode()).digest()


def statements(source: str) -> str:
    """The lines of Python code without imports, docstrings, comments on lines of their own, and blank lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and (is_text or isinstance(node, ast.Import | ast.ImportFrom)):
            places = range(node.lineno - 1, node.end_lineno or node.lineno)
            lines[places.start : places.stop] = [""] * len(places)
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _python_files(folder: Traversable, leave_out: tuple[str, ...]) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if entry.name in leave_out:
            continue
        if entry.is_dir():
            yield from _python_files(entry, leave_out)
        elif entry.name.endswith(".py"):
            yield entry


class PhrasebookConversations(_Phrasebook):
    """Questions about small scenes, translation, inflection and counting, in the phrasebook's eight languages.

    The key is the English text of the conversation: translations share a key, and repeated conversations share a split.

    Args:
        seed: another seed is another corpus.

    Example:
        >>> from lightning_langcore import PhrasebookConversations
        >>> talk = next(PhrasebookConversations().conversations("en"))
        >>> [message["role"] for message in talk.messages]
        ['user', 'assistant']
    """

    def conversations(self, language: str) -> Iterator[Conversation]:
        """Endless; each conversation has one question and its answer."""
        for index in count():
            english = conversation("en", index, self.seed)
            messages = english if language == "en" else conversation(language, index, self.seed)
            yield Conversation("\n".join(message["content"] for message in english), messages)

    def digest(self) -> str:
        """SHA-256 of the seed and of the phrasebook's code, grammars included."""
        return code_digest(self.seed)
