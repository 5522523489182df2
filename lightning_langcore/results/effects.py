"""Effects of training: the change of perplexity from base to end of a run, as a function of a setting of the text.

Each run is compared with its own base, in nats per token or bits per byte; means are over languages, then over seeds.
No direction of an effect is assumed.
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

# Parts of the label that vary along a setting. The ratio changes the epochs of the target, too.
_ALONG = {"ratio": ("ratio", "epochs"), "epochs": ("epochs",), "noise.rate": ("noise",)}
_DEFAULT = {"ratio": 0.0, "epochs": 1.0, "noise.rate": 0.0}

Series = dict[float, list[Results]]
"""Runs by the value of a setting, or by the fraction of a region (0: none), ascending."""


def responds(run: Results) -> bool:
    """Whether the run trained an unperturbed model on a known text to the end, so that end and base can be compared."""
    stages = {row["stage"] for row in run.perplexity}
    return bool(run.data) and "final" in stages and "perturbed" not in stages and not stopped(run)


def stopped(run: Results) -> bool:
    """Whether the run ended before its planned last step, for example because its monitor stopped it."""
    read = max((point["share"] for point in (run.data or {}).get("course") or []), default=0.0)
    ended = any(row["stage"] == "final" for row in run.perplexity)
    return ended and run.status != "completed" and read < 1


def setting(run: Results, key: str) -> float:
    """Measured value of a setting.

    ``ratio``: general tokens per token of the target; ``epochs``: of the target; ``noise.rate``: share of documents.
    """
    data = run.data or {}
    if key == "noise.rate":
        return float((data.get("noise") or {}).get("rate") or 0.0)
    return float(data.get(key) or _DEFAULT[key])


def noise_kind(run: Results) -> str:
    """``repeat``, ``nonword`` ...; empty without noise."""
    return str(((run.data or {}).get("noise") or {}).get("kind", ""))


def rounded(run: Results, key: str) -> float:
    """The configured or nominal value of a setting, see :func:`meant`; less than one epoch counts as one."""
    if key == "noise.rate":
        return setting(run, key)
    return max(_DEFAULT[key], meant(run, key))


def changes(run: Results, split: str = "test", measure: str = "nats_per_token") -> dict[str, float]:
    """Final minus base by language; infinite if the final value is. Languages without a finite base are left out."""
    ends: dict[str, dict[str, float]] = {"base": {}, "final": {}}
    for row in run.perplexity:
        if row["split"] == split and row["stage"] in ends:
            ends[row["stage"]][row["lang"]] = row.get(measure, math.inf)
    base, final = ends["base"], ends["final"]
    return {lang: final[lang] - base[lang] for lang in final if base.get(lang, math.inf) < math.inf}


def _mean(values: Collection[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def change(run: Results, group: str, measure: str = "nats_per_token") -> float | None:
    """Mean of the changes over the languages of a group; ``None`` if the group is empty.

    Args:
        run: a run for which :func:`responds` is true.
        group: ``target``: the languages trained on by name, ``others``: all other languages, both on the test split;
            ``answers``: held-out answers of all languages.
        measure: ``nats_per_token`` or ``bits_per_byte``.
    """
    found = changes(run, "test_answers" if group == "answers" else "test", measure)
    target = set((run.data or {}).get("target") or [])
    keep: dict[str, Callable[[str], bool]] = {"target": target.__contains__, "others": lambda lang: lang not in target}
    return _mean([value for lang, value in found.items() if group == "answers" or keep[group](lang)])


def target_name(runs: Iterable[Results]) -> str | None:
    """The target languages, as ``zh ar`` or ``8 languages``; ``None`` if the runs differ in them or have none."""
    targets = {tuple((run.data or {}).get("target") or ()) for run in runs}
    if len(targets) != 1:
        return None
    (target,) = targets
    return (" ".join(target) if len(target) < 5 else f"{len(target)} languages") or None


def drift(run: Results, where: str) -> float | None:
    """The last finite value of ``region``, ``rest`` or ``unmoved`` in ``results.drift``."""
    rows = sorted(run.drift, key=lambda row: row.get("samples", 0))
    values = [row[where] for row in rows if math.isfinite(row.get(where, math.nan))]
    return float(values[-1]) if values else None


def spread_of(runs: Iterable[Results], measured: Callable[[Results], float | None]) -> Spread | None:
    """Mean and range over seeds of a value of each run; runs whose value is ``None`` are left out."""
    values = ((run.seed, measured(run)) for run in runs)
    return over_seeds((seed, value) for seed, value in values if value is not None)


def trained_conditions(runs: Sequence[Results], without: Collection[str] = ()) -> list[Condition]:
    """The condition of each run; the condition of a free run has no region, because the region had no effect on it.

    Args:
        runs: the runs that are compared; :func:`responds` is true for all of them.
        without: settings to leave out of ``data``, see :func:`~lightning_langcore.results.conditions.data_labels`.
    """
    conditions = []
    for run, own, data in zip(runs, points_by_run(runs), data_labels(runs, without), strict=True):
        free = Condition("none", False, None, None, None, None, run.model.get("name"), data)
        conditions.append(next((point.condition._replace(data=data) for point in own if point.condition.frozen), free))
    return conditions


def clean_partners(runs: Sequence[Results]) -> dict[int, Results]:
    """For each run with noise, by its ``id``, the run without noise of the same experiment, seed and condition.

    Args:
        runs: runs for which :func:`responds` is true; a run without such a partner is left out of the result.
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
    line: Condition  # label without the setting
    plain: Condition  # label without the setting and the settings that depend on it
    kind: str | None  # kind of noise, or sources that are mixed in


