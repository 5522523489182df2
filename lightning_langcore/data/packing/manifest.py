"""What is known of packed documents or conversations by their number: which they are, what was done to them."""

import json
from array import array
from pathlib import Path

import numpy as np

from lightning_langcore.data.sources.base import Conversation, Document

_IDS, _TAGS = "ids.npy", "tags.json"


class CatalogueWriter:
    """Collects documents in the order in which they are packed; 8 bytes each, and the tags."""

    def __init__(self) -> None:
        self._ids = array("Q")
        self._tags: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, document: Document | Conversation) -> None:
        """Append one."""
        if document.tag is not None:
            self._tags[len(self._ids)] = document.tag
        self._ids.append(int(document.identity, 16))

    def write(self, folder: Path) -> None:
        """Write both into a folder."""
        np.save(folder / _IDS, np.array(self._ids, dtype=np.uint64))
        (folder / _TAGS).write_text(json.dumps(self._tags))


class Catalogue:
    """What a :class:`CatalogueWriter` has written.

    Attributes:
        tagged: numbers of the documents to which something was done, ascending.
    """

    def __init__(self, folder: Path) -> None:
        self._ids = np.load(folder / _IDS)
        self._tags = {int(number): tag for number, tag in json.loads((folder / _TAGS).read_text()).items()}
        self.tagged = sorted(self._tags)

    def about(self, number: int) -> dict[str, str]:
        """``document``, the identity, and ``tag`` where something was done to it."""
        found = {"document": f"{int(self._ids[number]):016x}"}
        return found | {"tag": self._tags[number]} if number in self._tags else found
