"""Documents and conversations, packed once into rows of tokens on disk."""
