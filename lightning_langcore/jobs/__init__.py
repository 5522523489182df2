"""The jobs. Each module has ``run(cfg) -> Results`` and is chosen by ``job.name``."""
