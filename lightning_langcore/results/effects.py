"""What training on a text did to a model: how far runs end from their base, along a setting of the text.

Runs are compared with their own base, in nats per token or bits per byte, and averaged over languages, then seeds.
Nothing here assumes which way a setting works.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from lightning_langcore.results.conditions import (
    Condition,
    Spread,
    data_labels,
    labels,
    meant,
    mixed_in,
    over_seeds,
    points_by_run,
)
from lightning_langcore.results.record import Results

KEYS = ("ratio", "epochs", "noise.rate")
GROUPS = ("target", "others", "answers")

# What a label must leave out so that runs along the setting share it. The ratio decides how often the target is read.
_ALONG = {"ratio": ("ratio", "epochs"), "epochs": ("epochs",), "noise.rate": ("noise",)}
_DEFAULT = {"ratio": 0.0, "epochs": 1.0, "noise.rate": 0.0}

Series = dict[float, list[Results]]
"""Runs by the value of a setting, or by the fraction of a region (0: none), ascending."""


def responds(run: Results) -> bool:
    """Whether it trained an intact model on a known text to the end, so that its end can be read against its base."""
    stages = {row["stage"] for row in run.perplexity}
    return bool(run.data) and "final" in stages and "perturbed" not in stages and not stopped(run)


def stopped(run: Results) -> bool:
    """Whether its last step was not the planned one, as after a monitor stopped it: its end is that of no other run."""
    read = max((point["share"] for point in (run.data or {}).get("course") or []), default=0.0)
    ended = any(row["stage"] == "final" for row in run.perplexity)
    return ended and run.status != "completed" and read < 1


def setting(run: Results, key: str) -> float:
    """General tokens to one of the target (``ratio``), ``epochs`` of the target, or share of noise (``noise.rate``)."""
    data = run.data or {}
    if key == "noise.rate":
        return float((data.get("noise") or {}).get("rate") or 0.0)
    return float(data.get(key) or _DEFAULT[key])


def noise_kind(run: Results) -> str:
    """``repeat``, ``nonword`` ...; empty without noise."""
    return str(((run.data or {}).get("noise") or {}).get("kind", ""))


def rounded(run: Results, key: str) -> float:
    """The setting as it was meant, see :func:`meant`; less than an epoch is one."""
    if key == "noise.rate":
        return setting(run, key)
    return max(_DEFAULT[key], meant(run, key))


def changes(run: Results, split: str = "test", measure: str = "nats_per_token") -> dict[str, float]:
    """Final minus base by language; infinite where only the end is. A language without a finite base is left out."""
    ends: dict[str, dict[str, float]] = {"base": {}, "final": {}}
    for row in run.perplexity:
        if row["split"] == split and row["stage"] in ends:
            ends[row["stage"]][row["lang"]] = row.get(measure, math.inf)
    base, final = ends["base"], ends["final"]
    return {lang: final[lang] - base[lang] for lang in final if base.get(lang, math.inf) < math.inf}


def _mean(values: Collection[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def change(run: Results, group: str, measure: str = "nats_per_token") -> float | None:
    """Mean of the changes over languages; ``None`` where the group has none.

    Args:
        run: one that :func:`responds`.
        group: ``target``: the languages trained on by name, ``others``: the rest, both on the test split; ``answers``:
            held-out answers, all languages.
        measure: ``nats_per_token`` or ``bits_per_byte``.
    """
    found = changes(run, "test_answers" if group == "answers" else "test", measure)
    target = set((run.data or {}).get("target") or [])
    keep: dict[str, Callable[[str], bool]] = {"target": target.__contains__, "others": lambda lang: lang not in target}
    return _mean([value for lang, value in found.items() if group == "answers" or keep[group](lang)])


def target_name(runs: Iterable[Results]) -> str | None:
    """What runs were trained on by name, as ``zh ar`` or ``8 languages``; ``None`` where they differ or nothing is."""
    targets = {tuple((run.data or {}).get("target") or ()) for run in runs}
    if len(targets) != 1:
        return None
    (target,) = targets
    return (" ".join(target) if len(target) < 5 else f"{len(target)} languages") or None


def drift(run: Results, where: str) -> float | None:
    """A figure of ``results.drift`` (``region``, ``rest`` or ``unmoved``) the last time it was measured."""
    rows = sorted(run.drift, key=lambda row: row.get("samples", 0))
    values = [row[where] for row in rows if math.isfinite(row.get(where, math.nan))]
    return float(values[-1]) if values else None


def spread_of(runs: Iterable[Results], measured: Callable[[Results], float | None]) -> Spread | None:
    """Mean and range over seeds of a number of each run; runs without it do not count."""
    values = ((run.seed, measured(run)) for run in runs)
    return over_seeds((seed, value) for seed, value in values if value is not None)


def trained_conditions(runs: Sequence[Results], without: Collection[str] = ()) -> list[Condition]:
    """The arm of each run, all of which :func:`responds`; a free one has no region, for the region had no part in it.

    Args:
        runs: those that are read side by side.
        without: what to leave out of ``data``, see :func:`~lightning_langcore.results.conditions.data_labels`.
    """
    conditions = []
    for run, own, data in zip(runs, points_by_run(runs), data_labels(runs, without), strict=True):
        free = Condition("none", False, None, None, None, None, run.model.get("name"), data)
        conditions.append(next((point.condition._replace(data=data) for point in own if point.condition.frozen), free))
    return conditions


def clean_partners(runs: Sequence[Results]) -> dict[int, Results]:
    """For each run with noise, by its ``id``, the one that is equal in experiment, seed and arm but has no noise.

    Args:
        runs: all of which :func:`responds`; a run that has no such partner among them is left out.
    """
    clean: dict[tuple[str, int, Condition], Results] = {}
    noisy = []
    for run, condition in zip(runs, trained_conditions(runs, ("noise", "length", "window")), strict=True):
        key = (run.experiment, run.seed, condition)
        if setting(run, "noise.rate"):
            noisy.append((run, key))
        else:
            clean.setdefault(key, run)
    return {id(run): clean[key] for run, key in noisy if key in clean}


class _Member(NamedTuple):
    run: Results
    value: float
    line: Condition  # without the setting
    plain: Condition  # without anything that belongs to the setting
    kind: str | None  # of noise, or what is mixed in


def sweep(runs: Iterable[Results], key: str) -> dict[Condition, Series]:
    """Lines along a setting of the text: arms that are equal but for it, each with its runs by value.

    A line is made of the runs of one experiment and has a value that is not the default (no general text, one epoch, no
    noise). Where its experiment has no run with the default, those of experiments that change nothing about the text
    are taken, if they are equal otherwise.
    """
    own = [run for run in runs if responds(run)]
    members = _members(own, key)
    lines: dict[tuple[str, Condition, Condition], list[_Member]] = {}
    kinds = {member.kind for member in members if member.kind}
    for member in members:
        if member.value != _DEFAULT[key]:
            told = ", ".join(filter(None, (member.kind if len(kinds) > 1 else None, member.line.data))) or None
            line = member.line._replace(data=told)
            lines.setdefault((member.run.experiment, line, member.plain), []).append(member)
    changing = {run.experiment for run in own if any(rounded(run, k) != _DEFAULT[k] for k in KEYS)}
    found: dict[Condition, Series] = {}
    for (experiment, line, plain), some in lines.items():
        zero = [m for m in members if m.value == _DEFAULT[key] and m.plain == plain]
        same = [m for m in zero if m.run.experiment == experiment]
        once = key == "epochs" or all(rounded(m.run, "epochs") == 1 for m in some)
        same = same or [m for m in zero if m.run.experiment not in changing and once]
        told = ", ".join(filter(None, (line.data, experiment if line in found else None))) or None
        found[line._replace(data=told)] = _series((m.value, m.run) for m in [*same, *some])
    return {condition: found[condition] for condition in labels(found)}


def _members(runs: Sequence[Results], key: str) -> list[_Member]:
    lines = trained_conditions(runs, _ALONG[key])
    plain = trained_conditions(runs, (*_ALONG[key], *(("length", "window") if key == "noise.rate" else ())))
    members = []
    for run, line, bare in zip(runs, lines, plain, strict=True):
        value = rounded(run, key)
        kind = None
        if value != _DEFAULT[key] and key != "epochs":
            kind = mixed_in(run) if key == "ratio" else f"noise {noise_kind(run)}"
        members.append(_Member(run, value, line, bare, kind))
    return members


def _series(pairs: Iterable[tuple[float, Results]]) -> Series:
    series: Series = {}
    for value, run in pairs:
        series.setdefault(value, []).append(run)
    return dict(sorted(series.items()))


def gain(run: Results) -> float | None:
    """Bits per byte that the target languages gained: base minus final, mean over languages, test split."""
    value = change(run, "target", "bits_per_byte")
    return None if value is None else -value


def loss(run: Results) -> float | None:
    """Bits per byte that the other languages lost: final minus base, mean over languages, test split."""
    return change(run, "others", "bits_per_byte")


def adapted(runs: Iterable[Results]) -> list[Results]:
    """Runs that trained an intact model on text of some of the languages that were scored, to trade gain for loss.

    Noise, conversations and experiments that sweep a setting of the text are read elsewhere, unless named adapt...
    """
    own = [run for run in runs if responds(run) and change(run, "target") is not None]
    own = [run for run in own if change(run, "others") is not None]
    swept = {
        run.experiment
        for key in KEYS
        for run in own
        if any(o.experiment == run.experiment and rounded(o, key) != rounded(run, key) for o in own)
    }
    kept = [run for run in own if run.experiment.startswith("adapt") or run.experiment not in swept]
    return [run for run in kept if not setting(run, "noise.rate") and not on_conversations(run)]


def on_conversations(run: Results) -> bool:
    """Whether it was trained on conversations: the text it is scored on is then general text, whatever the language."""
    return any(part.get("kind") == "conversations" for part in (run.data or {}).get("parts") or [])


def tradeoffs(runs: Iterable[Results]) -> dict[Condition, Series]:
    """Arms that are equal but for the fraction of the frozen region, each with the adapted runs by that fraction."""
    own = adapted(runs)
    found: dict[Condition, list[tuple[float, Results]]] = {}
    for run, condition in zip(own, trained_conditions(own), strict=True):
        found.setdefault(condition._replace(fraction=None), []).append((condition.fraction or 0.0, run))
    return {condition: _series(found[condition]) for condition in labels(found)}
