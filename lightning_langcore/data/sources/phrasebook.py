"""The embedded phrasebook as a source: unlimited, parallel, needs no download."""

import ast
import hashlib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import count
from pathlib import Path

from lightning_langcore.data import phrasebook
from lightning_langcore.data.phrasebook.dialogues import conversation
from lightning_langcore.data.sources.base import Conversation, Document, Source
from lightning_langcore.data.sources.files import FileSource

CONVERSATIONS_ONLY = ("question_grammars", "dialogue_planner.py", "dialogues.py", "questions.py")
"""Files and folders of the phrasebook's code that make conversations, and no documents."""


class PhrasebookSource:
    """Documents of :mod:`lightning_langcore.data.phrasebook`; the same key means the same in every language.

    Args:
        seed: another seed is another corpus.
    """

    endless = True

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @property
    def languages(self) -> list[str]:
        """The eight languages of the phrasebook."""
        return list(phrasebook.LANGUAGES)

    def documents(self, language: str) -> Iterator[Document]:
        """Endless; the key is that of the meaning, the same in every language."""
        for index in count():
            yield Document(f"{self.seed}/{index}", phrasebook.document(language, index, self.seed))

    def digest(self) -> str:
        """Of the seed and the phrasebook's own code, which is its text."""
        return code_digest(self.seed, leave_out=CONVERSATIONS_ONLY)


def general_text(root: Path | str | None = None, cache_dir: Path | str | None = None) -> Source:
    """The text beside conversations: that of a folder, as :class:`FileSource` reads it, else the phrasebook."""
    return PhrasebookSource() if root is None else FileSource(root, cache_dir=cache_dir)


def code_digest(seed: int, leave_out: tuple[str, ...] = ()) -> str:
    """Of a seed and the code of the phrasebook, but for files and folders of these names.

    Of each file the statements count: not its name or place, its imports or its docstrings. So a file that is moved or
    described anew keeps the digest, and with it the cached base models.
    """
    files = _python_files(resources.files(phrasebook), leave_out)
    digests = sorted(hashlib.sha256(statements(file.read_text(encoding="utf-8")).encode()).digest() for file in files)
    return hashlib.sha256(str(seed).encode() + b"".join(digests)).hexdigest()


def statements(source: str) -> str:
    """The lines of Python code without its imports, docstrings, comments that stand alone, and blank lines."""
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


class PhrasebookConversations:
    """Questions about small scenes, translation, inflection and counting, in the phrasebook's eight languages.

    The key is the talk in English: the same in every language, and a talk that comes again stays in its split.

    Args:
        seed: another seed is another corpus.
    """

    endless = True

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @property
    def languages(self) -> list[str]:
        """The eight languages of the phrasebook."""
        return list(phrasebook.LANGUAGES)

    def conversations(self, language: str) -> Iterator[Conversation]:
        """Endless; one question and its answer each."""
        for index in count():
            english = conversation("en", index, self.seed)
            talk = english if language == "en" else conversation(language, index, self.seed)
            yield Conversation("\n".join(message["content"] for message in english), talk)

    def digest(self) -> str:
        """Of the seed and the phrasebook's own code, grammars included."""
        return code_digest(self.seed)
