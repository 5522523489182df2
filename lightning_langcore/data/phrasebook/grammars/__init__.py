"""One grammar per language, all with the same interface (``base.Grammar``)."""
