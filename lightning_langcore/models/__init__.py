"""Causal language models and their parameters: load, make, name, shard, read from disk."""
