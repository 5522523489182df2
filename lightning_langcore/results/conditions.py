"""Conditions of experiments, each a set of runs that differ in the seed only, and their points in nats per token."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lightning_langcore.results.record import Results

KINDS = ("core", "random", "peripheral", "file", "none")
_ROUND = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)
_NEAR = 0.05  # relative distance within which a number counts as the round one
_WHERE_UNEQUAL = ("length", "window", "text", "target")  # in a label only where the runs differ
_ABSENT = {"data": "plain"}


class Condition(NamedTuple):
    """The settings of a run except for the seed; runs of equal conditions are averaged.

    ``frozen`` is ``None`` if nothing was trained. ``data`` says how the text differs from plain text that is read once,
    as ``general x5``, and what a monitor did; see :func:`data_labels`. Fields that do not apply are ``None``.
    """

    kind: str
    frozen: bool | None
    score: str | None
    fraction: float | None
    method: str | None
    strength: float | None
    model: str | None
    data: str | None = None


class Point(NamedTuple):
    """One measurement of one condition; ``nats`` is per token, and infinite if the run stored none."""

    condition: Condition
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
    """The rows of one split as points of conditions.

    The ``base`` rows of a run, of its intact model, make points of each of its conditions and seeds. Settings that a
    row lacks are taken from the run's other rows where these agree, then from the run's region.
    """
    return [point for own in points_by_run(list(runs), split) for point in own]


def points_by_run(runs: Sequence[Results], split: str = "test") -> list[list[Point]]:
    """The points of each run; see :func:`points`.

    The points of a run on a known text that neither perturbed nor froze its region have no region, although the run
    may have measured the drift of one.
    """
    made = []
    for run, data in zip(runs, data_labels(runs), strict=True):
        found: list[Point] = []
        rows = [row for row in run.perplexity if row["split"] == split]
        perturbed = [row for row in rows if row["stage"] != "base"]
        defaults = _defaults(run, perturbed or rows)
        trained = any(row["stage"] in ("training", "final") for row in perturbed)
        frozen = True if run.guard is not None else (False if trained else None)
        conditions = {id(row): _condition(run, defaults | row, frozen, data) for row in rows}
        found += [
            Point(conditions[id(row)], row["seed"], row["stage"], row["samples"], row["lang"], _nats(row))
            for row in perturbed
        ]
        intact: dict[str, float] = {}
        for row in rows:
            if row["stage"] == "base":
                intact.setdefault(row["lang"], _nats(row))
        for condition, seed in dict.fromkeys((conditions[id(row)], row["seed"]) for row in perturbed or rows):
            found += [Point(condition, seed, "base", 0, lang, nats) for lang, nats in intact.items()]
        made.append(found)
    return made


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


def _condition(run: Results, row: Mapping[str, Any], frozen: bool | None, data: str | None) -> Condition:
    if frozen is False and run.data and all(other["stage"] != "perturbed" for other in run.perplexity):
        return Condition("none", False, None, None, None, None, run.model.get("name"), data)
    score = (run.region or {}).get("score") if row["variant"] != "random" else None
    fraction, method, strength = (row.get(key) for key in ("fraction", "method", "strength"))
    return Condition(row["variant"], frozen, score, fraction, method, strength, run.model.get("name"), data)


def data_labels(runs: Sequence[Results], without: Collection[str] = ()) -> list[str | None]:
    """A label for each run that says how its text differs from plain text read once; ``None``: it does not differ.

    Length and window of the noise, the target languages, and whether the text is conversations, are part of the label
    only where the runs differ in them.

    Args:
        runs: the runs that are compared.
        without: settings to leave out: ratio, epochs, noise, length, window, monitor, text, target.
    """
    every = [_label_parts(run) for run in runs]
    given = [parts for run, parts in zip(runs, every, strict=True) if run.data]
    same = {key for key in _WHERE_UNEQUAL if len({parts[key] for parts in given if parts.get(key)}) < 2}
    shown = [[text for key, text in parts.items() if text and key not in same | set(without)] for parts in every]
    return [", ".join(texts) or None for texts in shown]


def _label_parts(run: Results) -> dict[str, str | None]:
    data = run.data or {}
    noise = data.get("noise") or {}
    ratio, epochs, rate = meant(run, "ratio"), meant(run, "epochs"), noise.get("rate") or 0.0
    noisy = rate > 0
    target, window = data.get("target") or [], noise.get("window")
    on_conversations = any(part.get("kind") == "conversations" for part in data.get("parts") or [])
    return {
        "ratio": f"{mixed_in(run)} x{ratio:g}" if ratio > 0 else None,
        "epochs": f"{epochs:g} epochs" if epochs > 1 else None,
        "noise": f"noise {noise.get('kind', '')} {_text('{:.3%}', rate)}" if noisy else None,
        "length": f"length {noise['length']}" if noisy and noise.get("length") is not None else None,
        "window": f"window {' to '.join(_text('{:.3%}', end) for end in window)}" if noisy and window else None,
        "text": "conversations" if on_conversations else "text",
        "target": f"on {' '.join(target) if len(target) < 4 else f'{len(target)} languages'}" if target else None,
        "monitor": acted(run),
    }


def acted(run: Results) -> str | None:
    """The action of the monitor on flagged steps, as ``skip``; ``None``: it only logged them, or there was none."""
    monitor = run.monitor or {}
    action = monitor.get("action") or ("skip" if monitor.get("num_skipped") else None)
    return None if action == "log" else action


def mixed_in(run: Results) -> str:
    """The names of the sources that are mixed in to the target, joined by ``+``, as ``general``."""
    data = run.data or {}
    sources = dict.fromkeys(part.get("source") for part in data.get("parts") or [])
    own = {*(data.get("target") or []), "conversations"}
    return "+".join(str(source) for source in sources if source not in own) or "general"


def meant(run: Results, key: str) -> float:
    """The configured ``ratio`` or ``epochs``, else the :func:`nominal` value of the measured one; 0: not known."""
    data = run.data or {}
    asked = (data.get("asked") or {}).get(key)
    return nominal(data.get(key) or 0.0) if asked is None else float(f"{asked:.6g}")


def nominal(value: float) -> float:
    """The round number nearest to a measured ratio or number of epochs, if it is near: 4.97 -> 5, 1.3 -> 1.3."""
    if not 0 < value < math.inf:
        return value
    power = math.floor(math.log10(value))
    nearest = min(_ROUND, key=lambda digit: abs(math.log(value / 10**power / digit)))
    near = abs(value / 10**power / nearest - 1) <= _NEAR
    return float(f"{nearest}e{power}") if near else float(f"{value:.2g}")


def spread(points: Iterable[Point]) -> Spread | None:
    """Mean and range of nats over seeds; points of equal seed are averaged first. ``None`` if there are no points."""
    return over_seeds((point.seed, point.nats) for point in points)


def over_seeds(values: Iterable[tuple[int, float]]) -> Spread | None:
    """Mean and range over seeds of (seed, value) pairs; see :func:`spread`."""
    by_seed: dict[int, list[float]] = {}
    for seed, value in values:
        by_seed.setdefault(seed, []).append(value)
    means = [math.fsum(own) / len(own) for own in by_seed.values()]
    return Spread(math.fsum(means) / len(means), min(means), max(means), len(means)) if means else None


def labels(conditions: Iterable[Condition]) -> dict[Condition, str]:
    """A name for each condition, in reading order: kind, frozen or free, and in brackets the settings that differ."""
    texts = {"fraction": "{:.3%}", "strength": "strength {:g}"}
    unique = sorted(set(conditions), key=_order)
    named: dict[Condition, str] = {}
    for condition in unique:
        peers = [other for other in unique if other[:2] == condition[:2]]
        varying = [field for field in Condition._fields[2:] if len({getattr(peer, field) for peer in peers}) > 1]
        extra = [_text(texts.get(field, "{}"), getattr(condition, field), _ABSENT.get(field, "–")) for field in varying]
        name = "no region" if condition.kind == "none" else condition.kind
        name += {True: ", frozen", False: ", free", None: ""}[condition.frozen]
        named[condition] = name + (f" ({', '.join(extra)})" if extra else "")
    return named


def _text(template: str, value: Any, absent: str = "–") -> str:
    if value is None:
        return absent
    text = template.format(value)
    return text.rstrip("%0").rstrip(".") + " %" if template.endswith("%}") else text


def _order(condition: Condition) -> tuple[Any, ...]:
    kind = KINDS.index(condition.kind) if condition.kind in KINDS else len(KINDS)
    numbers = tuple(-1.0 if value is None else value for value in (condition.fraction, condition.strength))
    frozen = {True: 0, False: 1, None: 2}[condition.frozen]
    return (kind, condition.kind, frozen, *numbers, *map(str, condition[:-1]), _natural(condition.data or ""))


def _natural(text: str) -> list[tuple[str, float]]:
    """A sort key with ``general x5`` before ``general x10``."""
    return [(prefix, float(number or 0)) for prefix, number in re.findall(r"(\D*)(\d+(?:\.\d+)?)?", text)]
