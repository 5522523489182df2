"""Pictures of runs and of regions. Each function writes one file, atomically."""

from lightning_langcore.plots.damage import damage, damage_bars
from lightning_langcore.plots.dimensions import dimension_grid
from lightning_langcore.plots.lines import line_histograms
from lightning_langcore.plots.overviews import concentration_overview, density_overview
from lightning_langcore.plots.pairs import pair_heatmap
from lightning_langcore.plots.recovery import milestones, recovery_curves
from lightning_langcore.plots.regions import density, region_heatmap
from lightning_langcore.plots.style import COLOURS

__all__ = [
    "COLOURS",
    "concentration_overview",
    "damage",
    "damage_bars",
    "density",
    "density_overview",
    "dimension_grid",
    "line_histograms",
    "milestones",
    "pair_heatmap",
    "recovery_curves",
    "region_heatmap",
]
