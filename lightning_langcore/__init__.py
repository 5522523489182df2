"""Which weights of a language model carry language, and how to keep them safe: a PyTorch Lightning extension."""

from lightning_langcore.callbacks import (
    CoreGuard,
    MultilingualPerplexity,
    NoiseSensitivity,
    PlainProgress,
    WeightDiff,
)
from lightning_langcore.metrics import BitsPerByte, Perplexity
from lightning_langcore.modules import ContinuedPretraining, SupervisedFineTuning
from lightning_langcore.perturb import perturb_, perturbed
from lightning_langcore.region import Region
from lightning_langcore.select import random_region, select

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
