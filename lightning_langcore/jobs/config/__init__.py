"""The configuration: what it says, and what of it can't be honoured."""
