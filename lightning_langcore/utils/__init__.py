"""Tools that know nothing of models: files, caches, progress."""
