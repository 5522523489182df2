"""Test perplexity of every condition in every language, at the end and during training."""

from collections.abc import Sequence

from lightning_langcore.reports.blocks import Block, Paragraph, Style, Table, Text, number_columns, table, text_column
from lightning_langcore.reports.pictures import picture
from lightning_langcore.results.conditions import points
from lightning_langcore.results.effects import responds
from lightning_langcore.results.number_format import spread_text
from lightning_langcore.results.perplexity_table import PerplexityRow, perplexity_rows
from lightning_langcore.results.record import Results

_CAPTION = "Test perplexity; over several seeds the geometric mean and the range."
_MOST_ROWS = 60  # of a table that is open at once
_MAX_CONDITIONS = 6  # in one picture of every language


def perplexity_table(runs: Sequence[Results]) -> Table:
    """A row for each condition in each language: intact, perturbed, at the end."""
    found = perplexity_rows(runs)
    only_trained = bool(found) and all(map(responds, runs))
    stages = ("base", "final") if only_trained else ("base", "perturbed", "final")
    columns = [text_column("lang"), text_column("region"), *number_columns((*stages, "seeds"))]
    return table(
        columns,
        [[Text(row.lang, Style.STRONG), row.label, *_stage_texts(row, only_trained), row.seeds] for row in found],
        caption=_CAPTION,
        grouped_by=1,
        collapsed=only_trained and len(found) > _MOST_ROWS,
    )


def _stage_texts(row: PerplexityRow, only_trained: bool) -> list[str]:
    perturbed = [] if only_trained else [spread_text(row.perturbed)]
    return [spread_text(row.base), *perturbed, row.final_text]


def final_perplexity(runs: Sequence[Results]) -> list[Block]:
    """The table, or a sentence that says why there is none."""
    if not runs:
        return []
    found = perplexity_rows(runs)
    if not found:
        return [Paragraph("No test rows yet.")]
    if not any(row.final for row in found):
        return [Paragraph("Nothing was trained.")] if any(row.perturbed for row in found) else []
    return [perplexity_table(runs)]


def by_language(runs: Sequence[Results]) -> list[Block]:
    """Every language of runs that trained an intact model: a picture of few conditions, and the table."""
    if not runs:
        return []
    few = len({point.condition for point in points(runs)}) <= _MAX_CONDITIONS
    return [*(recovery(runs) if few else []), *final_perplexity(runs)]


def recovery(runs: Sequence[Results]) -> list[Block]:
    """Curves of test perplexity against documents."""
    if not any(point.stage in ("training", "final") for point in points(runs)):
        return []
    from lightning_langcore.plots.recovery import recovery_curves

    return [picture(lambda file: recovery_curves(runs, file), "recovery curves")]
