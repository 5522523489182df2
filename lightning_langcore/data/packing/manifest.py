"""Catalogue of packed documents or conversations: the identity of each, and the tag of its noise."""

import json
from array import array
from pathlib import Path

import numpy as np

from lightning_langcore.data.sources.base import Conversation, Document

_IDS, _TAGS = "ids.npy", "tags.json"


class CatalogueWriter:
    """Collects documents in the order in which they are packed. Memory: 8 bytes per document, and the tags."""

    def __init__(self) -> None:
        self._ids = array("Q")
        self._tags: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, document: Document | Conversation) -> None:
        """Append a document or conversation."""
        if document.tag is not None:
            self._tags[len(self._ids)] = document.tag
        self._ids.append(int(document.identity, 16))

    def write(self, folder: Path) -> None:
        """Write identities and tags into a folder."""
        np.save(folder / _IDS, np.array(self._ids, dtype=np.uint64))
        (folder / _TAGS).write_text(json.dumps(self._tags))


class Catalogue:
    """Reads the files of a :class:`CatalogueWriter`.

    Attributes:
        tagged: numbers of the documents with noise, ascending.
    """

    def __init__(self, folder: Path) -> None:
        self._ids = np.load(folder / _IDS)
        self._tags = {int(number): tag for number, tag in json.loads((folder / _TAGS).read_text()).items()}
        self.tagged = sorted(self._tags)

    def describe(self, number: int) -> dict[str, str]:
        """``document``: the identity; ``tag``: the noise, if there is any."""
        found = {"document": f"{int(self._ids[number]):016x}"}
        return found | {"tag": self._tags[number]} if number in self._tags else found
