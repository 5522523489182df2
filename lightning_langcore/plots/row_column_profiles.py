"""Concentration of a region in few rows or columns: their shares in the region, in descending order."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from lightning_langcore.plots.layer_grid import evenly, matrices, places, refuse_unknown
from lightning_langcore.plots.style import GREY, save, tidy
from lightning_langcore.regions.concentration import random_band
from lightning_langcore.utils.errors import LangcoreError

Counts = Mapping[str, tuple[np.ndarray, np.ndarray]]
_WAYS = {"rows": "#882255", "columns": "#44AA99"}  # Paul Tol's colours; those of plots.style are kinds of regions
_NUM_POINTS = 200


def row_column_histograms(
    counts: Counts, shapes: Mapping[str, tuple[int, ...]], path: Path | str, title: str = "", max_layers: int = 4
) -> None:
    """For each matrix, the share of each row and each column that lies in the region, in descending order.

    A curve far above its band means that few rows or columns hold the region. Both axes are logarithmic. The band holds
    95 % of random regions with the same number of weights; the grey line is an evenly spread region. Rows and columns
    without weights are at the lower edge. In the grid of panels, layers are rows and kinds of matrices are columns; of
    many layers with weights in the region, evenly spaced ones are shown.

    Args:
        counts: number of weights in each row and in each column by parameter name (``WeightSet.row_column_counts``); a
            parameter of ``shapes`` without counts is empty.
        shapes: the shape of each candidate parameter; only matrices named ``...layers.N....weight`` are drawn.
        path: the PNG file.
        title: title above the panels; the number of layers shown is added to it.
        max_layers: at least 1.

    Raises:
        LangcoreError: a parameter has counts but no shape, there is no matrix to draw, or no matrix holds a weight.

    Example:
        >>> import numpy as np
        >>> from lightning_langcore.plots import row_column_histograms
        >>> name = "model.layers.0.mlp.down_proj.weight"
        >>> by_row, by_column = np.array([16] + [0] * 15), np.ones(16, dtype=np.int64)
        >>> row_column_histograms({name: (by_row, by_column)}, {name: (16, 16)}, "rows.png", "one whole row")
    """
    refuse_unknown(counts, shapes, "row_column_histograms")
    table = places(matrices(shapes), "row_column_histograms")
    filled = {place: counts[name] for place, name in table.names.items() if name in counts and counts[name][0].any()}
    if not filled:
        raise LangcoreError("row_column_histograms: no matrix of a layer holds a weight of the region")
    shown, title = evenly(sorted({layer for layer, _ in filled}), max_layers, title)
    size = (max(7.0, 1.4 + 1.5 * len(table.kinds)), max(4.2, 1.7 + 1.4 * len(shown)))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(shown), len(table.kinds), sharex=True, sharey=True, squeeze=False)
    _scales(grid[0, 0], [both for (layer, _), both in filled.items() if layer in shown])
    for (row, column), axes in np.ndenumerate(grid):
        place = (shown[row], table.kinds[column])
        if place in filled:
            _panel(axes, *filled[place])
        else:
            why = "empty" if place in table.names else "none"
            axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY)
        tidy(axes)
        axes.tick_params(labelsize=8)
    for axes, kind in zip(grid[0], table.kinds, strict=True):
        high, wide = next(shapes[name] for (_, other), name in table.names.items() if other == kind)
        axes.set_title(f"{kind}\n{high} × {wide}", fontsize=10)
    for axes, layer in zip(grid[:, 0], shown, strict=True):
        axes.set_ylabel(f"layer {layer}", fontsize=10)
    _legend(figure, title)
    figure.supxlabel("rows or columns, fullest first: per cent of all (log)", fontsize=10)
    figure.supylabel("per cent of the row or column in the region (log)", fontsize=10)
    save(figure, path)


def _scales(axes: Axes, drawn: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Set the axes: x from one row or column to all, y from a tenth of the least share of a matrix to 1."""
    longest = max(len(counts) for both in drawn for counts in both)
    thinnest = min(rows.sum() / (len(rows) * len(columns)) for rows, columns in drawn)
    axes.set(xscale="log", yscale="log", xlim=(0.45 / longest, 1.15), ylim=(thinnest / 10, 1.5))
    for axis, low in ((axes.xaxis, 0.45 / longest), (axes.yaxis, thinnest / 10)):
        powers = range(int(np.ceil(np.log10(low))), 1)
        axis.set_major_locator(FixedLocator([10.0**power for power in powers]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _panel(axes: Axes, rows: np.ndarray, columns: np.ndarray) -> None:
    num_weights = int(rows.sum())
    floor = axes.get_ylim()[0]
    axes.axhline(num_weights / (len(rows) * len(columns)), color=GREY, linewidth=0.9, zorder=1)
    for counts, length, colour in zip((rows, columns), (len(columns), len(rows)), _WAYS.values(), strict=True):
        ranks = np.unique(np.geomspace(1, len(counts), _NUM_POINTS).round().astype(int))
        ranks = np.concatenate([[1], ranks])  # the fullest row or column is drawn as a step, not as a point
        x = np.concatenate([[0.5], ranks[1:]]) / len(counts)
        ends = (end[ranks - 1] / length for end in random_band(len(counts), length, num_weights))
        low, high = (np.maximum(end, floor) for end in ends)
        axes.fill_between(x, low, high, step="pre", color=colour, alpha=0.3, linewidth=0, zorder=2)
        share = np.sort(counts)[::-1][ranks - 1] / length
        axes.plot(x, np.maximum(share, floor), drawstyle="steps-pre", color=colour, linewidth=1.5, zorder=3)


def _legend(figure: Figure, title: str) -> None:
    handles: list[Line2D | Patch] = []
    for way, colour in _WAYS.items():
        handles.append(Line2D([], [], color=colour, linewidth=1.5, label=way))
        handles.append(Patch(color=colour, alpha=0.3, linewidth=0, label=f"{way} of a random region (95 %)"))
    handles.append(Line2D([], [], color=GREY, linewidth=0.9, label="spread evenly"))
    columns = len(handles) if figure.get_figwidth() > 9 else 3
    style = {"frameon": False, "fontsize": 9, "title_fontsize": 12}
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=columns, **style)
