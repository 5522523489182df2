"""The arms that several runs make: runs equal in everything but the seed, and their points in nats per token."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lightning_langcore.results import Results

KINDS = ("core", "random", "peripheral", "file", "none")


class Arm(NamedTuple):
    """What makes runs comparable: equal in everything here, they differ in the seed only.

    ``frozen`` is ``None`` where nothing was trained. Fields that do not apply are ``None``.
    """

    kind: str
    frozen: bool | None
    score: str | None
    fraction: float | None
    method: str | None
    strength: float | None
    model: str | None


class Point(NamedTuple):
    """One measurement of one arm; ``nats`` per token, infinite where the run stored none."""

    arm: Arm
    seed: int
    stage: str
    samples: int
    lang: str
    nats: float


class Spread(NamedTuple):
    """Mean and range over seeds, in nats: exp(mean) is the geometric mean of the perplexities."""

    mean: float
    low: float
    high: float
    num_seeds: int


def points(runs: Iterable[Results], split: str = "test") -> list[Point]:
    """The rows of one split as points of arms. A run's intact ``base`` rows count for each of its arms and seeds.

    Setting keys that a row lacks are taken from the run's other rows where these agree, then from the run's region.
    """
    found: list[Point] = []
    for run in runs:
        rows = [row for row in run.perplexity if row["split"] == split]
        damaged = [row for row in rows if row["stage"] != "base"]
        defaults = _defaults(run, damaged or rows)
        trained = any(row["stage"] in ("training", "final") for row in damaged)
        frozen = True if run.guard is not None else (False if trained else None)
        arms = {id(row): _arm(run, defaults | row, frozen) for row in rows}
        found += [
            Point(arms[id(row)], row["seed"], row["stage"], row["samples"], row["lang"], _nats(row)) for row in damaged
        ]
        intact: dict[str, float] = {}
        for row in rows:
            if row["stage"] == "base":
                intact.setdefault(row["lang"], _nats(row))
        for arm, seed in dict.fromkeys((arms[id(row)], row["seed"]) for row in damaged or rows):
            found += [Point(arm, seed, "base", 0, lang, nats) for lang, nats in intact.items()]
    return found


def _nats(row: Mapping[str, Any]) -> float:
    return float(row.get("nats_per_token", math.inf))


def _defaults(run: Results, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    region = run.region or {}
    defaults: dict[str, Any] = {"variant": region.get("kind", "none"), "fraction": region.get("fraction")}
    for key in ("variant", "fraction", "method", "strength"):
        values = {row[key] for row in rows if key in row}
        if len(values) == 1:
            defaults[key] = values.pop()
    return defaults


def _arm(run: Results, row: Mapping[str, Any], frozen: bool | None) -> Arm:
    score = (run.region or {}).get("score") if row["variant"] != "random" else None
    fraction, method, strength = (row.get(key) for key in ("fraction", "method", "strength"))
    return Arm(row["variant"], frozen, score, fraction, method, strength, run.model.get("name"))


def spread(points: Iterable[Point]) -> Spread | None:
    """Mean, least and greatest nats over seeds; runs that share a seed are averaged first. ``None`` of no points."""
    by_seed: dict[int, list[float]] = {}
    for point in points:
        by_seed.setdefault(point.seed, []).append(point.nats)
    means = [math.fsum(values) / len(values) for values in by_seed.values()]
    return Spread(math.fsum(means) / len(means), min(means), max(means), len(means)) if means else None


def labels(arms: Iterable[Arm]) -> dict[Arm, str]:
    """A name for each arm, in reading order: kind, frozen or free, and in brackets only what else tells arms apart."""
    texts = {"fraction": "{:.3%}", "strength": "strength {:g}"}
    unique = sorted(set(arms), key=_order)
    named: dict[Arm, str] = {}
    for arm in unique:
        peers = [other for other in unique if other[:2] == arm[:2]]
        told = [field for field in Arm._fields[2:] if len({getattr(peer, field) for peer in peers}) > 1]
        extra = [_text(texts.get(field, "{}"), getattr(arm, field)) for field in told]
        name = "no region" if arm.kind == "none" else arm.kind
        name += {True: ", frozen", False: ", free", None: ""}[arm.frozen]
        named[arm] = name + (f" ({', '.join(extra)})" if extra else "")
    return named


def _text(template: str, value: Any) -> str:
    if value is None:
        return "–"
    text = template.format(value)
    return text.rstrip("%0").rstrip(".") + " %" if text.endswith("%") else text


def _order(arm: Arm) -> tuple[Any, ...]:
    kind = KINDS.index(arm.kind) if arm.kind in KINDS else len(KINDS)
    numbers = tuple(-1.0 if value is None else value for value in (arm.fraction, arm.strength))
    return (kind, arm.kind, {True: 0, False: 1, None: 2}[arm.frozen], *numbers, *map(str, arm))
