"""Utilities that do not depend on models: files, caches, progress."""
