"""Training and its resumption after an interruption: LightningModules, checkpoints, resume."""
