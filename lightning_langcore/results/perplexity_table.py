"""Test perplexity of each condition in each language: intact, perturbed and at the end."""

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_langcore.results.conditions import Condition, Point, Spread, labels, points, spread
from lightning_langcore.results.number_format import count, spread_text
from lightning_langcore.results.record import Results


@dataclass(frozen=True)
class PerplexityRow:
    """One condition in one language.

    Attributes:
        lang: the language.
        label: the name of the condition.
        base: nats per token of the intact model; ``None`` where it was not scored.
        perturbed: nats per token at 0 samples; ``None`` where nothing was perturbed.
        final: nats per token at the end, or at ``reached``; ``None`` where nothing was trained.
        reached: samples at which ``final`` was measured, where no run of the condition was completed; else ``None``.
        num_seeds: seeds of the condition.
    """

    lang: str
    label: str
    base: Spread | None
    perturbed: Spread | None
    final: Spread | None
    reached: int | None
    num_seeds: int

    @property
    def seeds(self) -> str:
        """``3``, or ``2 of 3`` where one seed has no ``final``."""
        ended = self.final.num_seeds if self.final else self.num_seeds
        return str(ended) if ended == self.num_seeds else f"{ended} of {self.num_seeds}"

    @property
    def final_text(self) -> str:
        """The final perplexity; of an unfinished condition the last one, and the samples at which it was measured."""
        text = spread_text(self.final)
        return text if self.reached is None else f"{text} at {count(self.reached)}, unfinished"


def perplexity_rows(runs: Sequence[Results]) -> list[PerplexityRow]:
    """Every condition in every language, languages in the order of the runs, conditions in reading order."""
    found = points(runs)
    by_place: dict[tuple[str, Condition], list[Point]] = {}
    for point in found:
        by_place.setdefault((point.lang, point.condition), []).append(point)
    named = labels(point.condition for point in found)
    languages = dict.fromkeys(point.lang for point in found)
    return [
        _row(lang, label, by_place[lang, condition])
        for lang in languages
        for condition, label in named.items()
        if (lang, condition) in by_place
    ]


def _row(lang: str, label: str, own: Sequence[Point]) -> PerplexityRow:
    stages: dict[str, list[Point]] = {}
    for point in own:
        stages.setdefault(point.stage, []).append(point)
    last, reached = stages.get("final", []), None
    if not last and "training" in stages:
        reached = max(point.samples for point in stages["training"])
        last = [point for point in stages["training"] if point.samples == reached]
    base, perturbed = spread(stages.get("base", ())), spread(stages.get("perturbed", ()))
    return PerplexityRow(lang, label, base, perturbed, spread(last), reached, len({point.seed for point in own}))
