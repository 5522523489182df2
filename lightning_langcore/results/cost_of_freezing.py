"""What runs say against each other: perplexities by arm, and the price of freezing.

Ratios of perplexity are exponentials of differences in nats per token, paired by seed, so that what the seeds share
cancels. Nothing here assumes which way a comparison comes out.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lightning_langcore.results.conditions import Condition, labels, points
from lightning_langcore.results.number_format import exp, number
from lightning_langcore.results.record import Results

_SAME = 0.01  # a perplexity less than this share higher or lower is called the same


@dataclass(frozen=True)
class FreezingCost:
    """What freezing costs in one language, in nats per token at the last step: frozen minus free, at equal seeds.

    With ``control`` set, the price of ``region`` minus the price of ``control``, again at equal seeds.
    """

    region: str
    lang: str
    nats: Mapping[int, float]
    control: str | None = None

    @property
    def what(self) -> str:
        """The two sides that are compared."""
        return f"{self.region} minus {self.control}" if self.control else f"{self.region}, frozen against free"

    @property
    def mean(self) -> float:
        """Nats per token, over the seeds."""
        return _mean(self.nats.values())

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

    def reading(self) -> str:
        """What the numbers say, in words, and whether the seeds agree on it."""
        if self.control:
            ways = {1: "costs more than", 0: "costs the same (within 1 %) as", -1: "costs less than"}
            words = f"freezing {self.region} {ways[self.direction]} freezing {self.control}"
        else:
            ways = {1: "higher than", 0: "the same (within 1 %) as", -1: "lower than"}
            words = f"frozen ends {ways[self.direction]} free"
        if len(self.nats) == 1:
            return f"{words}; one seed, spread unknown"
        return f"{words}; {len(self.nats)} seeds {'disagree' if self.low < 0 < self.high else 'agree'} on the direction"

    def text(self) -> str:
        """One plain line with the numbers, as ``zh, core, frozen against free: 4.21 times (4.04-4.45); ...``."""
        return f"{self.lang}, {self.what}: {ratio_text(self)}; {self.reading()}"


def ratio_text(cost: FreezingCost) -> str:
    """``1.09 times (1.05–1.12)``, the bracket with several seeds only."""
    seeds = f" ({number(exp(cost.low))}–{number(exp(cost.high))})" if len(cost.nats) > 1 else ""
    return f"{number(cost.ratio)} times{seeds}"


def cost_of_freezing(runs: Sequence[Results]) -> list[FreezingCost]:
    """Frozen minus free for each kind of region, then core minus random, by language, from completed trainings only.

    Only equal seeds, settings and numbers of documents are paired; what has no partner is left out, so the list is
    empty where an arm is missing. Runs that share arm and seed are averaged first. Where nothing was damaged, the free
    partner is any free run of the model on such text: without a perturbation the region has no part in it.
    """
    found = points(runs)
    perturbed = {point.condition for point in found if point.stage == "perturbed"}
    finals: dict[tuple[Condition, str, int, int], list[float]] = {}
    for point in found:
        if point.stage == "final":
            condition = (
                point.condition
                if point.condition.frozen or point.condition in perturbed
                else _undamaged(point.condition)
            )
            finals.setdefault((condition, point.lang, point.seed, point.samples), []).append(point.nats)
    values: dict[tuple[Condition, str], dict[int, float]] = {}
    for (condition, lang, seed, samples), frozen in finals.items():
        partner = condition._replace(frozen=False) if condition in perturbed else _undamaged(condition)
        free = finals.get((partner, lang, seed, samples)) if condition.frozen else None
        if free:
            values.setdefault((condition, lang), {})[seed] = _mean(frozen) - _mean(free)
    defined = {(condition._replace(frozen=None), lang): _defined(nats) for (condition, lang), nats in values.items()}
    paired = {place: nats for place, nats in defined.items() if nats}
    named = labels(condition for condition, _ in paired)
    own = [
        FreezingCost(label, lang, nats)
        for condition, label in named.items()
        for (a, lang), nats in paired.items()
        if a == condition
    ]
    return own + _against_random(paired, named)


def _undamaged(condition: Condition) -> Condition:
    return Condition("none", False, None, None, None, None, condition.model, condition.data)


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _defined(nats: Mapping[int, float]) -> dict[int, float]:
    """Without infinite minus infinite, which says nothing."""
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
    told = ", ".join(f"{ways[way]} in {count}" for way, count in counts.items() if count)
    middle = number(exp(statistics.median(cost.mean for cost in costs)))
    languages = f"of {len(costs)} language{'s' if len(costs) > 1 else ''}"
    unsure = sum(len(cost.nats) > 1 and cost.low < 0 < cost.high for cost in costs)
    doubt = f" In {unsure} the seeds disagree on the direction." if unsure else ""
    single = " One seed each, so no spread is known." if all(len(cost.nats) == 1 for cost in costs) else ""
    return f"{start} {told} {languages}; median ratio {middle}.{doubt}{single}"
