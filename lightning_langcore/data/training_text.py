"""The training text of a run: each part packed once and found again, and how much of it is read."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers import PreTrainedTokenizerBase

from lightning_langcore.data.chat_encoding import Encoded, encode_conversation
from lightning_langcore.data.mixing import Part, interleave, numbers
from lightning_langcore.data.noise import InstructionNoise, Noise
from lightning_langcore.data.packing.conversations import PackedConversations, pack_conversations
from lightning_langcore.data.packing.dataset import Packed, PackedRows
from lightning_langcore.data.packing.documents import Repetition, pack, within
from lightning_langcore.data.sources.base import Conversation, ConversationSource, Source, Splitter, is_endless
from lightning_langcore.data.streaming.blocks import StreamedBlocks
from lightning_langcore.utils.progress import say

WHOLE = (0.0, 1.0)


@dataclass
class TrainingText:
    """The parts of a run's text; for the fields see :class:`lightning_langcore.data.TextDataModule`."""

    parts: Sequence[Part]
    splitter: Splitter
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    pool: str
    num_tokens: int
    num_documents: int | None
    epochs: int | None
    block_size: int
    max_epochs: float
    seed: int
    num_proc: int
    repetition: Repetition | None
    noise: Noise | None
    window: tuple[float, float]
    template: str

    def pack(self, number: int) -> Packed:
        """One part on disk, packed if it is missing.

        Raises:
            ValueError: passes over a source without an end, or text that can't be read.
        """
        part = self.parts[number]
        limit = self._limit(number)
        num_tokens = None
        if self.epochs is None:
            num_tokens = math.ceil(self.num_tokens * part.share / self.block_size) * self.block_size
        elif limit is None and is_endless(part.source):
            raise ValueError(
                f"data.epochs={self.epochs} goes through all the text, but this source has no end: give"
                " data.num_documents"
            )
        folder = self.folder / f"{part.language}-{self._key(part, num_tokens, limit)}"
        if part.kind == "conversations":
            return self._pack_conversations(part, folder, num_tokens, limit)
        documents = self.splitter.choose(cast(Source, part.source).documents(part.language), self.pool)
        return pack(
            islice(documents, limit),
            self.tokenizer,
            folder,
            num_tokens,
            repetition=self.repetition,
            noise=None if isinstance(self.noise, InstructionNoise) else self.noise,  # text has no instructions
            window=self.window,
            num_proc=self.num_proc,
        )

    def rows(self, positions: bool) -> PackedRows:
        """All rows of the run in their order; ``positions`` as in :class:`PackedRows`.

        Raises:
            ValueError: too little text for a row, or for as many tokens without repeating it too often.
        """
        packed = [self.pack(number) for number in range(len(self.parts))]
        self._tell(packed)
        available = [rows.num_rows(self.block_size) for rows in packed]
        for part, has in zip(self.parts, available, strict=True):
            if has == 0:
                raise ValueError(
                    f"data: the documents of {part.label!r} (pool {self.pool}) do not fill one row of"
                    f" data.block_size={self.block_size} tokens{self._narrowed()}: bring more text or lower"
                    " data.block_size"
                )
        wanted = self._wanted(packed, available)
        windows = None
        if self.noise is not None and self.window != WHOLE:
            self._check_window(wanted, available)
            windows = [self._noisy(rows, wants) for rows, wants in zip(packed, wanted, strict=True)]
        order = interleave(wanted, available, self.seed, windows)
        return PackedRows(packed, self.parts, order, self.block_size, positions)

    def _check_window(self, wanted: Sequence[int], available: Sequence[int]) -> None:
        for part, wants, has in zip(self.parts, wanted, available, strict=True):
            if wants > has:
                raise ValueError(
                    f"noise.window={list(self.window)} needs text that is read once, but {part.label!r} is read"
                    f" {wants / has:.2f} times: bring more text, lower data.num_tokens, or set noise.window=[0,1]"
                )

    def _noisy(self, rows: Packed, wanted: int) -> tuple[int, int]:
        """The first row in which there may be noise, and the first behind it."""
        first, last = (share * wanted for share in self.window)
        tagged = rows.rows_with_tags(self.block_size)
        return math.floor(first), min(max([math.ceil(last), *(tagged + 1)]), rows.num_rows(self.block_size))

    def stream(self, batch_size: int, rank: int, world_size: int, shuffle_buffer: int) -> StreamedBlocks:
        """The same parts, filtered the same way, read while the run goes on, without a copy on disk."""
        keep = None if self.repetition is None else self.repetition.allows
        return StreamedBlocks(
            self.parts, self.splitter, self.pool, self.tokenizer, self.block_size, batch_size,
            self.num_tokens // self.block_size, self.seed, rank, world_size, self.max_epochs, shuffle_buffer, keep,
        )  # fmt: skip

    def used(self, rows: PackedRows, order: np.ndarray) -> list[dict[str, Any]]:
        """What these pairs of part and row amount to, part by part: ``tokens``, ``epochs`` and ``documents``."""
        found = []
        for number, (part, packed) in enumerate(zip(self.parts, rows.packed, strict=True)):
            own = order[order[:, 0] == number, 1]
            about = {"source": part.name, "language": part.language, "kind": part.kind}
            amount = {
                "tokens": round(len(own) * packed.tokens_a_row(self.block_size)),
                "epochs": len(own) / packed.num_rows(self.block_size),
                "documents": packed.num_documents(own, self.block_size),
            }
            found.append(about | amount)
        return found

    def _narrowed(self) -> str:
        limits = {"data.num_documents": self.num_documents, "data.repetition": self.repetition}
        told = ", ".join(name for name, value in limits.items() if value is not None)
        return f" (with {told})" if told else ""

    def _limit(self, number: int) -> int | None:
        if self.num_documents is None:
            return None
        return numbers([part.share for part in self.parts], self.num_documents)[number]

    def _wanted(self, packed: Sequence[Packed], available: Sequence[int]) -> list[int]:
        """Rows of each part."""
        if self.epochs is not None:
            return [self.epochs * has for has in available]
        sizes = [rows.tokens_a_row(self.block_size) for rows in packed]
        shares = [part.share / size for part, size in zip(self.parts, sizes, strict=True)]
        wanted = numbers([share / sum(shares) for share in shares], int(self.num_tokens * sum(shares)))
        for part, size, has, wants in zip(self.parts, sizes, available, wanted, strict=True):
            self._check_amount(part, size, has, wants)
        return wanted

    def _check_amount(self, part: Part, size: float, available: int, wanted: int) -> None:
        what = f"{part.label!r} (pool {self.pool})"
        if wanted == 0:
            raise ValueError(
                f"data.num_tokens={self.num_tokens} leaves less than a row of {self.block_size} tokens for {what}"
            )
        if wanted > math.ceil(available * self.max_epochs):
            raise ValueError(
                f"data.num_tokens={self.num_tokens} is {wanted / available:.2f} epochs of {what}, which has"
                f" {round(available * size)} tokens: lower data.num_tokens, bring more text, or allow it with"
                f" data.max_epochs={math.ceil(wanted / available)}"
            )

    def _tell(self, packed: Sequence[Packed]) -> None:
        """Say what was left out or cut."""
        for part, rows in zip(self.parts, packed, strict=True):
            if rows.num_filtered:
                say(
                    f"{part.label}: {rows.num_filtered} document(s) left out, for they repeat a span of tokens"
                    f" {self.repetition.max_repeats if self.repetition else 0} times or more (data.repetition); they"
                    f" are named in {rows.folder / 'filtered.jsonl'}"
                )
            if rows.num_cut:
                say(f"{part.label}: {rows.num_cut} conversation(s) cut to data.block_size={self.block_size} tokens")

    def _pack_conversations(
        self, part: Part, folder: Path, num_tokens: int | None, limit: int | None
    ) -> PackedConversations:
        source = cast(ConversationSource, part.source)
        plain = partial(
            encode_conversation, tokenizer=self.tokenizer, template=self.template, max_length=self.block_size
        )
        done = 0

        def encode(talk: Conversation) -> Encoded:
            nonlocal done
            encoded = plain(talk)
            done += len(encoded.ids)
            return encoded

        def talks() -> Iterator[Conversation]:
            chosen = islice(self.splitter.choose(source.conversations(part.language), self.pool), limit)
            if self.noise is None:
                yield from chosen
                return
            donors = chain(self._donors(source, part.language), repeat(None))
            for talk, donor in zip(chosen, donors, strict=False):
                inside = within(self.window, done, num_tokens)
                yield self.noise.conversation(talk, donor) if inside else talk

        return pack_conversations(talks(), encode, folder, num_tokens, self.block_size)

    def _donors(self, source: ConversationSource, language: str) -> Iterator[Conversation]:
        """Conversations of the next language, again and again: one further on, for sources may be parallel."""
        other = source.languages[(source.languages.index(language) + 1) % len(source.languages)]
        while other != language:
            donor = None
            for donor in islice(self.splitter.choose(source.conversations(other), self.pool), 1, None):
                yield donor
            if donor is None:
                return

    def _key(self, part: Part, num_tokens: int | None, limit: int | None) -> str:
        key: list[Any] = [
            part.source.digest(),
            part.kind,
            part.language,
            vars(self.splitter),
            self.pool,
            _digest(self.tokenizer),
        ]
        key += [num_tokens, limit, self.repetition]
        if self.noise is not None:
            key += [type(self.noise).__name__, vars(self.noise), self.window]
        if part.kind == "conversations":
            key += [self.block_size, self.template, _digest_text(self.tokenizer.chat_template)]
        return _digest_text(json.dumps(key))[:16]


def _digest(tokenizer: PreTrainedTokenizerBase) -> str:
    inner = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else sorted(tokenizer.get_vocab().items())
    return _digest_text(json.dumps([inner, tokenizer.bos_token_id, tokenizer.eos_token_id], ensure_ascii=False))


def _digest_text(text: Any) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()
