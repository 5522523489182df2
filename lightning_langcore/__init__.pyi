"""Names of the package for type checkers; at run time each is imported when it is first asked for."""

from .callbacks.core_guard import CoreGuard
from .callbacks.multilingual_perplexity import MultilingualPerplexity
from .callbacks.noise_sensitivity.callback import NoiseSensitivity
from .callbacks.perturb_region import PerturbRegion
from .callbacks.plain_progress import PlainProgress
from .callbacks.weight_diff import WeightDiff
from .importance.registry import register_region_kind, register_score
from .importance.scores import Score
from .importance.selection import random_region, select
from .metrics.perplexity import BitsPerByte, Perplexity
from .regions.perturbation import perturb_, perturbed
from .regions.region import Region
from .training.modules import ContinuedPretraining, SupervisedFineTuning
from .utils.errors import LangcoreError

__version__: str

__all__ = [
    "BitsPerByte",
    "ContinuedPretraining",
    "CoreGuard",
    "LangcoreError",
    "MultilingualPerplexity",
    "NoiseSensitivity",
    "Perplexity",
    "PerturbRegion",
    "PlainProgress",
    "Region",
    "Score",
    "SupervisedFineTuning",
    "WeightDiff",
    "perturb_",
    "perturbed",
    "random_region",
    "register_region_kind",
    "register_score",
    "select",
]
