"""One grammar for each language, all with the same interface (``base.Grammar``)."""
