"""What new languages gained, and what the others lost."""

from collections.abc import Sequence

from lightning_langcore.reports.blocks import Block, Paragraph, number_columns, table, text_column
from lightning_langcore.reports.cells import effects, num_seeds
from lightning_langcore.reports.pictures import picture_if_any
from lightning_langcore.results.conditions import labels
from lightning_langcore.results.effects import gain, loss, spread_of, tradeoffs
from lightning_langcore.results.number_format import ABSENT, number, range_text, share
from lightning_langcore.results.record import Results

_CAPTION = (
    "Bits per byte on the test split: what the languages trained on gained, base minus final, and what others lost,"
    " final minus base, each the mean over languages; beside them the ratios of perplexity."
)
_NUMBERS = ("fraction", "gain", "loss of the others", "ratio, new", "ratio, others", "seeds")


def adaptation(runs: Sequence[Results]) -> list[Block]:
    """A picture of the gain-loss trade-off, and a row for each condition and fraction."""
    found = tradeoffs(runs)
    if not found:
        return []
    from lightning_langcore.plots.tradeoff import tradeoff_curves

    named = labels(found)
    rows = []
    for condition, series in found.items():
        for fraction, own in series.items():
            bits = [range_text(spread_of(own, measured), number) or ABSENT for measured in (gain, loss)]
            ratios = [effects(own)[name] or ABSENT for name in ("trained on", "others")]
            size = share(fraction) if fraction else ABSENT
            rows.append([named[condition], size, *bits, *ratios, num_seeds(own)])
    pictures = picture_if_any(lambda file: tradeoff_curves(runs, file), "gain against loss")
    columns = [text_column("region and text"), *number_columns(_NUMBERS)]
    return [Paragraph(_CAPTION), *pictures, table(columns, rows)]
