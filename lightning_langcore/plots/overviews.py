"""One cell a matrix: the share of it that the region holds, and how much that gathers in few rows or columns."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lightning_langcore.plots.heatmap import draw_cells, write_numbers
from lightning_langcore.plots.layer_grid import Places, matrices, places, refuse_unknown
from lightning_langcore.plots.style import COLOURS, percent, save
from lightning_langcore.regions.concentration import Concentration, MatrixConcentration

_HATCH = "#B8B8B8"
_CELL = 0.5  # inches wide, and half as high


def concentration_overview(table: Mapping[str, MatrixConcentration], path: Path | str, title: str = "") -> None:
    """How much of the region the fullest rows and columns hold, divided by what those of a random region would hold.

    Two panels, rows and columns. In each, layers are rows of cells and kinds of matrices are columns. Hatched cells lie
    inside the 95 % interval of random regions. The colours are logarithmic and white at 1. A matrix without weights
    stays empty.

    Args:
        table: concentration of each matrix by parameter name.
        path: the file; its suffix gives the format.
        title: above the panels.

    Raises:
        LangcoreError: no matrix of a layer in ``table``.

    Example:
        >>> import numpy as np
        >>> from lightning_langcore.plots import concentration_overview
        >>> from lightning_langcore.regions.concentration import MatrixConcentration, concentration
        >>> rows = concentration(np.array([16] + [0] * 99), length=16, draws=20)  # 16 weights, all in one row of 100
        >>> columns = concentration(np.ones(16, dtype=np.int64), length=100, draws=20)
        >>> table = {"model.layers.0.mlp.down_proj.weight": MatrixConcentration(16, rows, columns)}
        >>> concentration_overview(table, "concentration.png")
    """
    found = places(table, "concentration_overview")
    ways = {
        way: {place: getattr(table[name], way) for place, name in found.names.items()} for way in ("rows", "columns")
    }
    ratios = {way: {place: one.share / one.expected for place, one in cells.items()} for way, cells in ways.items()}
    reach = max(1.5, *(max(ratio, 1 / ratio) for cells in ratios.values() for ratio in cells.values() if ratio))
    figure, grid = _figure(found, num_panels=2)
    for axes, (way, cells) in zip(grid, ratios.items(), strict=True):
        image = _panel(axes, found, cells, "RdBu_r", LogNorm(1 / reach, reach), _times)
        axes.set_title(f"fullest {way}", fontsize=11)
        _hatch(axes, found, ways[way])
    bar = figure.colorbar(image, ax=grid.tolist(), aspect=30, pad=0.02)
    bar.set_label("share in the fullest rows or columns,\ndivided by a random region's", fontsize=9)
    subs = (1.0, 2.0, 5.0) if reach < 30 else (1.0,)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=subs))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    sign = Patch(
        facecolor="white",
        edgecolor=_HATCH,
        hatch="////",
        linewidth=0,
        label="inside the interval of random regions (95 %)",
    )
    figure.legend(handles=[sign], loc="outside lower center", frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=12)
    save(figure, path)


def density_overview(
    num_weights: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]], path: Path | str, title: str = ""
) -> None:
    """The share of each matrix's weights that the region holds.

    Of interest where :func:`shares_differ`, as for a region that was selected over the whole model.

    Args:
        num_weights: of the region, by parameter name; a name in ``shapes`` that is missing here is empty.
        shapes: the shape of each candidate parameter; only matrices named ``...layers.N....weight`` are drawn.
        path: the PNG file.
        title: above the cells.

    Raises:
        LangcoreError: weights of a parameter without a shape, or no matrix to draw.

    Example:
        >>> from lightning_langcore.plots import density_overview
        >>> shapes = {f"model.layers.{i}.mlp.down_proj.weight": (16, 16) for i in range(2)}
        >>> density_overview(dict.fromkeys(shapes, 10), shapes, "density.png")
    """
    refuse_unknown(num_weights, shapes, "density_overview")
    found = places(matrices(shapes), "density_overview")
    held = {place: num_weights.get(name, 0) for place, name in found.names.items()}
    size = {place: shapes[name][0] * shapes[name][1] for place, name in found.names.items()}
    whole = sum(held.values()) / sum(size.values())
    cells = {place: held[place] / size[place] for place in held}
    figure, grid = _figure(found, num_panels=1)
    norm = Normalize(0.0, 1.04 * max(cells.values()) or 1.0)
    image = _panel(grid[0], found, cells, "viridis", norm, _hundredths)
    bar = figure.colorbar(image, ax=grid[0], aspect=30, pad=0.02)
    bar.set_label(f"share of weights in the region\n(red line: of all, {percent(whole)})", fontsize=9)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    bar.ax.axhline(whole, color=COLOURS["core"], linewidth=2.5)
    figure.suptitle(title, fontsize=12)
    save(figure, path)


def shares_differ(num_weights: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the region's share of a matrix differs between matrices by more than rounding to whole weights.

    A region that was selected tensor by tensor has the same share of each: there is a p with |k_i - p n_i| < 1 for the
    k_i of n_i weights of every matrix i.

    Args:
        num_weights: see :func:`density_overview`.
        shapes: see :func:`density_overview`.

    Raises:
        LangcoreError: weights of a parameter without a shape, or no matrix of a layer.
    """
    refuse_unknown(num_weights, shapes, "shares_differ")
    names = places(matrices(shapes), "shares_differ").names.values()
    held = [(num_weights.get(name, 0), math.prod(shapes[name])) for name in names]
    return max((num - 1) / size for num, size in held) >= min((num + 1) / size for num, size in held)


def _figure(found: Places, num_panels: int) -> tuple[Figure, np.ndarray]:
    size = (1.9 + num_panels * (0.4 + _CELL * len(found.kinds)), 1.5 + _height(found) * len(found.layers))
    figure = Figure(figsize=(max(5.0, size[0]), max(3.2, size[1])), layout="constrained")
    return figure, figure.subplots(1, num_panels, sharey=True, squeeze=False)[0]


def _height(found: Places) -> float:
    """Inches of a cell; less for a deep model, so that 80 layers fit on a screen."""
    return min(0.5 * _CELL, 11.0 / len(found.layers))


def _panel(
    axes: Axes,
    found: Places,
    cells: Mapping[tuple[int, str], float],
    cmap: str,
    norm: Normalize,
    text: Callable[[float], str],
) -> AxesImage:
    values = np.array([[cells.get((layer, kind), np.nan) for kind in found.kinds] for layer in found.layers])
    image = draw_cells(axes, values, [str(layer) for layer in found.layers], found.kinds, cmap, norm)
    write_numbers(axes, image, text, _CELL, _height(found))
    axes.tick_params(labelsize=min(9.0, 60 * _height(found)))
    axes.tick_params(axis="x", labelsize=9)
    if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        axes.set_ylabel("layer", fontsize=10)
    return image


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def _hundredths(share: float) -> str:
    """In per cent, three digits: 0.95, 14.2, 100; a bare 0 for nothing at all."""
    return f"{100 * share:.{2 if share < 0.09995 else 1 if share < 0.9995 else 0}f}" if share else "0"


def _hatch(axes: Axes, found: Places, cells: Mapping[tuple[int, str], Concentration]) -> None:
    """Mark the cells whose index lies inside the interval of random regions."""
    for (layer, kind), one in cells.items():
        if one.low <= one.share <= one.high:
            corner = found.kinds.index(kind) - 0.5, found.layers.index(layer) - 0.5
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=_HATCH, hatch="////", linewidth=0))
