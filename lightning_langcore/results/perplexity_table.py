"""Test perplexity of each condition in each language: intact, perturbed and at the end."""

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_langcore.results.conditions import Condition, Point, Spread, labels, points, spread
from lightning_langcore.results.number_format import spread_text
from lightning_langcore.results.record import Results


@dataclass(frozen=True)
class Line:
    """One arm in one language: perplexities as :class:`Spread` in nats, ``None`` where a stage was not reached.

    ``reached`` is the number of documents at which ``final`` was measured, where no run of the arm got to its end.
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
        """``3``, or ``2 of 3`` where one did not get as far as ``final``."""
        ended = self.final.num_seeds if self.final else self.num_seeds
        return str(ended) if ended == self.num_seeds else f"{ended} of {self.num_seeds}"

    def final_text(self, gap: str = " ") -> str:
        """The final perplexity, or the last one reached and where that was."""
        text = spread_text(self.final, gap)
        return text if self.reached is None else f"{text}{gap}at {self.reached:,}, unfinished"


def lines(runs: Sequence[Results]) -> list[Line]:
    """Every arm in every language, languages in the order of the runs, arms in reading order."""
    found = points(runs)
    by_place: dict[tuple[str, Condition], list[Point]] = {}
    for point in found:
        by_place.setdefault((point.lang, point.condition), []).append(point)
    named = labels(point.condition for point in found)
    languages = dict.fromkeys(point.lang for point in found)
    return [
        _line(lang, label, by_place[lang, condition])
        for lang in languages
        for condition, label in named.items()
        if (lang, condition) in by_place
    ]


def _line(lang: str, label: str, own: Sequence[Point]) -> Line:
    stages: dict[str, list[Point]] = {}
    for point in own:
        stages.setdefault(point.stage, []).append(point)
    last, reached = stages.get("final", []), None
    if not last and "training" in stages:
        reached = max(point.samples for point in stages["training"])
        last = [point for point in stages["training"] if point.samples == reached]
    base, perturbed = spread(stages.get("base", ())), spread(stages.get("perturbed", ()))
    return Line(lang, label, base, perturbed, spread(last), reached, len({point.seed for point in own}))
