"""Heat maps of a region: the share of weights in cells of each matrix."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lightning_langcore.plots.layer_grid import evenly, matrices, places, refuse_unknown
from lightning_langcore.plots.style import percent, save


def region_heatmap(
    indices: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    path: Path | str,
    title: str = "",
    max_layers: int = 6,
) -> None:
    """Heat map of each matrix of a layer: the share of weights in the region, cell by cell.

    Layers are rows, kinds of matrices are columns. Of more than ``max_layers`` layers, evenly spaced ones are shown,
    first and last included. Cells above the 99.5th percentile share the brightest colour. Memory: a few bytes per index
    and 64 x 64 cells per matrix; no dense mask is made.

    Args:
        indices: flat row-major indices by parameter name; a parameter of ``shapes`` without indices is empty.
        shapes: the shape of each candidate parameter; only matrices named ``...layers.N....weight`` are drawn.
        path: the PNG file.
        title: title above the panels; the number of layers shown is added to it.
        max_layers: at least 1.

    Raises:
        LangcoreError: a parameter has indices but no shape, or there is no matrix to draw.

    Example:
        >>> import numpy as np
        >>> from lightning_langcore.plots import region_heatmap
        >>> name = "model.layers.0.mlp.down_proj.weight"
        >>> region_heatmap({name: np.arange(32)}, {name: (16, 16)}, "region.png", "the first two rows")
    """
    refuse_unknown(indices, shapes, "region_heatmap")
    table = places(matrices(shapes), "region_heatmap")
    shown, title = evenly(table.layers, max_layers, title)
    cells = {
        place: density(indices.get(name, np.empty(0, np.int64)), *shapes[name])
        for place, name in table.names.items()
        if place[0] in shown
    }
    sizes = {place: f"{shapes[name][0]} × {shapes[name][1]}" for place, name in table.names.items()}
    _draw_heatmap(cells, sizes, shown, table.kinds, title, path)


def _draw_heatmap(
    cells: Mapping[tuple[int, str], np.ndarray],
    sizes: Mapping[tuple[int, str], str],
    layers: Sequence[int],
    kinds: Sequence[str],
    title: str,
    path: Path | str,
) -> None:
    values = np.concatenate([cell.ravel() for cell in cells.values()])
    top = float(np.quantile(values, 0.995)) or float(values.max()) or 1.0
    figure = Figure(figsize=(1.6 + 1.45 * len(kinds), 1.3 + 1.45 * len(layers)), layout="constrained")
    grid = figure.subplots(len(layers), len(kinds), squeeze=False)
    image = None
    for row, layer in enumerate(layers):
        for column, kind in enumerate(kinds):
            axes = grid[row, column]
            axes.set(xticks=[], yticks=[])
            if (layer, kind) in cells:
                options = {"aspect": "auto", "interpolation": "nearest", "cmap": "viridis"}
                image = axes.imshow(cells[layer, kind], vmin=0.0, vmax=top, **options)
            else:
                axes.set_frame_on(False)
            if row == 0:
                size = next(text for place, text in sizes.items() if place[1] == kind)
                axes.set_title(f"{kind}\n{size}", fontsize=10)
            if column == 0:
                axes.set_ylabel(f"layer {layer}", fontsize=10)
    figure.supxlabel("columns of the matrix (input dimension)", fontsize=10)
    figure.supylabel("rows of the matrix (output dimension)", fontsize=10)
    figure.suptitle(title, fontsize=12)
    assert image is not None
    bar = figure.colorbar(image, ax=grid, extend="max" if values.max() > top else "neither", aspect=30, pad=0.02)
    bar.set_label("share of weights in the region", fontsize=10)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    save(figure, path)


def density(flat: np.ndarray, rows: int, columns: int, cells: int = 64) -> np.ndarray:
    """The share (0..1) of weights in the region for each cell of a matrix.

    Small matrices have fewer cells, of at least 16 weights each, so that chance does not dominate the shares.

    Args:
        flat: flat row-major indices of the region.
        rows: rows of the matrix.
        columns: columns of the matrix.
        cells: maximum number of cells along each axis.

    Returns:
        Shares of shape (at most ``cells``, at most ``cells``).

    Example:
        >>> import numpy as np
        >>> from lightning_langcore.plots import density
        >>> density(np.arange(32), rows=8, columns=8, cells=2)  # the upper half of an 8 x 8 matrix
        array([[1., 1.],
               [0., 0.]])
    """
    down, across = (max(1, min(cells, size // 4)) for size in (rows, columns))
    row, column = np.divmod(np.asarray(flat), columns)
    cell = (row * down // rows) * across + column * across // columns
    held = np.bincount(cell, minlength=down * across).reshape(down, across)
    height = np.bincount(np.arange(rows) * down // rows, minlength=down)
    breadth = np.bincount(np.arange(columns) * across // columns, minlength=across)
    share: np.ndarray = held / np.outer(height, breadth)
    return share
