"""Which weights of a language model carry language, and how to keep them safe: a PyTorch Lightning extension."""

from lightning_langcore.callbacks import CoreGuard, MultilingualPerplexity, NoiseSensitivity, PlainProgress, WeightDiff
from lightning_langcore.importance.selection import random_region, select
from lightning_langcore.metrics.perplexity import BitsPerByte, Perplexity
from lightning_langcore.regions.perturbation import perturb_, perturbed
from lightning_langcore.regions.region import Region
from lightning_langcore.training.modules import ContinuedPretraining, SupervisedFineTuning

__version__ = "0.1.0"

__all__ = [
    "BitsPerByte",
    "ContinuedPretraining",
    "CoreGuard",
    "MultilingualPerplexity",
    "NoiseSensitivity",
    "Perplexity",
    "PlainProgress",
    "Region",
    "SupervisedFineTuning",
    "WeightDiff",
    "perturb_",
    "perturbed",
    "random_region",
    "select",
]
