"""What freezing costs."""

from collections.abc import Sequence

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
from lightning_langcore.results.conditions import points
from lightning_langcore.results.cost_of_freezing import FreezingCost, cost_of_freezing
from lightning_langcore.results.effects import responds
from lightning_langcore.results.number_format import ABSENT, difference, number, range_of
from lightning_langcore.results.record import Results

_CAPTION = "Ratio of the final test perplexities at equal seeds: 1 is no difference, above 1 freezing costs."
_NO_PAIR = "Nothing to compare yet: that takes a frozen and a free run, completed, of one region and seed."


def by_comparison(runs: Sequence[Results]) -> dict[str, list[FreezingCost]]:
    """The costs in every language by the two sides that are compared."""
    groups: dict[str, list[FreezingCost]] = {}
    for cost in cost_of_freezing(runs):
        groups.setdefault(cost.comparison, []).append(cost)
    return groups


def freezing(runs: Sequence[Results]) -> list[Block]:
    """A table for each comparison, or a sentence that says why there is none."""
    groups = by_comparison(runs)
    if groups:
        return [Paragraph(_CAPTION), *(_table(comparison, costs) for comparison, costs in groups.items())]
    trained = any(point.stage in ("training", "final") for point in points(runs))
    return [Paragraph(_NO_PAIR)] if trained and not all(map(responds, runs)) else []


def _table(comparison: str, costs: Sequence[FreezingCost]) -> Table:
    columns = [text_column("lang"), *number_columns(("ratio", "range", "nats")), text_column("reading")]
    rows: list[Cells] = [
        [
            cost.lang,
            number(cost.ratio),
            range_of(cost.low, cost.high) if len(cost.nats) > 1 else ABSENT,
            difference(cost.mean),
            Text(cost.reading(), Style.LONG),
        ]
        for cost in costs
    ]
    return table(columns, rows, title=comparison)
