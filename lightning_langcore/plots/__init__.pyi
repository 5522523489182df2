"""Names of the package for type checkers; at run time each is imported when it is first asked for."""

from .axes import NothingToDrawError
from .damage import damage_bars, perturbed_points
from .dose_response import drift_curves, response_curves
from .heatmap import pair_heatmap
from .overviews import concentration_overview, density_overview
from .recovery import milestones, recovery_curves
from .regions import density, region_heatmap
from .row_column_profiles import row_column_histograms
from .single_weights import dimension_grid
from .style import COLOURS
from .tradeoff import tradeoff_curves
from .trajectories import noise_trajectories, validation_trajectories

__all__ = [
    "COLOURS",
    "NothingToDrawError",
    "concentration_overview",
    "damage_bars",
    "density",
    "density_overview",
    "dimension_grid",
    "drift_curves",
    "milestones",
    "noise_trajectories",
    "pair_heatmap",
    "perturbed_points",
    "recovery_curves",
    "region_heatmap",
    "response_curves",
    "row_column_histograms",
    "tradeoff_curves",
    "validation_trajectories",
]
