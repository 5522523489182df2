"""The door for a clone: ``python train.py +experiment=recovery_frozen``."""

import hydra

from lightning_langcore.cli import guarded_run

main = hydra.main(config_path="conf", config_name="train", version_base="1.3")(guarded_run)

if __name__ == "__main__":
    main()
