"""Tables of ``claims.py`` from the results of its runs: damage, cost of freezing, scores, grid, single languages."""

import csv
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from result_files import Table, each, spread_of

from lightning_langcore.importance.scores import SCORES
from lightning_langcore.results.conditions import points
from lightning_langcore.results.cost_of_freezing import FreezingCost, cost_of_freezing
from lightning_langcore.results.record import Results
from lightning_langcore.results.selectivity import own_and_others

KINDS = ("core", "random", "peripheral")
ORDERINGS = (("core", "random"), ("random", "peripheral"), ("core", "matched"))
SMALL = ("en", "es", "ar", "vi")
"""Languages of the README's table."""
COUNTS = {"order": "{}", "(language, seed) pairs": "{} of {}"}

Values = dict[tuple[str, int], float]
"""Nats per token by language and seed."""


def damaged(runs: Iterable[Results]) -> dict[str, Values]:
    """Values of the intact model (``base``) and right after the damage of each kind of region."""
    values: dict[str, Values] = {}
    for p in points(runs):
        if p.stage in ("base", "perturbed"):
            values.setdefault("base" if p.stage == "base" else p.condition.kind, {})[p.lang, p.seed] = p.nats
    return values


def mean_perplexity(nats: Iterable[float]) -> float:
    """Geometric mean of perplexities."""
    return math.exp(statistics.fmean(nats))


def of_language(values: Values, lang: str) -> list[float]:
    """The values of one language, by ascending seed."""
    return [nats for (own, _), nats in sorted(values.items(), key=lambda item: item[0][1]) if own == lang]


def holds(high: Values, low: Values) -> list[int]:
    """In how many pairs of language and seed the first is higher, and the number of pairs."""
    return [sum(nats > low[pair] for pair, nats in high.items()), len(high)]


def damage(runs: Sequence[Results]) -> dict[str, Table]:
    """Perplexity intact and damaged by language, and in how many pairs core exceeds random and peripheral."""
    values = damaged(runs)
    languages, num_seeds = dict.fromkeys(lang for lang, _ in values["base"]), len({seed for _, seed in values["core"]})
    columns = dict.fromkeys(("intact", *KINDS), "{:.4g}")
    table = Table({"language": "{}", **columns, "core / random, by seed": each("{:.2f}", num_seeds)})
    for lang in languages:
        cells = [mean_perplexity(of_language(values[kind], lang)) for kind in ("base", *KINDS)]
        pairs = zip(of_language(values["core"], lang), of_language(values["random"], lang), strict=True)
        table.add(lang, *cells, [math.exp(core - random) for core, random in pairs])
    orderings = [[f"core > {kind}", holds(values["core"], values[kind])] for kind in KINDS[1:]]
    return {"recovery_damage": table, "recovery_orderings": Table(COUNTS, orderings)}


def costs_by_language(runs: Sequence[Results]) -> dict[str, dict[str, FreezingCost]]:
    """Cost of freezing by language: of ``core``, of ``random``, and of the core against random (``against``)."""
    found: dict[str, dict[str, FreezingCost]] = {}
    for cost in cost_of_freezing(runs):
        kind = "against" if cost.control else "core" if cost.region.startswith("core") else "random"
        found.setdefault(cost.lang, {})[kind] = cost
    return found


def cost(runs: Sequence[Results]) -> Table:
    """Cost of freezing (perplexity frozen / free) of core and random, and their ratio by seed."""
    trained = {lang for run in runs for lang in (run.data or {}).get("target", [])}
    num_seeds = len({run.seed for run in runs})
    by_seed = f"{{:.3f}} ({each('{:.3f}', num_seeds)})"
    columns = dict.fromkeys(("core, frozen / free", "random, frozen / free"), "{:.3f} ({:.3f}-{:.3f})")
    table = Table({"language": "{}", **columns, "core / random (by seed)": by_seed})
    for lang, costs in costs_by_language(runs).items():
        own = [spread_of([math.exp(nats) for nats in costs[kind].nats.values()]) for kind in ("core", "random")]
        seeds = [math.exp(nats) for _, nats in sorted(costs["against"].nats.items())]
        name = f"{lang} (trained)" if lang in trained else lang
        table.add(name, *own, [costs["against"].ratio, *seeds])
    return table


def readme(runs: Sequence[Results]) -> Table:
    """Damage and cost of freezing in a few languages."""
    values, costs = damaged(runs), costs_by_language(runs)
    columns = dict.fromkeys(("intact", "core damaged", "random damaged"), "{:.4g}")
    table = Table({"language": "{}", **columns, "core, frozen / free": "{:.3f}", "random, frozen / free": "{:.3f}"})
    for lang in SMALL:
        if lang in costs:
            cells = [mean_perplexity(of_language(values[kind], lang)) for kind in ("base", "core", "random")]
            table.add(lang, *cells, costs[lang]["core"].ratio, costs[lang]["random"].ratio)
    return table


