"""Questions and exercises in the languages of the phrasebook: one module per language."""
