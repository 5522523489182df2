"""A labelled table of coloured cells, with numbers where they fit."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage

from lightning_langcore.plots.style import PALE

_POINTS = 72  # an inch
_LEAST_FONT = 6.0  # points
_LUMA = np.array([0.299, 0.587, 0.114])  # how bright red, green and blue look


def draw_cells(
    axes: Axes,
    values: np.ndarray,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    cmap: str,
    norm: Normalize,
) -> AxesImage:
    """Draw ``values``, NaN in pale grey, row 0 at the top."""
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
    """Write the value into each cell, dark on light and light on dark; nothing where the cells are too small.

    Args:
        axes: the panel.
        image: its cells, from :func:`draw_cells`.
        text: how a value is written.
        width: of a cell, in inches.
        height: of a cell, in inches.
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
