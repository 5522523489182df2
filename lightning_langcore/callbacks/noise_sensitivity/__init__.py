"""Detection of noisy data before it changes the weights."""

from lightning_langcore.callbacks.noise_sensitivity.callback import NoiseSensitivity

__all__ = ["NoiseSensitivity"]
