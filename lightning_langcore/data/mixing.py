"""Parts of a run's text: each has a share of the tokens, and their rows are interleaved in a seeded order."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from lightning_langcore.data.options import Mixture
from lightning_langcore.data.sources.base import ConversationSource, Source, SupportsConversations
from lightning_langcore.utils.errors import LangcoreError

TARGET = "target"
GENERAL = "general"
CONVERSATIONS = "conversations"


class Part(NamedTuple):
    """One language of one entry of the mix; the shares of all parts add up to 1."""

    name: str
    language: str
    source: Source | ConversationSource
    kind: Literal["text", "conversations"]
    share: float

    @property
    def label(self) -> str:
        """``zh``, or ``general/zh`` if the name of the entry is not the language."""
        return self.language if self.name == self.language else f"{self.name}/{self.language}"


def make_parts(text: Source, mixture: Mixture) -> list[Part]:
    """The parts of a mix, in the order of its entries.

    An entry of ``mixture.mix`` is a language of the data, ``target`` (the languages to train on), ``general``,
    ``conversations``, or a name of ``data.sources``; the languages of an entry share its weight equally. Without a mix
    the text is that of ``conversations`` if there are any, otherwise of ``target``.

    Args:
        text: main source of the text.
        mixture: the mix, and what its entries stand for.

    Raises:
        LangcoreError: an entry that names no source, a negative weight, or no positive weight.
    """
    mix = mixture.mix
    if mix is None:
        return _divided({CONVERSATIONS if mixture.conversations else TARGET: 1}, text, mixture)
    if mixture.languages is not None and not mix.keys() & {TARGET, CONVERSATIONS}:
        raise LangcoreError(
            f"data.languages={list(mixture.languages)} has no effect with this data.mix, which does not name"
            f" {TARGET}: add {TARGET} to data.mix, or set data.languages=null"
        )
    for name, weight in mix.items():
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight < math.inf:
            raise LangcoreError(f"data.mix.{name}={weight} must be a number (relative weight in tokens), 0 or more")
    if not any(mix.values()):
        raise LangcoreError(
            f"data.mix={dict(mix)} leaves nothing to train on: give at least one entry a weight above 0"
        )
    return _divided(mix, text, mixture)


def _divided(mix: Mapping[str, float], text: Source, mixture: Mixture) -> list[Part]:
    total = math.fsum(mix.values())
    parts = []
    for name, weight in mix.items():
        source, languages = _named(name, mix, text, mixture)
        kind: Literal["text", "conversations"] = (
            "conversations" if isinstance(source, SupportsConversations) else "text"
        )
        share = weight / total / len(languages)
        parts += [
            Part(language if name == TARGET else name, language, source, kind, share)
            for language in languages
            if weight > 0
        ]
    return parts


def _named(
    name: str, mix: Mapping[str, float], text: Source, mixture: Mixture
) -> tuple[Source | ConversationSource, list[str]]:
    """The source and the languages of an entry."""
    further = mixture.sources
    if name in further:
        return further[name], list(further[name].languages)
    target = list(mixture.languages or text.languages)
    if name == TARGET:
        return text, target
    if name == GENERAL:
        named = {*mix, *(target if TARGET in mix else [])}
        languages = [x for x in mixture.general or text.languages if x not in named]
        if not languages:
            raise LangcoreError(
                f"data.mix.{GENERAL}: the mix names every language, so no language is left for {GENERAL}"
            )
        return text, languages
    if name == CONVERSATIONS and mixture.conversations is not None:
        return mixture.conversations, list(mixture.languages or mixture.conversations.languages)
    if name in text.languages:
        return text, [name]
    known = [
        *text.languages,
        TARGET,
        GENERAL,
        *([CONVERSATIONS] if mixture.conversations else []),
        *further,
    ]
    raise LangcoreError(f"data.mix names {name!r}, which is not a source; available sources: {', '.join(known)}")


def numbers(shares: Sequence[float], total: int) -> list[int]:
    """Apportion ``total`` by shares into integers that add up to it (largest remainder method)."""
    exact = [share * total for share in shares]
    whole = [math.floor(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (-round(exact[i] - whole[i], 9), i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole


def interleave(
    num_rows: Sequence[int], available: Sequence[int], seed: int, windows: Sequence[tuple[int, int]] | None = None
) -> np.ndarray:
    """Interleave the rows of all parts for a whole run; the rows of each part are shuffled anew in every epoch.

    Args:
        num_rows: number of rows to read from each part.
        available: number of rows that each part has, at least 1.
        seed: seed of the order; the order of one part's rows does not depend on the other parts.
        windows: (first, end) rows of each part: rows are shuffled only among the rows before, inside and after this
            window. ``None``: all rows of a part are shuffled together.

    Returns:
        (sum of ``num_rows``, 2) int64: pairs of part and row.
    """
    rows = []
    for number, (count, size) in enumerate(zip(num_rows, available, strict=True)):
        rng = np.random.default_rng([seed, number])
        window = (0, size) if windows is None else windows[number]
        epochs = [_shuffled(rng, size, window) for _ in range(math.ceil(count / size))]
        chosen = np.concatenate([*epochs, np.empty(0, dtype=np.int64)])[:count]
        rows.append(np.stack([np.full(count, number), chosen], axis=1))
    order = np.concatenate(rows)
    shuffled_parts = np.random.default_rng([seed, len(rows)]).permutation(order[:, 0])
    for number, row in enumerate(rows):
        order[shuffled_parts == number] = row  # keeps the order of the rows within a part
    return order


def _shuffled(rng: np.random.Generator, size: int, window: tuple[int, int]) -> np.ndarray:
    if window == (0, size):
        return rng.permutation(size)
    phases = np.split(np.arange(size), window)
    return np.concatenate([rng.permutation(phase) for phase in phases])
