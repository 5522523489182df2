"""What a setting of the text did: how much general text is mixed in, epochs, and the share with noise."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from lightning_langcore.reports.blocks import (
    Block,
    Cells,
    Paragraph,
    Style,
    Table,
    Text,
    number_columns,
    table,
    text_column,
)
from lightning_langcore.reports.cells import column_names, effects, num_seeds
from lightning_langcore.reports.pictures import picture_if_any
from lightning_langcore.results import trajectories
from lightning_langcore.results.conditions import Condition, labels
from lightning_langcore.results.effects import Series, setting, spread_of, sweep
from lightning_langcore.results.number_format import ABSENT, number, range_text, share
from lightning_langcore.results.record import Results

_CAPTION = "Final test perplexity over the base's: a geometric mean over languages and seeds, and the range."

CellText = Callable[[Sequence[Results]], str]
"""The text of a cell for runs that differ in the seed; empty where they lack the measurement."""


def mix(runs: Sequence[Results]) -> list[Block]:
    """What general text mixed into the target did."""
    return swept(runs, "ratio", "general to target", {"epochs": _epochs})


def epochs(runs: Sequence[Results]) -> list[Block]:
    """What reading a text several times did, and when validation was best."""
    from lightning_langcore.plots.trajectories import validation_trajectories

    validation = picture_if_any(lambda file: validation_trajectories(runs, file), "validation against epochs")
    return [*swept(runs, "epochs", "epochs", {"validation best after": _best_epoch}), *validation]


def swept(runs: Sequence[Results], key: str, name: str, more: Mapping[str, CellText]) -> list[Block]:
    """Pictures of what a setting did to perplexity and to the weights, and a table.

    Args:
        runs: those that trained an intact model on a known text.
        key: the setting, as :func:`~lightning_langcore.results.effects.sweep` takes it.
        name: of the setting, for the reader.
        more: columns of the table beside those of every sweep.
    """
    found = sweep(runs, key)
    if not found:
        return []
    pictures: list[Block] = []
    if any(len(series) > 1 for series in found.values()):
        from lightning_langcore.plots.dose_response import drift_curves, response_curves

        pictures += picture_if_any(lambda file: response_curves(runs, key, file), f"perplexity against {name}")
        pictures += picture_if_any(lambda file: drift_curves(runs, key, file), f"change of the weights against {name}")
    return [Paragraph(_CAPTION), *pictures, _table(found, key, name, more)]


def _table(found: Mapping[Condition, Series], key: str, name: str, more: Mapping[str, CellText]) -> Table:
    """A row for each condition and value of the setting; columns that no row has a text for are left out."""
    named = labels(found)
    groups = [(named[condition], value, own) for condition, series in found.items() for value, own in series.items()]
    texts = [effects(own) | {title: text(own) for title, text in more.items()} for _, _, own in groups]
    titles = [title for title in texts[0] if any(row[title] for row in texts)]
    rows: list[Cells] = [
        [
            Text(label, Style.STRONG),
            share(value) if key == "noise.rate" else f"{value:g}",
            *(row[title] or ABSENT for title in titles),
            num_seeds(own),
        ]
        for (label, value, own), row in zip(groups, texts, strict=True)
    ]
    heads = column_names(titles, [run for _, _, own in groups for run in own])
    columns = [text_column("region and text"), *number_columns([name, *heads, "seeds"])]
    return table(columns, rows, grouped_by=1)


def _epochs(runs: Sequence[Results]) -> str:
    return range_text(spread_of(runs, partial(setting, key="epochs")), number)


def _best_epoch(runs: Sequence[Results]) -> str:
    return range_text(spread_of(runs, trajectories.best_epoch), number)
