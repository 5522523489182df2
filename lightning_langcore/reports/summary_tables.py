"""The tables that are printed after a run or a sweep: few columns, a row for each condition."""

from collections.abc import Sequence
from dataclasses import replace

from lightning_langcore.reports.blocks import Column, Table, cell, number_columns, table, text_column
from lightning_langcore.reports.cells import (
    MASKED,
    MONITOR_SHARES,
    column_names,
    effects,
    monitor_counts,
    monitor_shares,
    num_seeds,
    recovery_level,
    recovery_text,
)
from lightning_langcore.reports.run_groups import by_condition, of_single_weights
from lightning_langcore.reports.sections.perplexity import perplexity_table
from lightning_langcore.reports.sections.perturbation import CAPTION, perturbation_tables
from lightning_langcore.results.conditions import points
from lightning_langcore.results.effects import clean_partners, responds, stopped
from lightning_langcore.results.number_format import ABSENT, count
from lightning_langcore.results.record import Results

_MOST_COLUMNS = 10  # of a table of languages; a list of conditions is easier to read than more
_MAX_CONDITIONS = 6  # in a table of every language, where another table has a row for each condition
_MAIN = ("trained on", "others", "answers")  # what a narrow terminal shows


def summary_tables(runs: Sequence[Results]) -> list[Table]:
    """The tables of these runs.

    Of runs that trained an intact model on a known text: effects, monitor, and perplexity of few conditions. Of others
    perplexity: right after the perturbation where nothing was trained and the columns are few, else in all stages. None
    of runs that perturbed single weights, whose job prints a table of its own. A run that was stopped is shown where
    there is no other.
    """
    regional = [run for run in runs if not of_single_weights(run)]
    intact = [run for run in regional if responds(run)]
    others = [run for run in regional if not responds(run)]
    others = [run for run in others if not stopped(run)] or ([] if intact else others)
    tables = []
    if others:
        trained = any(point.stage in ("training", "final") for point in points(others))
        tables += ([] if trained else _perturbation_tables(others)) or [_perplexity_table(others)]
    if intact:
        tables.append(effects_table(intact))
        if any((run.monitor or {}).get("num_steps") for run in intact):
            tables.append(monitor_table(intact))
        if len(by_condition(intact)) <= _MAX_CONDITIONS:
            tables.append(_perplexity_table(intact))
    return tables


def _perplexity_table(runs: Sequence[Results]) -> Table:
    unfinished = sum(run.status != "completed" for run in runs)
    notes = (f"{unfinished} of {len(runs)} runs did not finish.",) if unfinished else ()
    return replace(perplexity_table(runs), notes=notes)


def _perturbation_tables(runs: Sequence[Results]) -> list[Table]:
    """None where a table has too many columns."""
    tables = perturbation_tables(runs)
    if any(len(one.columns) > _MOST_COLUMNS for one in tables):
        return []
    return [replace(one, title="", caption=f"{CAPTION}: {one.title}".removesuffix(": ")) for one in tables]


def effects_table(runs: Sequence[Results]) -> Table:
    """What training on a text did: final perplexity over the base's, how far weights moved, recovery from noise.

    Args:
        runs: those that :func:`~lightning_langcore.results.effects.responds`.
    """
    conditions, clean = by_condition(runs), clean_partners(runs)
    texts = {label: effects(own) | {"back after": recovery_text(own, clean)} for label, own in conditions.items()}
    names = [name for name in next(iter(texts.values())) if any(row[name] for row in texts.values())]
    caption = "Final test perplexity / base's, range over seeds"
    level = recovery_level(runs, clean)
    if "back after" in names and level:
        caption += f"; documents until back within 1 % of {level}"
    heads = zip(names, column_names(names, runs), strict=True)
    columns = [Column(cell(head), secondary=name not in _MAIN) for name, head in heads]
    rows = [
        [label, *(texts[label][name] or ABSENT for name in names), num_seeds(own)] for label, own in conditions.items()
    ]
    return table([text_column("region and text"), *columns, *number_columns(("seeds",))], rows, caption=caption)


def monitor_table(runs: Sequence[Results]) -> Table:
    """What the monitors counted, summed over seeds.

    Args:
        runs: those that :func:`~lightning_langcore.results.effects.responds`.
    """
    masked = monitor_counts(runs)["masked_rows"] > 0
    names = {"steps": "steps", "flagged": "flagged", "skipped": "skipped"}
    names |= {"masked_rows": "rows masked"} if masked else {}
    rows = []
    for label, own in by_condition(runs).items():
        counts = monitor_counts(own)
        if counts["steps"]:
            rows.append([label, *(count(counts[name]) for name in names), *monitor_shares(counts)])
    columns = [Column(cell(head), secondary=True) for head in names.values()]
    columns = [text_column("region and text"), *columns, *number_columns(MONITOR_SHARES)]
    made = table(columns, rows, caption="What the monitor flagged")
    return replace(made, notes=(MASKED,)) if masked else made
