"""A labelled table of coloured cells, with numbers where they fit."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from lightning_langcore.plots.style import PALE, save
from lightning_langcore.utils.errors import LangcoreError

_POINTS = 72  # per inch
_LEAST_FONT = 6.0  # points
_LUMA = np.array([0.299, 0.587, 0.114])  # perceived brightness of red, green and blue


def draw_cells(
    axes: Axes,
    values: np.ndarray,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    cmap: str,
    norm: Normalize,
) -> AxesImage:
    """Draw ``values`` of shape (rows, columns) as cells, row 0 at the top, NaN in pale grey."""
    colours = colormaps[cmap].with_extremes(bad=PALE)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(column_labels)), column_labels)
    axes.set_yticks(range(len(row_labels)), row_labels)
    axes.set_xticks(np.arange(len(column_labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(row_labels) + 1) - 0.5, minor=True)
    axes.grid(True, which="minor", color="white", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return image


def write_numbers(axes: Axes, image: AxesImage, text: Callable[[float], str], width: float, height: float) -> None:
    """Write the value into each cell, black on light and white on dark; nothing if the cells are too small.

    Args:
        axes: the panel.
        image: its cells, from :func:`draw_cells`.
        text: formats a value.
        width: width of a cell, in inches.
        height: height of a cell, in inches.
    """
    cells = image.get_array()
    assert cells is not None
    values = np.ma.filled(cells, np.nan)
    texts = {place: text(float(value)) for place, value in np.ndenumerate(values) if np.isfinite(value)}
    longest = max((len(one) for one in texts.values()), default=1)
    size = min(10.0, 0.7 * _POINTS * height, 1.5 * _POINTS * width / (longest + 0.5))  # a digit is 0.6 em wide
    if size < _LEAST_FONT:
        return
    painted = image.to_rgba(values)
    for (row, column), one in texts.items():
        light = float(painted[row, column, :3] @ _LUMA) > 0.55
        axes.text(column, row, one, color="black" if light else "white", fontsize=size, ha="center", va="center")


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
    """A labelled table of coloured cells, with numbers if the cells are large enough.

    Args:
        values: values of shape (rows, columns). NaN is a missing value, in grey; set a diagonal that is 1 by definition
            to NaN, otherwise it dominates the colour scale.
        row_labels: from top to bottom.
        column_labels: from left to right.
        path: the PNG file.
        title: above the cells.
        label: what the numbers are, next to the colour bar.
        centre: the value that is white, with blue below and red above over equal ranges; ``None``: colours run from 0
            (or from the minimum if it is negative) to the maximum.
        text: format string of a number.

    Raises:
        LangcoreError: the labels do not fit the values, or every value is NaN.

    Example:
        >>> import numpy as np
        >>> from lightning_langcore.plots import pair_heatmap
        >>> overlap = np.array([[np.nan, 0.4], [0.4, np.nan]])
        >>> pair_heatmap(overlap, ["zh", "en"], ["zh", "en"], "overlap.png", "cores of two languages", "Jaccard")
    """
    values = np.asarray(values, dtype=float)
    if values.shape != (len(row_labels), len(column_labels)):
        labels = f"{len(row_labels)} and {len(column_labels)} labels"
        raise LangcoreError(f"pair_heatmap: values of shape {values.shape} for {labels}")
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise LangcoreError("pair_heatmap: no value is finite")
    cell = min(0.75, max(6.0 / max(values.shape), min(0.26, 13.0 / max(values.shape))))
    margin = 0.09 * max(map(len, row_labels)), 0.09 * max(map(len, column_labels))
    width, height = cell * len(column_labels), cell * len(row_labels)
    rotated = max(map(len, column_labels)) * 0.09 > cell
    size = (max(3.6, width + margin[0] + 1.4), max(2.6, height + 0.8 + (margin[1] if rotated else 0.2)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = draw_cells(axes, values, row_labels, column_labels, *_scale(finite, centre))
    axes.tick_params(axis="x", rotation=90 if rotated else 0)
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
