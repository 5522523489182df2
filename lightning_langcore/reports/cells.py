"""The texts of cells that describe a group of runs, which differ in the seed alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from lightning_langcore.results import trajectories
from lightning_langcore.results.effects import change, drift, on_conversations, spread_of, target_name
from lightning_langcore.results.number_format import ABSENT, count, range_text, share, times
from lightning_langcore.results.record import ROUNDED_AWAY, Results

MASKED = "A step whose rows are all masked counts as skipped."
MONITOR_SHARES = ("recall", "precision", "false alarms")

_CONVERSATION_COLUMNS = {"trained on": "general text", "others": "general text, others"}
_NO_TIME = {0.0: "did not leave", math.inf: "never"}


def effects(runs: Sequence[Results]) -> dict[str, str]:
    """What training did, by the name of the column; an empty text where the runs have no such measurement."""
    groups = {"trained on": "target", "others": "others", "answers": "answers"}
    if runs and all(map(on_conversations, runs)):
        groups = {"answers": "answers", "trained on": "target", "others": "others"}
    ratios = {name: spread_of(runs, partial(change, group=group)) for name, group in groups.items()}
    texts = {name: range_text(ratio, times) for name, ratio in ratios.items()}
    texts["region moved"] = range_text(spread_of(runs, partial(drift, where="region")), share)
    texts["rest moved"] = range_text(spread_of(runs, partial(drift, where="rest")), share)
    unmoved = spread_of(runs, partial(drift, where="unmoved"))
    many = unmoved is not None and unmoved.mean >= ROUNDED_AWAY
    texts["rest that never moved"] = range_text(unmoved, share) if many else ""
    return texts


def column_names(names: Iterable[str], runs: Iterable[Results]) -> list[str]:
    """The names of :func:`effects` with the languages that all the runs were trained on, where these are the same.

    After conversations the text that is scored is general text, and is called that.
    """
    runs = list(runs)
    target = target_name(runs)
    if not any(map(on_conversations, runs)):
        return [f"{name} {target}" if target and name == "trained on" else name for name in names]
    both = "" if all(map(on_conversations, runs)) else "{} / "
    return [
        both.format(name) + _CONVERSATION_COLUMNS[name] if name in _CONVERSATION_COLUMNS else name for name in names
    ]


def num_seeds(runs: Iterable[Results]) -> str:
    """How many seeds the runs have."""
    return str(len({run.seed for run in runs}))


def recovery_text(runs: Iterable[Results], clean: Mapping[int, Results]) -> str:
    """Documents to recover from noise: mean and range over seeds.

    ``never`` for runs that did not recover, ``did not leave`` for runs that were never more than 1 % above.

    Args:
        runs: that differ in the seed.
        clean: see :func:`~lightning_langcore.results.effects.clean_partners`.
    """
    value = spread_of(runs, lambda run: trajectories.time_to_recover(run, clean.get(id(run))))
    if value is None:
        return ""
    low, high = (_NO_TIME.get(end) or count(end) for end in (value.low, value.high))
    if low == high:
        return low
    return f"{count(value.mean)} ({low}–{high})" if math.isfinite(value.mean) else f"{low}–{high}"


def recovery_level(runs: Iterable[Results], clean: Mapping[int, Results]) -> str:
    """What recovery from noise is measured against: ``the clean run``, ``the value before the noise`` or both.

    Empty where no run has a time to recover.
    """
    measured = [run for run in runs if trajectories.time_to_recover(run, clean.get(id(run))) is not None]
    before = "the value before the noise"
    names = {
        (True,): "the clean run",
        (False,): before,
        (False, True): f"the clean run or, where there is none, {before}",
    }
    return names.get(tuple(sorted({id(run) in clean for run in measured})), "")


def monitor_counts(runs: Sequence[Results]) -> dict[str, float]:
    """What the monitors of the runs counted, summed: ``flagged``, ``tagged``, ``caught`` ... and three shares of them.

    Returns:
        ``recall``: caught / tagged documents; ``precision``: flagged steps without the false alarms / flagged steps;
        ``false alarms``: false alarms / steps without a tag. A share whose denominator is 0 is absent, and so are the
        first two where nothing was tagged.
    """
    names = ("steps", "flagged", "skipped", "masked_rows", "tagged", "caught", "clean_steps", "false_alarms")
    sums = {name: sum(int((run.monitor or {}).get(f"num_{name}") or 0) for run in runs) for name in names}
    shares = {
        "precision": (sums["flagged"] - sums["false_alarms"], sums["flagged"] if sums["tagged"] else 0),
        "recall": (sums["caught"], sums["tagged"]),
        "false alarms": (sums["false_alarms"], sums["clean_steps"]),
    }
    return {**sums, **{name: part / whole for name, (part, whole) in shares.items() if whole}}


def monitor_shares(counts: Mapping[str, float]) -> list[str]:
    """The texts of :data:`MONITOR_SHARES`."""
    return [share(counts[name]) if name in counts else ABSENT for name in MONITOR_SHARES]
