"""Callbacks for any LightningModule; each works in a script that knows nothing of Hydra."""

from lightning_langcore.callbacks.core_guard import CoreGuard
from lightning_langcore.callbacks.multilingual_perplexity import MultilingualPerplexity
from lightning_langcore.callbacks.noise_sensitivity.callback import NoiseSensitivity
from lightning_langcore.callbacks.plain_progress import PlainProgress
from lightning_langcore.callbacks.weight_diff import WeightDiff

__all__ = ["CoreGuard", "MultilingualPerplexity", "NoiseSensitivity", "PlainProgress", "WeightDiff"]
