"""The door for a clone: ``python train.py +experiment=recovery_frozen``."""

import hydra
from omegaconf import DictConfig

from lightning_langcore.cli.main import guarded_run


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Run one job, or with ``-m`` a sweep."""
    guarded_run(cfg)


if __name__ == "__main__":
    main()
