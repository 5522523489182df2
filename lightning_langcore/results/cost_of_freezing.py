r"""The cost of freezing: how much higher perplexity ends with frozen weights than without.

.. math:: \text{cost}(s) = \ell_\text{frozen}(s) - \ell_\text{free}(s), \qquad
          \text{ratio} = \exp\Big(\frac{1}{|S|} \sum_{s \in S} \text{cost}(s)\Big)

with :math:`\ell(s)` the nats per token at the last step of seed :math:`s`. Pairing by seed cancels what both runs of a
seed share. Nothing here assumes the sign of the cost.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lightning_langcore.results.conditions import Condition, Point, labels, points
from lightning_langcore.results.number_format import exp, number, range_of
from lightning_langcore.results.record import Results

_SAME = 0.01  # a perplexity less than this share higher or lower is called the same


@dataclass(frozen=True)
class FreezingCost:
    """What freezing costs in one language: frozen minus free at the last step, at equal seeds.

    Attributes:
        region: name of the condition, frozen.
        lang: the language.
        nats: nats per token by seed.
        control: name of a second condition; ``nats`` is then the cost of ``region`` minus the cost of ``control``.
    """

    region: str
    lang: str
    nats: Mapping[int, float]
    control: str | None = None

    @property
    def comparison(self) -> str:
        """The two sides that are compared."""
        return f"{self.region} minus {self.control}" if self.control else f"{self.region}, frozen against free"

    @property
    def mean(self) -> float:
        """Nats per token, over the seeds."""
        return statistics.fmean(self.nats.values())

    @property
    def low(self) -> float:
        """Nats per token, of the seed where freezing costs least."""
        return min(self.nats.values())

    @property
    def high(self) -> float:
        """Nats per token, of the seed where freezing costs most."""
        return max(self.nats.values())

    @property
    def ratio(self) -> float:
        """Perplexity frozen / perplexity free (geometric mean); with ``control``, the ratio of the two ratios."""
        return exp(self.mean)

    @property
    def direction(self) -> int:
        """1: freezing costs (more than the control), -1: less, 0: within 1 % of perplexity."""
        return 0 if abs(self.mean) <= math.log1p(_SAME) else (1 if self.mean > 0 else -1)

    @property
    def seeds_disagree(self) -> bool:
        """Whether freezing costs in one seed and gains in another."""
        return len(self.nats) > 1 and self.low < 0 < self.high

    def reading(self) -> str:
        """The direction in words, and whether the seeds agree on it."""
        if self.control:
            ways = {1: "costs more than", 0: "costs the same (within 1 %) as", -1: "costs less than"}
            words = f"freezing {self.region} {ways[self.direction]} freezing {self.control}"
        else:
            ways = {1: "higher than", 0: "the same (within 1 %) as", -1: "lower than"}
            words = f"frozen ends {ways[self.direction]} free"
        if len(self.nats) == 1:
            return f"{words}; one seed, spread unknown"
        return f"{words}; {len(self.nats)} seeds {'disagree' if self.seeds_disagree else 'agree'} on the direction"

    def text(self) -> str:
        """One plain sentence with the numbers: ``zh, core, frozen against free: 4.21 times (4.04–4.45); ...``."""
        seeds = f" ({range_of(self.low, self.high)})" if len(self.nats) > 1 else ""
        return f"{self.lang}, {self.comparison}: {number(self.ratio)} times{seeds}; {self.reading()}"


def cost_of_freezing(runs: Sequence[Results]) -> list[FreezingCost]:
    """Frozen minus free for each kind of region, then core minus random, by language, from completed trainings only.

    Only equal seeds, settings and numbers of documents are paired. What has no partner is left out, so the list is
    empty where a condition is missing. Runs with the same condition and seed are averaged first. Where nothing was
    perturbed, the free partner is any free run of the model on the same kind of text: such a run does not depend on the
    region.
    """
    found = points(runs)
    perturbed = {point.condition for point in found if point.stage == "perturbed"}
    finals = _finals(found, perturbed)
    costs: dict[tuple[Condition, str], dict[int, float]] = {}
    for (condition, lang, seed, samples), frozen in finals.items():
        partner = condition._replace(frozen=False) if condition in perturbed else _any_free(condition)
        free = finals.get((partner, lang, seed, samples)) if condition.frozen else None
        if free:
            costs.setdefault((condition, lang), {})[seed] = statistics.fmean(frozen) - statistics.fmean(free)
    defined = {(condition._replace(frozen=None), lang): _defined(nats) for (condition, lang), nats in costs.items()}
    paired = {place: nats for place, nats in defined.items() if nats}
    named = labels(condition for condition, _ in paired)
    own = [
        FreezingCost(label, lang, nats)
        for condition, label in named.items()
        for (other, lang), nats in paired.items()
        if other == condition
    ]
    return own + _against_random(paired, named)


def _finals(
    found: Iterable[Point], perturbed: Iterable[Condition]
) -> dict[tuple[Condition, str, int, int], list[float]]:
    """Nats per token at the last step by condition, language, seed and samples."""
    finals: dict[tuple[Condition, str, int, int], list[float]] = {}
    for point in found:
        if point.stage == "final":
            own = point.condition.frozen or point.condition in perturbed
            condition = point.condition if own else _any_free(point.condition)
            finals.setdefault((condition, point.lang, point.seed, point.samples), []).append(point.nats)
    return finals


def _any_free(condition: Condition) -> Condition:
    """The condition of free runs from an intact model: the region is left out."""
    return Condition("none", False, None, None, None, None, condition.model, condition.data)


def _defined(nats: Mapping[int, float]) -> dict[int, float]:
    """Without infinite minus infinite, which has no value."""
    return {seed: value for seed, value in nats.items() if not math.isnan(value)}


def _against_random(
    paired: Mapping[tuple[Condition, str], Mapping[int, float]], named: Mapping[Condition, str]
) -> list[FreezingCost]:
    costs = []
    for (condition, lang), core in paired.items():
        control = condition._replace(kind="random", score=None)
        random = paired.get((control, lang), {}) if condition.kind == "core" else {}
        nats = _defined({seed: core[seed] - random[seed] for seed in core if seed in random})
        if nats:
            costs.append(FreezingCost(named[condition], lang, nats, control=named[control]))
    return costs


def summary(costs: Sequence[FreezingCost]) -> str:
    """One sentence on all the languages of one comparison."""
    counts = {way: sum(cost.direction == way for cost in costs) for way in (1, 0, -1)}
    if costs[0].control:
        start = f"{costs[0].region} against {costs[0].control}: freezing costs"
        ways = {1: "more", 0: "the same (within 1 %)", -1: "less"}
    else:
        start = f"{costs[0].region}: frozen, perplexity ends"
        ways = {1: "higher than free", 0: "the same as free (within 1 %)", -1: "lower than free"}
    directions = ", ".join(f"{ways[way]} in {num}" for way, num in counts.items() if num)
    median = number(exp(statistics.median(cost.mean for cost in costs)))
    languages = f"of {len(costs)} language{'s' if len(costs) > 1 else ''}"
    disagreeing = sum(cost.seeds_disagree for cost in costs)
    doubt = f" In {disagreeing} the seeds disagree on the direction." if disagreeing else ""
    single = " One seed each, so no spread is known." if all(len(cost.nats) == 1 for cost in costs) else ""
    return f"{start} {directions} {languages}; median ratio {median}.{doubt}{single}"
