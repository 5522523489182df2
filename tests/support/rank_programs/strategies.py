"""Trains a small model on the ranks that it is started with, and writes down how that ended: for test_strategies.py.

    torchrun --nproc-per-node 2 -m tests.support.rank_programs.strategies FOLDER CASES

FOLDER holds the base model (``base``) and the region; CASES is a JSON list of dicts, each with its ``name``. A machine
with as many GPUs runs the same on them.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from safetensors.torch import save_file

from lightning_langcore import ContinuedPretraining, CoreGuard, MultilingualPerplexity, Region, WeightDiff, perturb_
from lightning_langcore.data.packing.dataset import ResumableLoader
from lightning_langcore.metrics.text_scorer import TextScorer
from lightning_langcore.models import fsdp2, loading, sharding
from tests.support.models import VOCAB
from tests.support.training import Plain, Rows

ROWS, SIZE = 6, 16
OPTIMIZERS = {
    "adamw": partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1, fused=True),
    "sgd": partial(torch.optim.SGD, lr=1e-1, momentum=0.9, weight_decay=0.01),
}


def batches(count: int, rank: int, num_ranks: int) -> list[dict[str, torch.Tensor]]:
    """This rank's rows of each batch: all ranks together always read the same ROWS rows."""
    tokens = torch.randint(0, VOCAB, (count, ROWS, SIZE + 1), generator=torch.Generator().manual_seed(3))
    mine = tokens[:, rank::num_ranks]
    return [{"input_ids": t[:, :-1], "shift_labels": t[:, 1:]} for t in mine]


class Damage(Callback):
    def __init__(self, region, method):
        self.region, self.method = region, method

    def on_train_start(self, trainer, module):
        if trainer.global_step == 0:
            self.undo = perturb_(module, self.region, self.method, 2.0, seed=5)


class Report(Callback):
    """What is compared, gathered while the process group is there."""

    def __init__(self, folder, guard, diff, perplexity):
        self.folder, self.guard, self.diff, self.perplexity = folder, guard, diff, perplexity
        self.figures = {}

    def on_train_start(self, trainer, module):
        self.start = {name: w.clone() for name, w in fsdp2.full_state(module.model).items()}

    def on_train_end(self, trainer, module):
        drift = self.diff.drift()
        figures = {
            "means": self.diff.means(),
            "drift": [drift.region, drift.rest, [line._asdict() for line in drift.lines]],
            "max_abs_drift": self.guard.drift(),
            "rows": [{k: v for k, v in row.items() if k != "ppl"} for row in self.perplexity.rows],
            "guarded_here": sum(len(part) for _, part, _ in self.guard._guarded),
            "scores_without_logits": TextScorer(module, module)._head is not None,
            "num_sharded": sum(map(sharding.is_sharded, module.parameters())),
        }
        end = fsdp2.full_state(module.model)
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(figures))
        if trainer.is_global_zero:
            save_file({k: v.contiguous().clone() for k, v in self.start.items()}, self.folder / "start.safetensors")
            save_file({k: v.contiguous().clone() for k, v in end.items()}, self.folder / "end.safetensors")


def run(work: Path, case: dict, rank: int, num_ranks: int) -> None:
    folder = work / case["name"]
    folder.mkdir(exist_ok=True)
    region = Region.load(work / "region.safetensors")
    dtype = "bfloat16" if case.get("precision") == "bf16-true" else "float32"
    model = (fsdp2.empty_model if case.get("meta") else loading.load_model)(work / case.get("base", "base"), dtype)
    module = ContinuedPretraining(model, OPTIMIZERS[case.get("optimizer", "adamw")])
    guard = CoreGuard(region)
    collect = folder / "change.safetensors"
    diff = WeightDiff(1, work / case.get("base", "base"), [2], folder, collect, region)
    loaders = {"zh": batches(3, 0, 2), "en": batches(1, 1, 2)}  # neither shares evenly over two ranks or three
    perplexity = MultilingualPerplexity(loaders, [0])
    callbacks = [perplexity, Damage(region, case.get("method", "reinit")), guard, diff]
    callbacks.append(Report(folder, guard, diff, perplexity))
    more = {}
    if case.get("keep"):
        every = {"every_n_train_steps": 1, "save_top_k": -1}
        callbacks.append(ModelCheckpoint(folder / "checkpoints", filename="{step}", **every))
        more["enable_checkpointing"] = True
    strategy = case.get("strategy", "auto")
    if strategy == "fsdp2":
        strategy = ModelParallelStrategy(num_ranks, 1, save_distributed_checkpoint=not case.get("one_file"))
    accelerator = "cuda" if torch.cuda.device_count() >= num_ranks else "cpu"
    trainer = pl.Trainer(**Plain(folder, **(
        {"accelerator": accelerator, "devices": num_ranks, "strategy": strategy, "callbacks": callbacks,
         "max_steps": case.get("steps", 4), "precision": case.get("precision", "32-true"), "gradient_clip_val": 0.5,
         "accumulate_grad_batches": 2, "use_distributed_sampler": False, "enable_checkpointing": False} | more
    )))  # fmt: skip
    loader = ResumableLoader(Rows(batches(8, rank, num_ranks)), batch_size=ROWS // num_ranks)
    resume = case.get("resume")
    trainer.fit(module, loader, ckpt_path=None if resume is None else work / resume, weights_only=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in json.loads(sys.argv[2]):
        run(Path(sys.argv[1]), case, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
