"""Documents of one part of a stream, tokenized and cut into blocks, from any position."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast

from transformers import PreTrainedTokenizerBase

from lightning_langcore.data.mixing import Part
from lightning_langcore.data.sources.base import START, Document, Position, Source, Splitter, SupportsRead
from lightning_langcore.data.sources.shuffle import shuffled_chunks
from lightning_langcore.data.tokenization import encode
from lightning_langcore.utils.errors import LangcoreError


class Stream(Protocol):
    """Settings of a reader; see :class:`lightning_langcore.data.streaming.blocks.StreamedBlocks`."""

    parts: Sequence[Part]
    splitter: Splitter
    pool: str
    tokenizer: PreTrainedTokenizerBase
    block_size: int
    seed: int
    max_epochs: float
    shuffle_buffer: int
    keep: Callable[[list[int]], bool] | None
    begin: list[int]
    end: int


class Block(NamedTuple):
    """One row.

    Attributes:
        tokens: (block_size + 1,) token ids; the last one is the label of the last position.
        documents: ``source``, ``language``, ``document`` and possibly ``tag`` of each document in the row.
        num_documents: number of documents that end in the row.
    """

    tokens: list[int]
    documents: list[dict[str, str]]
    num_documents: int


class _Framed(NamedTuple):
    """Tokens of a document, and its position: number ``number`` of the shuffled chunk that begins at ``chunk``."""

    tokens: list[int]
    document: Document
    epoch: int
    chunk: Position
    number: int


class _Span(NamedTuple):
    begin: int
    end: int
    framed: _Framed


class PartReader:
    """Reader ``share[0]`` of the ``share[1]`` readers of one part of the mix; reads epoch after epoch.

    After each block the remaining tokens belong to one document. The state of the reader is therefore that document and
    the number of its tokens that were used.
    """

    def __init__(self, stream: Stream, number: int, share: tuple[int, int], state: Mapping[str, Any]) -> None:
        self.stream = stream
        self.part = stream.parts[number]
        self.number = number
        self.share = share
        self.state: dict[str, Any] = {"epoch": 0, "tokens": 0, "documents": 0, "filtered": 0, **state}
        self._about = {"source": self.part.name, "language": self.part.language}
        self._tokens: list[int] = []
        self._first = 0  # position of the first of these tokens, counted from the document where this reader began
        self._next = 0  # position of the next token to use, counted from the same document
        self._spans: deque[_Span] = deque()
        self._framed = self._frame()

    def block(self) -> Block:
        """The next block; its last token, the label of the last position, is also the first token of the block after.

        Raises:
            LangcoreError: the text has changed since the checkpoint, or the text is exhausted.
        """
        if not self._spans and "identity" in self.state:
            self._add()
            if self._spans[0].framed.document.identity != self.state["identity"]:
                raise LangcoreError(
                    f"data: the text of {self.part.label!r} has changed since the checkpoint was written: restore it,"
                    " or start a new run"
                )
            self._next = self.state["offset"]
        size = self.stream.block_size
        while self._first + len(self._tokens) <= self._next + size:
            self._add()
        start, last = self._next, self._next + size
        tokens = self._tokens[start - self._first : last + 1 - self._first]
        documents = [self._described(span.framed.document) for span in self._spans]
        num_documents = sum(start < span.end - 1 <= last for span in self._spans)
        self._next = last
        while self._spans[0].end <= last:
            self._spans.popleft()
        self._remember(size, num_documents)
        return Block(tokens, documents, num_documents)

    def _described(self, document: Document) -> dict[str, str]:
        found = self._about | {"document": document.identity}
        return found if document.tag is None else found | {"tag": document.tag}

    def _remember(self, size: int, num_documents: int) -> None:
        span = self._spans[0]
        self.state = self.state | {
            "epoch": span.framed.epoch,
            "chunk": list(span.framed.chunk),
            "number": span.framed.number,
            "offset": self._next - span.begin,
            "identity": span.framed.document.identity,
            "tokens": self.state["tokens"] + size,
            "documents": self.state["documents"] + num_documents,
        }

    def _add(self) -> None:
        framed = next(self._framed)
        del self._tokens[: self._next - self._first]
        self._first = self._next
        begin = self._first + len(self._tokens)
        self._tokens += framed.tokens
        self._spans.append(_Span(begin, begin + len(framed.tokens), framed))

    def _frame(self) -> Iterator[_Framed]:
        stream = self.stream
        epoch, done = self.state["epoch"], self.state.get("number", 0)
        start: Position = tuple(self.state.get("chunk", START))
        while True:
            empty = True
            order = [stream.seed, self.number, epoch]
            for chunk, documents in shuffled_chunks(self._documents(epoch, start), start, stream.shuffle_buffer, order):
                encoded = encode((document.text for document in documents[done:]), stream.tokenizer)
                for number, tokens in enumerate(encoded, done):
                    if stream.keep is not None and not stream.keep(tokens):
                        self.state = self.state | {"filtered": self.state["filtered"] + 1}
                        continue
                    empty = False
                    framed = [*stream.begin, *tokens, stream.end]
                    yield _Framed(framed, documents[number], epoch, chunk, number)
                done = 0
            epoch, start = epoch + 1, START
            self._check(empty, epoch)

    def _documents(self, epoch: int, start: Position) -> Iterator[tuple[Position, Document]]:
        source = cast(Source, self.part.source)
        if isinstance(source, SupportsRead):
            reads = source.read(self.part.language, epoch, self.share, start)
        else:
            index, count = self.share
            documents = islice(source.documents(self.part.language), index + start[1] * count, None, count)
            reads = (((0, number), document) for number, document in enumerate(documents, start[1] + 1))
        return (read for read in reads if self.stream.splitter.place(read[1].key) == self.stream.pool)

    def _check(self, empty: bool, epoch: int) -> None:
        what, (index, count) = f"{self.part.label!r} (pool {self.stream.pool})", self.share
        who = f"reader {index + 1} of {count} (ranks x data.num_workers)"
        if empty:
            raise LangcoreError(f"data: {who} finds no document of {what}: provide more text or lower data.num_workers")
        if epoch >= self.stream.max_epochs:
            raise LangcoreError(
                f"data: the text of {what} is exhausted: {who} has read its share of the text {epoch} time(s),"
                f" {self.state['tokens']} tokens of it in whole rows: lower data.num_tokens, provide more text, or"
                f" allow it with data.max_epochs={epoch + 1}"
            )
