"""What a run's text is made of: parts with a share of the tokens each, dealt out in a seeded order."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from lightning_langcore.data.sources.base import ConversationSource, Source, SupportsConversations

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
        """``zh``, or ``general/zh`` where the entry has another name."""
        return self.language if self.name == self.language else f"{self.name}/{self.language}"


class AvailableSources(NamedTuple):
    """What a mix can be made of.

    Args:
        text: the data's own source; ``languages`` narrows it.
        languages: to train on; ``None``: all.
        conversations: for fine-tuning.
        general: languages that ``general`` stands for; ``None``: those that the mix does not name.
        sources: further sources by name.
    """

    text: Source
    languages: Sequence[str] | None = None
    conversations: ConversationSource | None = None
    general: Sequence[str] | None = None
    sources: Mapping[str, Source] | None = None


def make_parts(mix: Mapping[str, float] | None, available: AvailableSources) -> list[Part]:
    """The parts that a mix names, in its order.

    Args:
        mix: entry -> weight in tokens: a language of the data, ``target`` (the languages to train on), ``general``,
            ``conversations``, or a name of ``data.sources``; the languages of an entry share its weight equally.
            ``None``: ``conversations`` if there are any, else ``target``.
        available: the sources there are.

    Raises:
        ValueError: an entry that names no source, a negative weight, or nothing left.
    """
    if mix is None:
        return _divided({CONVERSATIONS if available.conversations else TARGET: 1}, available)
    if available.languages is not None and not mix.keys() & {TARGET, CONVERSATIONS}:
        raise ValueError(
            f"data.languages={list(available.languages)} has no meaning beside this data.mix, which does not name them:"
            f" write {TARGET} in it, or set data.languages=null"
        )
    for name, weight in mix.items():
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight < math.inf:
            raise ValueError(f"data.mix.{name}={weight} must be a number of tokens to others', 0 or more")
    if not any(mix.values()):
        raise ValueError(f"data.mix={dict(mix)} leaves nothing to train on: give at least one entry a weight above 0")
    return _divided(mix, available)


def _divided(mix: Mapping[str, float], available: AvailableSources) -> list[Part]:
    total = math.fsum(mix.values())
    parts = []
    for name, weight in mix.items():
        source, languages = _named(name, mix, available)
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
    name: str, mix: Mapping[str, float], available: AvailableSources
) -> tuple[Source | ConversationSource, list[str]]:
    """The source that an entry names, and its languages."""
    further = available.sources or {}
    if name in further:
        return further[name], list(further[name].languages)
    target = list(available.languages or available.text.languages)
    if name == TARGET:
        return available.text, target
    if name == GENERAL:
        named = {*mix, *(target if TARGET in mix else [])}
        languages = [x for x in available.general or available.text.languages if x not in named]
        if not languages:
            raise ValueError(f"data.mix.{GENERAL}: the mix names every language itself, so that none is left for it")
        return available.text, languages
    if name == CONVERSATIONS and available.conversations is not None:
        return available.conversations, list(available.languages or available.conversations.languages)
    if name in available.text.languages:
        return available.text, [name]
    known = [
        *available.text.languages,
        TARGET,
        GENERAL,
        *([CONVERSATIONS] if available.conversations else []),
        *further,
    ]
    raise ValueError(f"data.mix names {name!r}, which is no source: it can name {', '.join(known)}")


def numbers(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers in the proportion of the shares that add up to ``total``: the largest remainders are rounded up."""
    exact = [share * total for share in shares]
    whole = [math.floor(value + 1e-9) for value in exact]
    left = sorted(range(len(shares)), key=lambda i: (-round(exact[i] - whole[i], 9), i))
    for i in left[: total - sum(whole)]:
        whole[i] += 1
    return whole


def interleave(
    wanted: Sequence[int], available: Sequence[int], seed: int, windows: Sequence[tuple[int, int]] | None = None
) -> np.ndarray:
    """Pairs of part and row for a whole run: each part's rows shuffled, beyond an epoch anew, and the parts mixed.

    Args:
        wanted: rows of each part.
        available: rows that each part has, at least one.
        seed: of the order; the turns of a part do not depend on how often others have theirs.
        windows: for each part two of its rows: what lies before, between and behind them stays so.
    """
    rows = []
    for number, (count, size) in enumerate(zip(wanted, available, strict=True)):
        rng = np.random.default_rng([seed, number])
        window = (0, size) if windows is None else windows[number]
        epochs = [_shuffled(rng, size, window) for _ in range(math.ceil(count / size))]
        chosen = np.concatenate([*epochs, np.empty(0, dtype=np.int64)])[:count]
        rows.append(np.stack([np.full(count, number), chosen], axis=1))
    order = np.concatenate(rows)
    turns = np.random.default_rng([seed, len(rows)]).permutation(order[:, 0])
    for number, row in enumerate(rows):
        order[turns == number] = row  # the turns are shuffled, a part's own order stays
    return order


def _shuffled(rng: np.random.Generator, size: int, window: tuple[int, int]) -> np.ndarray:
    if window == (0, size):
        return rng.permutation(size)
    phases = np.split(np.arange(size), window)
    return np.concatenate([rng.permutation(phase) for phase in phases])
