"""Sense noisy data before it reaches the weights."""

from lightning_langcore.callbacks.noise_sensitivity.callback import NoiseSensitivity

__all__ = ["NoiseSensitivity"]
