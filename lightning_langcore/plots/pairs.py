"""A number for every pair: how regions overlap, or which language suffers under which region's damage."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lightning_langcore.plots.cells import draw_cells, write_numbers
from lightning_langcore.plots.style import save


def pair_heatmap(
    values: np.ndarray,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    path: Path | str,
    title: str,
    label: str,
    centre: float | None = None,
    text: str = "{:.2f}",
) -> None:
    """A labelled table of coloured cells, with the numbers in them as long as the cells are large enough.

    Args:
        values: [rows, columns]. NaN is a pair without a value, in grey; give it to a diagonal that is 1 by definition,
            or the diagonal takes up the colour scale.
        row_labels: from top to bottom.
        column_labels: from left to right.
        path: the PNG file.
        title: above the cells.
        label: what the numbers are, beside the colour bar.
        centre: white, with blue below and red above to the same distance; without it the colours run from 0 (or the
            least, where that is negative) to the greatest.
        text: format of a number.

    Raises:
        ValueError: the labels do not fit the values, or every value is NaN.
    """
    values = np.asarray(values, dtype=float)
    if values.shape != (len(row_labels), len(column_labels)):
        labels = f"{len(row_labels)} and {len(column_labels)} labels"
        raise ValueError(f"pair_heatmap: values of shape {values.shape} for {labels}")
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("pair_heatmap: no value is finite")
    cell = min(0.75, max(6.0 / max(values.shape), min(0.26, 13.0 / max(values.shape))))
    margin = 0.09 * max(map(len, row_labels)), 0.09 * max(map(len, column_labels))
    width, height = cell * len(column_labels), cell * len(row_labels)
    turned = max(map(len, column_labels)) * 0.09 > cell
    size = (max(3.6, width + margin[0] + 1.4), max(2.6, height + 0.8 + (margin[1] if turned else 0.2)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = draw_cells(axes, values, row_labels, column_labels, *_scale(finite, centre))
    axes.tick_params(axis="x", rotation=90 if turned else 0)
    axes.tick_params(labelsize=9)
    write_numbers(axes, image, text.format, cell, cell)
    figure.colorbar(image, ax=axes, aspect=25, pad=0.02).set_label(label, fontsize=9)
    figure.suptitle(title, fontsize=11)
    save(figure, path)


def _scale(finite: np.ndarray, centre: float | None) -> tuple[str, Normalize]:
    if centre is None:
        return "viridis", Normalize(min(0.0, float(finite.min())), float(finite.max()))
    reach = float(np.abs(finite - centre).max()) or 1.0
    return "RdBu_r", Normalize(centre - reach, centre + reach)
