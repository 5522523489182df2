"""Questions and exercises about the phrasebook: their meanings, their plan, and one module of words a language."""
