"""Names of the package for type checkers; at run time each is imported when it is first asked for."""

from .core_guard import CoreGuard
from .multilingual_perplexity import MultilingualPerplexity
from .noise_sensitivity.callback import NoiseSensitivity
from .plain_progress import PlainProgress
from .weight_diff import WeightDiff

__all__ = [
    "CoreGuard",
    "MultilingualPerplexity",
    "NoiseSensitivity",
    "PlainProgress",
    "WeightDiff",
]
