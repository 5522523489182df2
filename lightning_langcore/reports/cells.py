"""What the cells of tables say of a group of runs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from lightning_langcore.results import trajectories
from lightning_langcore.results.effects import (
    change,
    drift,
    on_conversations,
    spread_of,
    target_name,
)
from lightning_langcore.results.number_format import range_text, share, times
from lightning_langcore.results.record import ROUNDED_AWAY, Results

_CONVERSATION_COLUMNS = {"trained on": "general text", "others": "general text, others"}


MASKED = "A step whose rows are all masked counts as skipped."


_BACK = {0.0: "did not leave", math.inf: "never"}


def cells(runs: Sequence[Results]) -> dict[str, str]:
    """What every table of effects says of runs that differ in the seed; empty where they have no such measurement."""
    ratios = {"trained on": "target", "others": "others", "answers": "answers"}
    if runs and all(map(on_conversations, runs)):
        ratios = {"answers": "answers", "trained on": "target", "others": "others"}
    found = {name: spread_of(runs, partial(change, group=group)) for name, group in ratios.items()}
    made = {name: range_text(value, times) for name, value in found.items()}
    made["region moved"] = range_text(spread_of(runs, partial(drift, where="region")), share)
    made["rest moved"] = range_text(spread_of(runs, partial(drift, where="rest")), share)
    unmoved = spread_of(runs, partial(drift, where="unmoved"))
    still = unmoved is not None and unmoved.mean >= ROUNDED_AWAY
    made["rest that never moved"] = range_text(unmoved, share) if still else ""
    return made


def column_names(names: Iterable[str], runs: Iterable[Results]) -> list[str]:
    """The names of :func:`cells` with the languages that all the runs were trained on, where these are the same.

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


def back_text(runs: Iterable[Results], clean: Mapping[int, Results]) -> str:
    """Documents to recover from noise: mean and range over seeds.

    ``never`` for those that did not within the run, ``did not leave`` for those that were not further away than 1 %.

    Args:
        runs: that differ in the seed.
        clean: see :func:`~lightning_langcore.results.effects.clean_partners`.
    """
    value = spread_of(runs, lambda run: trajectories.time_to_recover(run, clean.get(id(run))))
    if value is None:
        return ""
    low, high = (_BACK.get(end) or f"{end:,.0f}" for end in (value.low, value.high))
    if low == high:
        return low
    return f"{value.mean:,.0f} ({low}–{high})" if math.isfinite(value.mean) else f"{low}–{high}"


def compared_with(runs: Iterable[Results], clean: Mapping[int, Results]) -> str:
    """What the recovery of runs with noise is measured by: ``the clean run``, ``the value before the noise`` or both.

    Empty where it can be told of none.
    """
    told = {id(run) in clean for run in runs if trajectories.time_to_recover(run, clean.get(id(run))) is not None}
    before = "the value before the noise"
    names = {
        (True,): "the clean run",
        (False,): before,
        (False, True): f"the clean run or, where there is none, {before}",
    }
    return names.get(tuple(sorted(told)), "")


def monitored(runs: Sequence[Results]) -> dict[str, float]:
    """What the monitor of some runs counted, added up: ``flagged``, ``tagged``, ``caught`` ... and the shares of them.

    Returns:
        ``recall``: caught of the tagged documents, ``precision``: of the flagged steps those that were no false alarm,
        ``false alarms``: of the steps without a tag; each only where there is something to divide by, and the first two
        only where something was tagged.
    """
    names = ("steps", "flagged", "skipped", "masked_rows", "tagged", "caught", "clean_steps", "false_alarms")
    sums = {name: sum(int((run.monitor or {}).get(f"num_{name}") or 0) for run in runs) for name in names}
    shares = {
        "precision": (sums["flagged"] - sums["false_alarms"], sums["flagged"] if sums["tagged"] else 0),
        "recall": (sums["caught"], sums["tagged"]),
        "false alarms": (sums["false_alarms"], sums["clean_steps"]),
    }
    return {**sums, **{name: part / whole for name, (part, whole) in shares.items() if whole}}
