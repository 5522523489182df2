"""Causal language models and their parameters: loading, creation, names, sharding, reading from disk."""
