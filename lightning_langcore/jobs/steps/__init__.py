"""The steps that jobs share: base model and text, regions, trainer, evaluation, records."""
