"""The training text of a run: each part is packed once and reused; and how much of each part is read."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers import PreTrainedTokenizerBase

from lightning_langcore.data.chat_encoding import Encoded, encode_conversation
from lightning_langcore.data.mixing import Part, interleave, numbers
from lightning_langcore.data.noise import InstructionNoise
from lightning_langcore.data.options import WHOLE, Injection, Length, Loading, Mixture
from lightning_langcore.data.packing.conversations import PackedConversations, pack_conversations
from lightning_langcore.data.packing.dataset import Packed, PackedRows
from lightning_langcore.data.packing.documents import in_window, pack
from lightning_langcore.data.sources.base import Conversation, ConversationSource, Source, Splitter, is_endless
from lightning_langcore.data.streaming.blocks import StreamedBlocks
from lightning_langcore.data.tokenization import begin_token, end_token
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say

CHAT_FORMAT = 2
"""Incremented when the code writes other tokens for the same conversations and chat template."""


@dataclass
class TrainingText:
    """The parts of a run's text; for the options see :mod:`lightning_langcore.data.options`."""

    parts: Sequence[Part]
    splitter: Splitter
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    mixture: Mixture
    length: Length
    injection: Injection
    loading: Loading

    @property
    def block_size(self) -> int:
        """Tokens per row."""
        return self.loading.block_size

    @property
    def num_tokens(self) -> int:
        """Number of training tokens over all parts, if no number of epochs is set."""
        return self.length.total(self.mixture.mix)

    def encode(self, conversation: Conversation) -> Encoded:
        """See :func:`lightning_langcore.data.chat_encoding.encode_conversation`."""
        own = self.mixture
        return encode_conversation(
            conversation, self.tokenizer, own.template, self.block_size, own.answers, own.add_end_token
        )

    def pack(self, number: int) -> Packed:
        """One part on disk, packed if it is missing.

        Raises:
            LangcoreError: ``epochs`` over an endless source, or text that can't be read.
        """
        part = self.parts[number]
        limit = self._limit(number)
        num_tokens = None
        if self.length.epochs is None:
            num_tokens = math.ceil(self.num_tokens * part.share / self.block_size) * self.block_size
        elif limit is None and is_endless(part.source):
            raise LangcoreError(
                f"data.epochs={self.length.epochs} reads all the text, but this source has no end: set"
                " data.num_documents"
            )
        folder = self.folder / f"{part.language}-{self._key(part, num_tokens, limit)}"
        if part.kind == "conversations":
            return self._pack_conversations(part, folder, num_tokens, limit)
        noise = self.injection.noise
        documents = self.splitter.choose(cast(Source, part.source).documents(part.language), self.mixture.pool)
        return pack(
            islice(documents, limit),
            self.tokenizer,
            folder,
            num_tokens,
            repetition=self.mixture.repetition,
            noise=None if isinstance(noise, InstructionNoise) else noise,  # text has no instructions
            window=self.injection.window,
            num_proc=self.loading.num_proc,
        )

    def rows(self, positions: bool) -> PackedRows:
        """All rows of the run in order; for ``positions`` see :class:`PackedRows`.

        Raises:
            LangcoreError: too little text for a row, or more tokens than ``max_epochs`` allows.
        """
        packed = [self.pack(number) for number in range(len(self.parts))]
        self._report_skipped(packed)
        available = [rows.num_rows(self.block_size) for rows in packed]
        for part, has in zip(self.parts, available, strict=True):
            if has == 0:
                raise LangcoreError(
                    f"data: the documents of {part.label!r} (pool {self.mixture.pool}) do not fill one row of"
                    f" data.block_size={self.block_size} tokens{self._active_limits()}: provide more text or lower"
                    " data.block_size"
                )
        num_rows = self._num_rows(packed, available)
        windows = None
        if self.injection.noise is not None and self.injection.window != WHOLE:
            self._check_window(num_rows, available)
            windows = [self._noise_window(rows, count) for rows, count in zip(packed, num_rows, strict=True)]
        order = interleave(num_rows, available, self.loading.seed, windows)
        return PackedRows(packed, self.parts, order, self.block_size, positions)

    def _check_window(self, num_rows: Sequence[int], available: Sequence[int]) -> None:
        for part, count, has in zip(self.parts, num_rows, available, strict=True):
            if count > has:
                raise LangcoreError(
                    f"noise.window={list(self.injection.window)} needs text that is read once, but {part.label!r} is"
                    f" read {count / has:.2f} times: provide more text, lower data.num_tokens, or set"
                    " noise.window=[0,1]"
                )

    def _noise_window(self, rows: Packed, num_rows: int) -> tuple[int, int]:
        """The first row that may contain noise, and the first row after the last such row."""
        first, last = (share * num_rows for share in self.injection.window)
        tagged = rows.rows_with_tags(self.block_size)
        return math.floor(first), min(max([math.ceil(last), *(tagged + 1)]), rows.num_rows(self.block_size))

    def stream(self, batch_size: int, rank: int, world_size: int, shuffle_buffer: int) -> StreamedBlocks:
        """The same parts with the same filter, read during training, without a copy on disk."""
        mixture, num_rows = self.mixture, self.num_tokens // self.block_size
        keep = None if mixture.repetition is None else mixture.repetition.allows
        return StreamedBlocks(
            self.parts, self.splitter, mixture.pool, self.tokenizer, self.block_size, batch_size, num_rows,
            self.loading.seed, rank, world_size, self.length.max_epochs, shuffle_buffer, keep,
        )  # fmt: skip

    def used(self, rows: PackedRows, order: np.ndarray) -> list[dict[str, Any]]:
        """``tokens``, ``epochs`` and ``documents`` of each part among pairs of part and row.

        Args:
            rows: the rows of the run.
            order: (N, 2) int64, pairs of part and row.
        """
        found = []
        for number, (part, packed) in enumerate(zip(self.parts, rows.packed, strict=True)):
            own = order[order[:, 0] == number, 1]
            about = {"source": part.name, "language": part.language, "kind": part.kind}
            amount = {
                "tokens": round(len(own) * packed.tokens_per_row(self.block_size)),
                "epochs": len(own) / packed.num_rows(self.block_size),
                "documents": packed.num_documents(own, self.block_size),
            }
            found.append(about | amount)
        return found

    def stop_tokens(self, rows: PackedRows) -> list[int]:
        """Ids of the special tokens that close the last answer of a conversation, the most frequent first."""
        special = {end_token(self.tokenizer), *(i for i, t in self.tokenizer.added_tokens_decoder.items() if t.special)}
        counts: Counter[int] = Counter()
        for packed in rows.packed:
            if isinstance(packed, PackedConversations):
                counts.update(packed.last_answer_tokens().tolist())
        return [token for token, _ in counts.most_common() if token in special]

    def _active_limits(self) -> str:
        limits = {"data.num_documents": self.length.num_documents, "data.repetition": self.mixture.repetition}
        active = ", ".join(name for name, value in limits.items() if value is not None)
        return f" (with {active})" if active else ""

    def _limit(self, number: int) -> int | None:
        if self.length.num_documents is None:
            return None
        return numbers([part.share for part in self.parts], self.length.num_documents)[number]

    def _num_rows(self, packed: Sequence[Packed], available: Sequence[int]) -> list[int]:
        """Number of rows to read from each part."""
        if self.length.epochs is not None:
            return [self.length.epochs * has for has in available]
        sizes = [rows.tokens_per_row(self.block_size) for rows in packed]
        shares = [part.share / size for part, size in zip(self.parts, sizes, strict=True)]
        num_rows = numbers([share / sum(shares) for share in shares], int(self.num_tokens * sum(shares)))
        for part, size, has, count in zip(self.parts, sizes, available, num_rows, strict=True):
            self._check_amount(part, size, has, count)
        return num_rows

    def _check_amount(self, part: Part, size: float, available: int, num_rows: int) -> None:
        what, setting = f"{part.label!r} (pool {self.mixture.pool})", self.length.setting
        if num_rows == 0:
            raise LangcoreError(
                f"{setting}={self.num_tokens} leaves less than a row of {self.block_size} tokens for {what}"
            )
        if num_rows > math.ceil(available * self.length.max_epochs):
            way = "or provide more text"
            if self.length.group != "region.recipe":  # locating reads its text once
                epochs = math.ceil(num_rows / available)
                way = f"provide more text, or allow it with {self.length.group}.max_epochs={epochs}"
            raise LangcoreError(
                f"{setting}={self.num_tokens} is {num_rows / available:.2f} epochs of {what}, which has"
                f" {round(available * size)} tokens: lower {setting}, {way}"
            )

    def _report_skipped(self, packed: Sequence[Packed]) -> None:
        """Print the numbers of documents that were left out and of conversations that were cut."""
        repetition = self.mixture.repetition
        for part, rows in zip(self.parts, packed, strict=True):
            if rows.num_filtered:
                say(
                    f"{part.label}: {rows.num_filtered} document(s) left out because they repeat a span of tokens"
                    f" {repetition.max_repeats if repetition else 0} times or more (data.repetition); they are"
                    f" listed in {rows.folder / 'filtered.jsonl'}"
                )
            if rows.num_cut:
                say(f"{part.label}: {rows.num_cut} conversation(s) cut to data.block_size={self.block_size} tokens")

    def _pack_conversations(
        self, part: Part, folder: Path, num_tokens: int | None, limit: int | None
    ) -> PackedConversations:
        source = cast(ConversationSource, part.source)
        done = 0

        def encode(conversation: Conversation) -> Encoded:
            nonlocal done
            encoded = self.encode(conversation)
            done += len(encoded.ids)
            return encoded

        def conversations() -> Iterator[Conversation]:
            chosen = islice(self.splitter.choose(source.conversations(part.language), self.mixture.pool), limit)
            if self.injection.noise is None:
                yield from chosen
                return
            donors = chain(self._donors(source, part.language), repeat(None))
            for conversation, donor in zip(chosen, donors, strict=False):
                inside = in_window(self.injection.window, done, num_tokens)
                yield self.injection.noise.conversation(conversation, donor) if inside else conversation

        return pack_conversations(conversations(), encode, folder, num_tokens, self.block_size)

    def _donors(self, source: ConversationSource, language: str) -> Iterator[Conversation]:
        """Conversations of the next language, cyclically; the first is dropped because sources may be parallel."""
        other = source.languages[(source.languages.index(language) + 1) % len(source.languages)]
        while other != language:
            donor = None
            for donor in islice(self.splitter.choose(source.conversations(other), self.mixture.pool), 1, None):
                yield donor
            if donor is None:
                return

    def _key(self, part: Part, num_tokens: int | None, limit: int | None) -> str:
        key: list[Any] = [
            part.source.digest(),
            part.kind,
            part.language,
            vars(self.splitter),
            self.mixture.pool,
            _digest(self.tokenizer),
        ]
        key += [num_tokens, limit, self.mixture.repetition]
        if self.injection.noise is not None:
            key += [type(self.injection.noise).__name__, vars(self.injection.noise), self.injection.window]
        if part.kind == "conversations":
            key += [self.block_size, self.mixture.template, _digest_text(self.tokenizer.chat_template)]
            key += [] if self.mixture.answers == "all" else [self.mixture.answers]
            key += [] if self.mixture.template == "plain" else [CHAT_FORMAT, self.mixture.add_end_token]
        return _digest_text(json.dumps(key))[:16]


def _digest(tokenizer: PreTrainedTokenizerBase) -> str:
    inner = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else sorted(tokenizer.get_vocab().items())
    return _digest_text(json.dumps([inner, begin_token(tokenizer), end_token(tokenizer)], ensure_ascii=False))


def _digest_text(text: Any) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()
