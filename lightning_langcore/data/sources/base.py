"""What a source of text or of conversations is, and how its documents are divided."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

Position: TypeAlias = tuple[int, int]
"""Where a reader stands: the shard of its order, and the rows of it that are read."""

START: Position = (0, 0)


class Document(NamedTuple):
    """A text.

    The key alone decides the split, and translations of one another may share it. ``tag`` says what was done to the
    text, as ``repeat:64``; ``None``: nothing.
    """

    key: str
    text: str
    tag: str | None = None

    @property
    def identity(self) -> str:
        """16 hex digits of the key's BLAKE2b: what logs call the document."""
        return identity(self.key)


class Conversation(NamedTuple):
    """Messages as chat templates take them: ``{"role": "system" | "user" | "assistant", "content": text}``."""

    key: str
    messages: Sequence[Mapping[str, str]]
    tag: str | None = None

    @property
    def identity(self) -> str:
        """See :attr:`Document.identity`."""
        return identity(self.key)


Keyed = TypeVar("Keyed", Document, Conversation)


def identity(key: str) -> str:
    """16 hex digits of the key's BLAKE2b."""
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


class Source(Protocol):
    """Documents in several languages, always in the same order.

    A source may also support what :class:`SupportsEndless` and :class:`SupportsRead` describe.
    """

    @property
    def languages(self) -> list[str]:
        """Codes of the languages it has."""

    def documents(self, language: str) -> Iterator[Document]:
        """The documents of a language."""

    def digest(self) -> str:
        """Changes when the text changes."""


class ConversationSource(Protocol):
    """Conversations in several languages, always in the same order; see :class:`Source`."""

    @property
    def languages(self) -> list[str]:
        """Codes of the languages it has."""

    def conversations(self, language: str) -> Iterator[Conversation]:
        """The conversations of a language."""

    def digest(self) -> str:
        """Changes when the conversations change."""


@runtime_checkable
class SupportsConversations(Protocol):
    """What tells a :class:`ConversationSource` from a :class:`Source`."""

    def conversations(self, language: str) -> Iterator[Conversation]:
        """The conversations of a language."""


@runtime_checkable
class SupportsEndless(Protocol):
    """A source that says whether it has an end; one that does not say it has one."""

    endless: bool


@runtime_checkable
class SupportsRead(Protocol):
    """A source that can begin in its middle and divide itself among readers."""

    def read(
        self, language: str, epoch: int = 0, share: tuple[int, int] = (0, 1), start: Position = START
    ) -> Iterator[tuple[Position, Document]]:
        """Documents of one reader among several, each with the position behind it.

        Args:
            language: of the documents.
            epoch: another may have another order.
            share: number of the reader, and how many there are; together they read every document once.
            start: where to go on.
        """


def is_endless(source: Source | ConversationSource) -> bool:
    """Whether a source has no end, so that a pass over it would never be over."""
    return isinstance(source, SupportsEndless) and source.endless


class Splitter:
    """Sorts documents into splits and, within the training split, pools, by a hash of their key.

    So a document never changes its place when others are added, and splits and pools never share one.

    Args:
        test: share of the documents for ``test``, 0..1.
        validation: share for ``validation``.
        pools: pool -> weight, for what the training split is used for: ``base``, ``locate`` and ``run`` stay disjoint.

    Raises:
        ValueError: shares outside [0, 1), or no pool.
    """

    def __init__(self, test: float, validation: float, pools: Mapping[str, float]) -> None:
        if test < 0 or validation < 0 or test + validation >= 1:
            raise ValueError(f"data.splits: test={test} and validation={validation} must leave a share for training")
        if not pools or min(pools.values()) < 0 or sum(pools.values()) <= 0:
            raise ValueError(f"data.pools={dict(pools)} must have weights that are not negative, one of them positive")
        self._splits = {"test": test, "validation": validation}
        self._pools = dict(pools)

    def place(self, key: str) -> str:
        """``test``, ``validation`` or the name of a pool."""
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        position = int.from_bytes(digest[:8], "little") / 2**64
        for split, share in self._splits.items():
            if position < share:
                return split
            position -= share
        position = int.from_bytes(digest[8:], "little") / 2**64 * sum(self._pools.values())
        for pool, weight in self._pools.items():
            if position < weight:
                return pool
            position -= weight
        return pool

    def choose(self, documents: Iterable[Keyed], place: str) -> Iterator[Keyed]:
        """Those of one split or pool, in their order."""
        return (document for document in documents if self.place(document.key) == place)

    def texts(self, source: Source, language: str, place: str) -> Iterator[str]:
        """The texts of one split or pool, in the source's order."""
        return (document.text for document in self.choose(source.documents(language), place))
