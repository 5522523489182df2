"""What a reader needs first: the comparisons, a sentence each, and what to be careful about."""

import math
from collections.abc import Sequence

from lightning_langcore.reports.blocks import Block, BulletList, Paragraph
from lightning_langcore.reports.run_groups import RunGroups, of_single_weights
from lightning_langcore.reports.sections.freezing import by_comparison
from lightning_langcore.reports.sentences import sentences
from lightning_langcore.results.conditions import Condition, points_by_run
from lightning_langcore.results.cost_of_freezing import summary
from lightning_langcore.results.record import Results

_AVERAGED = "Runs with the same region, setting and seed are averaged, though their configs may differ in other ways"


def in_short(runs: Sequence[Results], groups: RunGroups, messages: Sequence[str]) -> list[Block]:
    """Warnings, then a list of sentences.

    Args:
        runs: all runs of the report.
        groups: the same runs, sorted.
        messages: a warning for each run that could not be read.
    """
    warnings = [*messages, *_warnings(runs), *_averaged(runs)]
    items = [*sentences(groups.intact), *map(summary, by_comparison(groups.with_cost).values())]
    items += dict.fromkeys(note for run in runs for note in run.notes)
    blocks: list[Block] = [Paragraph(warning, is_warning=True) for warning in warnings]
    return [*blocks, BulletList(tuple(items))] if items else blocks


def _warnings(runs: Sequence[Results]) -> list[str]:
    unfinished = sum(run.status != "completed" for run in runs)
    moved = sum(map(_frozen_weights_moved, runs))
    warnings = [f"{unfinished} of {len(runs)} runs did not finish."] if unfinished else []
    if moved:
        warnings.append(f"In {moved} of {len(runs)} runs the frozen weights moved: these runs are no evidence.")
    return warnings


def _frozen_weights_moved(run: Results) -> bool:
    """A completed run without a drift had one that was not finite."""
    unknown = math.inf if run.status == "completed" else 0.0
    return run.guard is not None and run.guard.get("max_abs_drift", unknown) != 0


def _averaged(runs: Sequence[Results]) -> list[str]:
    """A warning where the tables take several runs for one condition and seed."""
    owners: dict[tuple[Condition, int], set[int]] = {}
    for position, (run, found) in enumerate(zip(runs, points_by_run(runs), strict=True), 1):
        for point in [] if of_single_weights(run) else found:
            if point.stage != "base":
                owners.setdefault((point.condition, point.seed), set()).add(position)
    groups = dict.fromkeys(tuple(sorted(positions)) for positions in owners.values() if len(positions) > 1)
    listed = "; ".join(", ".join(f"#{position}" for position in positions) for positions in groups)
    return [f"{_AVERAGED}: {listed}."] if listed else []
