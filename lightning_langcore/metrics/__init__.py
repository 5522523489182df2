"""Perplexity, bits per byte and the losses that they are computed from: functions from tensors to numbers."""
