"""The embedded phrasebook as a source: unlimited, parallel, needs no download."""

import hashlib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import count
from pathlib import Path

from lightning_langcore.data import phrasebook
from lightning_langcore.data.files import FileSource
from lightning_langcore.data.source import Document, Source

TALKS = ("asking", "instructions.py")  # what of the phrasebook's code makes conversations only


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
        return code_digest(self.seed, leave_out=TALKS)


def general_text(root: Path | str | None = None, cache_dir: Path | str | None = None) -> Source:
    """The text beside conversations: that of a folder, as :class:`FileSource` reads it, else the phrasebook."""
    return PhrasebookSource() if root is None else FileSource(root, cache_dir=cache_dir)


def code_digest(seed: int, leave_out: tuple[str, ...] = ()) -> str:
    """Of a seed and the code of the phrasebook, but for files and folders of these names."""
    h = hashlib.sha256(str(seed).encode())
    files = dict(_python_files(resources.files(phrasebook), leave_out))
    for path in sorted(files, key=lambda path: (files[path].name, path)):
        h.update(files[path].name.encode() + files[path].read_bytes())
    return h.hexdigest()


def _python_files(folder: Traversable, leave_out: tuple[str, ...], at: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        path = at + entry.name
        if entry.name in leave_out:
            continue
        if entry.is_dir():
            yield from _python_files(entry, leave_out, f"{path}/")
        elif entry.name.endswith(".py"):
            yield path, entry
