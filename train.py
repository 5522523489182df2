"""Entry point of a clone: ``python train.py +experiment=recovery_frozen``."""

from pathlib import Path

from lightning_langcore.cli.main import main

if __name__ == "__main__":
    main(config_path=str(Path(__file__).resolve().parent / "conf"))
