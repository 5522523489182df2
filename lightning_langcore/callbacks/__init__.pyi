"""Names of the package for type checkers; at run time each is imported when it is first asked for."""

from .core_guard import CoreGuard
from .multilingual_perplexity import MultilingualPerplexity
from .noise_sensitivity.callback import NoiseSensitivity
from .order import Phase, in_order
from .perturb_region import PerturbRegion
from .plain_progress import PlainProgress
from .weight_diff import WeightDiff

__all__ = [
    "CoreGuard",
    "MultilingualPerplexity",
    "NoiseSensitivity",
    "PerturbRegion",
    "Phase",
    "PlainProgress",
    "WeightDiff",
    "in_order",
]