def sweep(runs: Iterable[Results], key: str) -> dict[Condition, Series]:
    """Series along a setting of the text: conditions that differ in the setting only, with their runs by its value.

    A series holds runs of one experiment, at least one of which has a value other than the default (no general text,
    one epoch, no noise). If the experiment has no run with the default value, otherwise equal runs of experiments that
    do not change the text are used.
    """
    own = [run for run in runs if responds(run)]
    members = _members(own, key)
    lines: dict[tuple[str, Condition, Condition], list[_Member]] = {}
    kinds = {member.kind for member in members if member.kind}
    for member in members:
        if member.value != _DEFAULT[key]:
            data = ", ".join(filter(None, (member.kind if len(kinds) > 1 else None, member.line.data))) or None
            line = member.line._replace(data=data)
            lines.setdefault((member.run.experiment, line, member.plain), []).append(member)
    changing = {run.experiment for run in own if any(rounded(run, k) != _DEFAULT[k] for k in KEYS)}
    found: dict[Condition, Series] = {}
    for (experiment, line, plain), some in lines.items():
        zero = [m for m in members if m.value == _DEFAULT[key] and m.plain == plain]
        same = [m for m in zero if m.run.experiment == experiment]
        once = key == "epochs" or all(rounded(m.run, "epochs") == 1 for m in some)
        same = same or [m for m in zero if m.run.experiment not in changing and once]
        data = ", ".join(filter(None, (line.data, experiment if line in found else None))) or None
        found[line._replace(data=data)] = _series((m.value, m.run) for m in [*same, *some])
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
    """Gain of the target languages in bits per byte: base minus final, mean over languages, test split."""
    value = change(run, "target", "bits_per_byte")
    return None if value is None else -value


def loss(run: Results) -> float | None:
    """Loss of the other languages in bits per byte: final minus base, mean over languages, test split."""
    return change(run, "others", "bits_per_byte")


def adapted(runs: Iterable[Results]) -> list[Results]:
    """Runs for the gain-loss trade-off: an unperturbed model was trained on text of some of the evaluated languages.

    Runs with noise or on conversations are left out, and experiments that sweep a setting of the text, unless their
    name starts with ``adapt``.
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
    """Whether the run was trained on conversations; its evaluation text is then general text in every language."""
    return any(part.get("kind") == "conversations" for part in (run.data or {}).get("parts") or [])


def tradeoffs(runs: Iterable[Results]) -> dict[Condition, Series]:
    """Conditions that differ in the fraction of the frozen region only, with their adapted runs by the fraction."""
    own = adapted(runs)
    found: dict[Condition, list[tuple[float, Results]]] = {}
    for run, condition in zip(own, trained_conditions(own), strict=True):
        found.setdefault(condition._replace(fraction=None), []).append((condition.fraction or 0.0, run))
    return {condition: _series(found[condition]) for condition in labels(found)}
