"""Exactness of the guard under each optimizer, precision and strategy, bytes per weight, and updates lost in bfloat16.

    python benchmarks/exactness.py                    one device, DDP and FSDP2 in two processes; on GPUs if possible
    python benchmarks/exactness.py --strategies one --steps 200

A LLaMA of 0.4 M weights is trained on random tokens under Lightning, with 5 % of its candidates guarded. After each
step a callback that is independent of the guard reads the tensors and counts over all ranks:

- frozen bits changed: bits of the guarded weights that differ from the weights before Lightning set up the model
- bytes a weight, on each rank: weights + gradients + optimizer state, and the guard's bytes (without DDP's buckets)
- lost: the share of (free candidate weight, step) pairs in which the weight did not move
- never moved: the share of free candidate weights that moved in no step

A combination that is refused is listed with the message. The second table has bfloat16 weights at several learning
rates.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from result_files import Table, add_results_option, write_result
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_langcore import ContinuedPretraining, CoreGuard, Region, random_region
from lightning_langcore.jobs.steps.trainer import quiet
from lightning_langcore.models import sharding
from lightning_langcore.models.parameters import candidates, named_shapes, saved_parameters

VOCAB, ROWS, TOKENS = 512, 4, 64
RANKS = {"one": 1, "ddp": 2, "fsdp2": 2}
OPTIMIZERS = {"adamw": 1e-4, "adamw, clipped": 1e-4, "sgd": 1e-1, "adamw8bit": 1e-4, "paged_adamw8bit": 1e-4}
"""Name -> learning rate."""
PRECISIONS = ["32-true", "bf16-mixed", "bf16-true", *(["16-mixed"] if torch.cuda.is_available() else [])]
RATES = (1e-3, 1e-4, 1e-5)
ANSWER = "answer: "
MEASURED = {
    "frozen bits changed": "{:,.0f}", "bytes a weight": "{:.2f} + {:.2f} + {:.2f} = {:.2f}", "guard": "{:.2f}",
    "lost": "{:.1%}", "never moved": "{:.1%}", "refused": "{}",
}  # fmt: skip
BITS = {2: torch.int16, 4: torch.int32}


def build(name: str, lr: float) -> partial[Optimizer]:
    """Factory of the optimizer, to be called with parameter groups."""
    if name == "sgd":
        return partial(torch.optim.SGD, lr=lr, momentum=0.9)
    if name.endswith("8bit"):
        import bitsandbytes

        kind = {"adamw8bit": "AdamW8bit", "paged_adamw8bit": "PagedAdamW8bit"}[name]
        return partial(getattr(bitsandbytes.optim, kind), lr=lr, weight_decay=0.1)
    return partial(torch.optim.AdamW, lr=lr, weight_decay=0.1, fused=True)


def small_model(precision: str) -> LlamaForCausalLM:
    """Model of 0.4 M weights, the same in every process."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(torch.bfloat16 if precision == "bf16-true" else torch.float32)


class Count(Callback):
    """Counts moves of the local part of each candidate after each step, without using the guard's state."""

    def __init__(self, region: Region, start: dict[str, Tensor]) -> None:
        self.region = region
        self.start = start
        self.counts: dict[str, float] = {}
        self.bytes: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Cut out the local part of each candidate."""
        self.frozen, self.free, self.before, self.moved, self.unchanged = {}, {}, {}, {}, 0
        self.parameters = saved_parameters(pl_module)
        for name, indices in self.region:
            local_box = sharding.box(self.parameters[name])
            mask = torch.zeros(self.start[name].numel(), dtype=torch.bool)
            mask[indices] = True
            device = sharding.local(self.parameters[name]).device
            self.frozen[name] = local_box.of(mask.view_as(self.start[name])).to(device)
            self.before[name] = local_box.of(self.start[name]).to(device, copy=True)
            self.moved[name] = torch.zeros_like(self.frozen[name])
        self.cache = copy.deepcopy(self.before)

    def on_train_batch_end(self, *_: Any) -> None:
        """Count the weights that have moved in this step."""
        for name, before in self.before.items():
            now = sharding.local(self.parameters[name])
            moves = now != before
            self.moved[name] |= moves
            self.unchanged += int((~moves & ~self.frozen[name]).sum())
            before.copy_(now)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sum over ranks while the process group exists."""
        counts = torch.zeros(4, dtype=torch.float64)
        for name, frozen in self.frozen.items():
            now, cache = sharding.local(self.parameters[name])[frozen], self.cache[name][frozen]
            bits = BITS[now.element_size()]
            flipped = (now.view(bits) ^ cache.view(bits)).cpu().numpy()
            own = [np.unpackbits(flipped.view(np.uint8)).sum(), (~frozen).sum(), (~frozen & ~self.moved[name]).sum()]
            counts[:3] += torch.tensor([float(count) for count in own])
        counts[3] = self.unchanged
        flips, free, never, unchanged = trainer.strategy.reduce(counts.to(pl_module.device), reduce_op="sum").tolist()
        lost = unchanged / (free * trainer.global_step)
        self.counts = {"flips": flips, "lost": lost, "never": never / free}
        self.bytes = bytes_a_weight(pl_module, trainer.optimizers)