def scores(runs: Sequence[Results]) -> tuple[Table, list[str]]:
    """For each score, perplexity after damage and the orderings; and the pairs in which an ordering fails."""
    kinds = ("base", "core", "matched", "random", "peripheral")
    columns = dict.fromkeys(("intact", *kinds[1:]), "{:.4g}")
    table = Table({"score": "{}", **columns, **{f"{high} > {low}": "{} of {}" for high, low in ORDERINGS}})
    broken = []
    for score in SCORES:
        values = damaged([run for run in runs if run.region and run.region["score"] == score])
        if not values:
            continue
        counts = [holds(values[high], values[low]) for high, low in ORDERINGS]
        table.add(score, *(mean_perplexity(values[kind].values()) for kind in kinds), *counts)
        for high, low in ORDERINGS:
            pairs = [f"{lang}/{seed}" for (lang, seed), nats in values[high].items() if nats <= values[low][lang, seed]]
            broken += [f"{score}: {high} > {low} fails in {', '.join(pairs)}"] * bool(pairs)
    return table, broken


def grid(runs: Sequence[Results]) -> dict[str, Table]:
    """Perplexity by region and its size, and the time of perturbing over that of evaluating."""
    nats: dict[str, dict[float, list[float]]] = {}
    intact = {(p.lang, p.seed): p.nats for p in points(runs) if p.stage == "base"}
    for p in points(runs):
        if p.stage == "perturbed" and p.condition.fraction is not None:
            nats.setdefault(p.condition.kind, {}).setdefault(p.condition.fraction, []).append(p.nats)
    fractions = sorted({fraction for own in nats.values() for fraction in own})
    table = Table({"region": "{}", **{f"{fraction:.0%}": "{:.4g}" for fraction in fractions}})
    table.add("none (intact)", *[mean_perplexity(intact.values())] * len(fractions))
    for kind, own in nats.items():
        table.add(kind, *(mean_perplexity(own[fraction]) if fraction in own else None for fraction in fractions))
    shares = [run.seconds["perturbing"] / run.seconds["evaluating"] for run in runs]
    cost_of_it = Table({"perturbing and restoring / evaluating": "{:.2%} to {:.2%}"}, [[[min(shares), max(shares)]]])
    return {"perturbation_grid": table, "perturbation_cost": cost_of_it}


def monolingual(perturbed: Sequence[Results], located: Sequence[Results]) -> dict[str, Table]:
    """Overlap of the regions of single languages, and whether a monolingual region hurts its own language most.

    Args:
        perturbed: a run for each seed that perturbed the regions ``mono:LANG``.
        located: a run for each seed that located regions, with ``overlap.csv`` in its folder.
    """
    excess: dict[str, list[float]] = {}
    for run in sorted(perturbed, key=lambda run: run.seed):
        for found in own_and_others([run]):
            for lang in found.regions:
                excess.setdefault(lang, []).append(found.own(lang))
    values = [value for own in excess.values() for value in own]
    by_seed = each("{:.2f}", len(perturbed))
    overlap = [row for run in located for row in _overlap(run)]
    measured, chance = (statistics.fmean(float(row[key]) for row in overlap) for key in ("jaccard", "chance"))
    pairs = Table({"regions of two languages": "{}", "measured": "{:.3f}", "by chance": "{:.3f}"})
    pairs.add("Jaccard", measured, chance)
    own = ["own language beyond its share", [sum(value > 0 for value in values), len(values)]]
    columns = {"language": "{}", "nats per token beyond the share, by seed": by_seed}
    return {
        "monolingual_overlap": pairs,
        "monolingual_orderings": Table(COUNTS, [own]),
        "monolingual_excess": Table(columns, [[lang, found] for lang, found in excess.items()]),
    }


def _overlap(run: Results) -> list[Mapping[str, str]]:
    with (run.folder / "overlap.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["one"].startswith("language:") and row["other"].startswith("language:")]


def baselines(runs: Sequence[Results]) -> dict[str, Table]:
    """Test perplexity of the base models and of n-gram models of each language (``base.csv`` of each run)."""
    columns = ("unigram", "trigram", "model")
    found: dict[str, list[dict[str, float]]] = {}
    for run in runs:
        with (run.folder / "base.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["lang"], []).append({name: float(row[name]) for name in columns})
    table = Table({"language": "{}", **dict.fromkeys(columns, "{:.2f}")})
    for lang, rows in found.items():
        table.add(lang, *(statistics.geometric_mean([row[name] for row in rows]) for name in columns))
    better = [row["model"] < row["trigram"] for rows in found.values() for row in rows]
    return {
        "baselines": table,
        "baselines_orderings": Table(COUNTS, [["model < trigram", [sum(better), len(better)]]]),
    }
