"""Pictures of runs and of regions. Each function writes one file, atomically."""

from lightning_langcore.plots.axes import NothingToDrawError
from lightning_langcore.plots.damage import damage, damage_bars
from lightning_langcore.plots.dose_response import drift_curves, response_curves
from lightning_langcore.plots.heatmap import pair_heatmap
from lightning_langcore.plots.overviews import concentration_overview, density_overview
from lightning_langcore.plots.recovery import milestones, recovery_curves
from lightning_langcore.plots.regions import density, region_heatmap
from lightning_langcore.plots.row_column_profiles import row_column_histograms
from lightning_langcore.plots.single_weights import dimension_grid
from lightning_langcore.plots.style import COLOURS
from lightning_langcore.plots.tradeoff import tradeoff
from lightning_langcore.plots.trajectories import noise_trajectories, validation_trajectories

__all__ = [
    "COLOURS",
    "NothingToDrawError",
    "concentration_overview",
    "damage",
    "damage_bars",
    "density",
    "density_overview",
    "dimension_grid",
    "drift_curves",
    "milestones",
    "noise_trajectories",
    "pair_heatmap",
    "recovery_curves",
    "region_heatmap",
    "response_curves",
    "row_column_histograms",
    "tradeoff",
    "validation_trajectories",
]
