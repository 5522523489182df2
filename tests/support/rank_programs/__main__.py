"""Programs in turn on the ranks that this one is started with: a start takes longer than most of them.

    torchrun --nproc-per-node 2 -m tests.support.rank_programs FOLDER NAME ...

Each has ``run(folder, rank, num_ranks)`` and a folder of its own in FOLDER.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

import torch

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[2:]:
        program = import_module(f"tests.support.rank_programs.{name}")
        program.run(Path(sys.argv[1]) / name, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
