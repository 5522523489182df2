"""Is an optimizer step like those before it: rolling windows, gradients, text, the decision."""
