"""Test perplexity right after the perturbation, before any training."""

import math
from collections.abc import Sequence

from lightning_langcore.reports.blocks import (
    Block,
    Cell,
    Cells,
    Paragraph,
    Style,
    Table,
    Text,
    cell,
    number_columns,
    table,
    text_column,
)
from lightning_langcore.reports.pictures import picture
from lightning_langcore.results.conditions import Spread, points, spread
from lightning_langcore.results.number_format import exp, number, spread_text
from lightning_langcore.results.record import Results

CAPTION = "Test perplexity right after the perturbation, and how many times the base's"


def perturbation_tables(runs: Sequence[Results]) -> list[Table]:
    """A table a setting, which is its title: languages are rows, the intact base and each perturbed region columns."""
    from lightning_langcore.plots.damage import perturbed_points

    tables = []
    for setting, regions in perturbed_points(points(runs)).items():
        rows: list[Cells] = []
        for lang in dict.fromkeys(point.lang for own in regions.values() for point in own):
            values = {name: spread(point for point in own if point.lang == lang) for name, own in regions.items()}
            base = values.get("base")
            cells = [_cell(value, base if name != "base" else None) for name, value in values.items()]
            rows.append([Text(lang, Style.STRONG), *cells])
        tables.append(table([text_column("lang"), *number_columns(regions)], rows, title=setting))
    return tables


def _cell(value: Spread | None, base: Spread | None) -> Cell:
    if value is None or base is None or math.isinf(base.mean):
        return cell(spread_text(value))
    return cell(spread_text(value), Text(f"× {number(exp(value.mean - base.mean))}", Style.SMALL))


def perturbation(runs: Sequence[Results]) -> list[Block]:
    """Bars and tables of what the perturbation did."""
    tables = perturbation_tables(runs)
    if not tables:
        return []
    from lightning_langcore.plots.damage import damage_bars

    bars = picture(lambda file: damage_bars(runs, file), "damage bars")
    return [Paragraph(f"{CAPTION}."), bars, *tables]
