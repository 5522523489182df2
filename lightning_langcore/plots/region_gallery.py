"""The pictures and the table of where one region lies, and the picture of how regions overlap."""

from collections.abc import Sequence
from pathlib import Path

from lightning_langcore import plots
from lightning_langcore.plots.overviews import shares_differ
from lightning_langcore.regions.concentration import concentration_table, write_csv
from lightning_langcore.regions.overlap import Overlap, jaccard_matrix
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.weight_set import Indices


def where_it_lies(region: Region, name: str, folder: Path) -> None:
    """Draw where a region lies: heat map, counts by row and column, concentration and its table, share of each matrix.

    The last is left out where all shares are the same. Nothing is drawn of a region that has no matrix of a layer.

    Args:
        region: what is drawn.
        name: start of the names of the files, and of the titles.
        folder: for the files; it is made.
    """
    matrices = {n: part for n, part in region.parts.items() if len(part.shape) == 2 and ".layers." in f".{n}"}
    if not matrices:
        return
    counts = {n: part.row_column_counts() for n, part in matrices.items()}
    table = concentration_table(counts)
    write_csv(table, folder / f"{name}_concentration.csv")
    plots.region_heatmap(Indices(region.parts), region.shapes, folder / f"{name}.png", f"{name}: where the weights lie")
    plots.row_column_histograms(counts, region.shapes, folder / f"{name}_lines.png", f"{name}: rows and columns")
    plots.concentration_overview(table, folder / f"{name}_concentration.png", f"{name}: concentration")
    sizes = {n: len(part) for n, part in region.parts.items()}
    if shares_differ(sizes, region.shapes):
        plots.density_overview(sizes, region.shapes, folder / f"{name}_density.png", f"{name}: share of each matrix")


def overlap_picture(rows: Sequence[Overlap], path: Path, title: str) -> None:
    """Jaccard of every pair as a labelled heat map, the diagonal left out."""
    names, values, chance = jaccard_matrix(rows)
    plots.pair_heatmap(values, names, names, path, title, f"Jaccard overlap (by chance {chance:.3f})", text="{:.3f}")
