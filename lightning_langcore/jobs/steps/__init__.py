"""What jobs are made of: base model and text, regions, trainer, evaluation, records."""
