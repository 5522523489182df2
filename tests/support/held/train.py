"""``langcore`` that holds still after so many batches: a test sends its signal there, however busy the CPU is.

    HOLD_AFTER=22 HOLD_IN=FOLDER python tests/support/held/train.py WORD ...

Every rank writes its process id to FOLDER/rankN, and once it has come so far makes FOLDER/held and waits for FOLDER/go.
A file, not a module: Lightning starts it again for each rank.
"""

import os
import time
from itertools import count
from pathlib import Path

from lightning_langcore.cli.main import main
from lightning_langcore.training.checkpointing import StepCheckpoint

if __name__ == "__main__":
    batches, after_batch, folder = count(1), StepCheckpoint.on_train_batch_end, Path(os.environ["HOLD_IN"])

    def hold(self, *arguments):
        after_batch(self, *arguments)
        if next(batches) == int(os.environ["HOLD_AFTER"]):
            (folder / "held").touch()
            while not (folder / "go").exists():
                time.sleep(0.01)

    (folder / f"rank{os.environ.get('LOCAL_RANK', '0')}").write_text(str(os.getpid()))
    StepCheckpoint.on_train_batch_end = hold
    main()
