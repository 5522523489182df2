"""Which runs of a report are compared in which part of it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lightning_langcore.results.conditions import Condition, labels
from lightning_langcore.results.effects import adapted, responds, stopped, sweep, trained_conditions
from lightning_langcore.results.record import Results


class RunGroups(NamedTuple):
    """The runs of a report by what can be said of them.

    Attributes:
        regional: all but those that perturbed single weights.
        intact: those of ``regional`` that trained an intact model on a known text.
        others: those of ``regional`` that did not, without those that a monitor stopped.
        with_cost: those of ``regional`` whose final perplexity gives the cost of freezing; see :func:`_with_cost`.
    """

    regional: list[Results]
    intact: list[Results]
    others: list[Results]
    with_cost: list[Results]


def group(runs: Iterable[Results]) -> RunGroups:
    """Sort runs by what can be said of them."""
    regional = [run for run in runs if not of_single_weights(run)]
    intact = [run for run in regional if responds(run)]
    others = [run for run in regional if not responds(run) and not stopped(run)]
    return RunGroups(regional, intact, others, _with_cost(regional))


def of_single_weights(run: Results) -> bool:
    """Whether the run perturbed single weights; its job prints a table of its own."""
    return any(str(row.get("variant", "")).endswith("]") for row in run.perplexity)


def _with_cost(runs: Sequence[Results]) -> list[Results]:
    """Without runs whose gain and loss, or response to noise, say what freezing costs, and those that were stopped."""
    noisy = (run for series in sweep(runs, "noise.rate").values() for own in series.values() for run in own)
    left_out = set(map(id, [*adapted(runs), *noisy, *filter(stopped, runs)]))
    return [run for run in runs if id(run) not in left_out]


def by_condition(runs: Sequence[Results]) -> dict[str, list[Results]]:
    """Runs that differ in the seed alone, by the name of their condition, in reading order.

    Where several experiments have a condition, their names tell them apart.

    Args:
        runs: those that :func:`~lightning_langcore.results.effects.responds`.
    """
    groups: dict[Condition, dict[str, list[Results]]] = {}
    for run, condition in zip(runs, trained_conditions(runs), strict=True):
        groups.setdefault(condition, {}).setdefault(run.experiment, []).append(run)
    return {
        label + (f", {experiment}" if len(groups[condition]) > 1 else ""): own
        for condition, label in labels(groups).items()
        for experiment, own in groups[condition].items()
    }
