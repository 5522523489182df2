"""The embedded phrasebook as a source: unlimited, parallel, needs no download."""

import hashlib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import count

from lightning_langcore.data import phrasebook
from lightning_langcore.data.source import Document


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
        h = hashlib.sha256(str(self.seed).encode())
        for file in sorted(_python_files(resources.files(phrasebook)), key=lambda f: f.name):
            h.update(file.name.encode() + file.read_bytes())
        return h.hexdigest()


def _python_files(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _python_files(entry)
        elif entry.name.endswith(".py"):
            yield entry