def bytes_a_weight(module: nn.Module, optimizers: Iterable[Optimizer]) -> dict[str, float]:
    """Bytes on this rank divided by the number of all weights; a tensor that several states share counts once."""
    parameters = list(module.parameters())
    states = [v for o in optimizers for state in o.state.values() for v in state.values() if isinstance(v, Tensor)]
    groups = {"weights": parameters, "gradients": [p.grad for p in parameters if p.grad is not None], "state": states}
    numel = sum(p.numel() for p in parameters)
    found = {}
    for name, tensors in groups.items():
        parts = {part.data_ptr(): part.nbytes for part in map(sharding.local, tensors) if part.numel()}
        found[name] = sum(parts.values()) / numel
    return found


def train(strategy: str, case: dict[str, Any], steps: int) -> dict[str, Any]:
    """Train one combination and return its counts and bytes."""
    model = small_model(case["precision"])
    region = random_region(candidates(named_shapes(model)), 0.05, 0)
    count = Count(region, {n: p.detach().clone() for n, p in saved_parameters(model).items()})
    guard = CoreGuard(region)
    ranks = RANKS[strategy]
    how: dict[str, str | Strategy] = {"one": "auto", "ddp": "ddp"}  # type: ignore[dict-item]
    if strategy == "fsdp2":
        how["fsdp2"] = ModelParallelStrategy(data_parallel_size=ranks, tensor_parallel_size=1)
    trainer = pl.Trainer(
        accelerator="cuda" if torch.cuda.device_count() >= ranks else "cpu", devices=ranks, strategy=how[strategy],
        precision=case["precision"], max_steps=steps, callbacks=[count, guard], logger=False,
        gradient_clip_val=0.1 if case["optimizer"].endswith("clipped") else None, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    ids = torch.randint(0, VOCAB, (ROWS * steps * ranks, TOKENS + 1), generator=torch.Generator().manual_seed(1))
    rows = [{"input_ids": row[:-1], "shift_labels": row[1:]} for row in ids]
    trainer.fit(ContinuedPretraining(model, build(case["optimizer"], case["lr"])), DataLoader(rows, batch_size=ROWS))
    own = sum(part.data.nbytes + values.nbytes for _, part, values in guard._guarded)
    return count.counts | count.bytes | {"guard": own / sum(p.numel() for p in model.parameters())}


def work(strategy: str, cases: list[dict[str, Any]], steps: int) -> None:
    """Program of each rank: train all cases in turn; rank 0 prints the results."""
    torch.set_num_threads(1)
    quiet()
    for case in cases:
        try:
            found = train(strategy, case, steps)
        except ValueError as error:
            found = {"refused": str(error)}
        if os.environ["RANK"] == "0":
            print(ANSWER + json.dumps({**case, **found}), flush=True)


def launch(strategy: str, cases: list[dict[str, Any]], steps: int, limit: float) -> list[dict[str, Any]]:
    """Start the ranks and collect the results; a case without a result has failed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS[strategy]}"]
    command += [str(Path(__file__)), "--steps", str(steps), "--work", strategy, json.dumps(cases)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment, check=False)
        errors = [line for line in done.stderr.splitlines() if "Error: " in line]
        out, message = done.stdout, (errors or ["no answer"])[0]
    except subprocess.TimeoutExpired as error:
        out, message = (error.stdout or b"").decode(), f"no answer within {limit:.0f} s"
    found = [json.loads(line.removeprefix(ANSWER)) for line in out.splitlines() if line.startswith(ANSWER)]
    return found + [{**case, "failed": message} for case in cases[len(found) :]]


def measured(found: dict[str, Any]) -> list[Any]:
    """The cells of ``MEASURED``; a combination that was refused or failed has the message alone."""
    if "refused" in found or "failed" in found:
        return [None] * 5 + [found.get("refused") or f"failed: {found['failed']}"]
    parts = [found[name] for name in ("weights", "gradients", "state")]
    return [found["flips"], [*parts, sum(parts)], found["guard"], found["lost"], found["never"], None]


def main() -> None:
    """Print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", nargs="+", default=list(RANKS), choices=list(RANKS))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--limit", type=float, default=900, help="seconds that each strategy may take")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    add_results_option(parser)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], json.loads(options.work[1]), options.steps)
        return
    cases = [{"optimizer": o, "precision": p, "lr": lr} for o, lr in OPTIMIZERS.items() for p in PRECISIONS]
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"torch {torch.__version__}, {', '.join(gpus) or 'no GPU (gloo processes)'}, {options.steps} steps\n")
    table = Table({"strategy": "{}", "optimizer": "{}", "precision": "{}", **MEASURED})
    print(table.head())
    for strategy in options.strategies:
        for found in launch(strategy, cases, options.steps, options.limit):
            head = (f"{strategy}, {RANKS[strategy]}", found["optimizer"], found["precision"])
            print(table.add(*head, *measured(found)), flush=True)
    cases = [{"optimizer": "adamw", "precision": "bf16-true", "lr": lr} for lr in RATES]
    rates = Table({"lr": "{:g}", **MEASURED})
    print(f"\n{rates.head()}")
    for found in launch("one", cases, options.steps, options.limit):
        print(rates.add(found["lr"], *measured(found)), flush=True)
    settings = {"steps": options.steps, "gpus": gpus}
    write_result("exactness", {"exactness": table, "exactness_lr": rates}, options.results, settings=settings)


if __name__ == "__main__":
    main()
