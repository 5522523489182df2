"""Interfaces of sources of text and of conversations, and the assignment of documents to splits and pools."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from lightning_langcore.utils.errors import LangcoreError

Position: TypeAlias = tuple[int, int]
"""Position of a reader: index of the shard in its order, and number of rows of that shard that were read."""

START: Position = (0, 0)


class Document(NamedTuple):
    """A text.

    Attributes:
        key: decides the split alone; translations of one text may share a key.
        text: the text.
        tag: noise that was put into the text, such as ``repeat:64``; ``None``: no noise.

    Example:
        >>> from lightning_langcore.data import Document
        >>> Document(key="1", text="The cat sleeps.").identity
        'f6fc42039fba3776'
    """

    key: str
    text: str
    tag: str | None = None

    @property
    def identity(self) -> str:
        """16 hex digits of the BLAKE2b hash of the key; logs identify the document by them."""
        return identity(self.key)


class Conversation(NamedTuple):
    """Messages in the format of chat templates: ``{"role": "system" | "user" | "assistant", "content": text}``.

    Attributes:
        key: decides the split alone.
        messages: the messages, possibly with more keys that a chat template uses, such as ``tool_calls``.
        tag: noise that was put into the conversation; ``None``: no noise.
        fields: further values that a chat template may name, such as ``tools``; ``None``: none.

    Example:
        >>> from lightning_langcore.data import Conversation
        >>> question, answer = {"role": "user", "content": "Two and two?"}, {"role": "assistant", "content": "Four."}
        >>> Conversation("1", [question, answer]).messages[1]["content"]
        'Four.'
    """

    key: str
    messages: Sequence[Mapping[str, Any]]
    tag: str | None = None
    fields: Mapping[str, Any] | None = None

    @property
    def identity(self) -> str:
        """See :attr:`Document.identity`."""
        return identity(self.key)


Keyed = TypeVar("Keyed", Document, Conversation)


def identity(key: str) -> str:
    """16 hex digits of the BLAKE2b hash of the key."""
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


class Source(Protocol):
    """Documents in several languages, always in the same order.

    A source may also implement :class:`SupportsEndless` and :class:`SupportsRead`.

    Example:
        >>> from lightning_langcore.data import Document, Source
        >>> class Numbers(Source):
        ...     languages = ["en"]
        ...     def documents(self, language):
        ...         return (Document(str(i), f"number {i}") for i in range(100))
        ...     def digest(self):
        ...         return "1"
        >>> next(Numbers().documents("en")).text
        'number 0'
    """

    @property
    def languages(self) -> list[str]:
        """Codes of the languages of the source."""

    def documents(self, language: str) -> Iterator[Document]:
        """The documents of a language."""

    def digest(self) -> str:
        """A string that changes when the text changes."""


class ConversationSource(Protocol):
    """Conversations in several languages, always in the same order; see :class:`Source`.

    Example:
        >>> from lightning_langcore.data import ConversationSource, PhrasebookConversations
        >>> source: ConversationSource = PhrasebookConversations()
        >>> [message["role"] for message in next(source.conversations("en")).messages]
        ['user', 'assistant']
    """

    @property
    def languages(self) -> list[str]:
        """Codes of the languages of the source."""

    def conversations(self, language: str) -> Iterator[Conversation]:
        """The conversations of a language."""

    def digest(self) -> str:
        """A string that changes when the conversations change."""


@runtime_checkable
class SupportsConversations(Protocol):
    """The method that distinguishes a :class:`ConversationSource` from a :class:`Source`."""

    def conversations(self, language: str) -> Iterator[Conversation]:
        """The conversations of a language."""


@runtime_checkable
class SupportsEndless(Protocol):
    """A source with the attribute ``endless``; a source without the attribute is finite."""

    endless: bool


@runtime_checkable
class SupportsRead(Protocol):
    """A source that can be read from any position and can be divided among readers."""

    def read(
        self, language: str, epoch: int = 0, share: tuple[int, int] = (0, 1), start: Position = START
    ) -> Iterator[tuple[Position, Document]]:
        """Documents of one reader among several, each with the position after it.

        Args:
            language: language of the documents.
            epoch: number of the epoch; each epoch may have its own order.
            share: index of the reader, and number of readers; together they read every document once.
            start: position to start from.
        """


def is_endless(source: Source | ConversationSource) -> bool:
    """Whether a source is endless, so that a pass over it would never finish."""
    return isinstance(source, SupportsEndless) and source.endless


class Splitter:
    """Assigns documents to splits and, within the training split, to pools, by a hash of their key.

    The assignment of a document does not change when other documents are added, and splits and pools are disjoint.

    Args:
        test: fraction of the documents for ``test``, 0..1.
        validation: fraction of the documents for ``validation``, 0..1.
        pools: pool -> weight; the pools ``base``, ``locate`` and ``run`` divide the training split.

    Raises:
        LangcoreError: fractions outside [0, 1), or no pool with a positive weight.

    Example:
        >>> from lightning_langcore import Splitter
        >>> splitter = Splitter(test=0.1, validation=0.1, pools={"base": 2, "run": 1})
        >>> splitter.place("a key") in ("test", "validation", "base", "run")
        True
    """

    def __init__(self, test: float, validation: float, pools: Mapping[str, float]) -> None:
        if test < 0 or validation < 0 or test + validation >= 1:
            raise LangcoreError(f"data.splits: test={test} and validation={validation} must leave a share for training")
        if not pools or min(pools.values()) < 0 or sum(pools.values()) <= 0:
            raise LangcoreError(
                f"data.pools={dict(pools)} must have weights that are not negative, one of them positive"
            )
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
        """The documents of one split or pool, in order."""
        return (document for document in documents if self.place(document.key) == place)

    def texts(self, source: Source, language: str, place: str) -> Iterator[str]:
        """The texts of one split or pool, in the order of the source."""
        return (document.text for document in self.choose(source.documents(language), place))
