"""What is trained, and how it goes on after an interruption: LightningModules, checkpoints, resume."""
