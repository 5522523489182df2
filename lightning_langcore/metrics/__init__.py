"""Perplexity, bits per byte and what they are made of: tensors in, numbers out."""
