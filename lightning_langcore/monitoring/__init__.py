"""Comparison of an optimizer step with earlier steps: rolling windows, gradients, text, the decision."""
