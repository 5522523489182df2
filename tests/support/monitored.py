"""Trainings under the noise monitor: batches with bursts, and plain modules."""

import json
from functools import partial

import lightning.pytorch as pl
import torch

from lightning_langcore import ContinuedPretraining
from lightning_langcore.callbacks.noise_sensitivity.callback import NoiseSensitivity
from lightning_langcore.data.datamodule import ResumableLoader
from lightning_langcore.monitoring.detector import NoiseRules
from tests.support.training import Plain, Rows, blocks

SGD = partial(torch.optim.SGD, lr=1e-1, momentum=0.9, weight_decay=0.1)
ADAMW = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.5)
RULES = NoiseRules()
Monitor = partial(NoiseSensitivity, max_repeats=12)  # rows of 16 tokens


def noisy(count, bad, rows=2, seed=0, **more):
    """Random batches with documents; the first row of the bad ones is one token again and again."""
    batches = [{k: v.clone() for k, v in batch.items()} for batch in blocks(count, rows=rows, seed=seed, **more)]
    for i, batch in enumerate(batches):
        entries = [{"source": "files", "language": "zh", "document": f"{i}-{row}"} for row in range(rows)]
        if i in bad:
            batch["input_ids"][0] = batch["shift_labels"][0] = 7
            entries[0]["tag"] = "repeat:16"
        batch["documents"] = [json.dumps([entry]) for entry in entries]
    return batches


def lines(folder):
    path = folder / "flagged.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def assert_equal(one, two):
    for (name, a), (_, b) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert torch.equal(a, b), name


class Shares(ContinuedPretraining):
    """Two ranks take the rows in turns, so that together they see one rank's batches."""

    batches = ()

    def train_dataloader(self):
        rows = Rows(self.batches)
        share = list(range(self.trainer.global_rank, len(rows), 2))
        return torch.utils.data.DataLoader(torch.utils.data.Subset(rows, share), batch_size=1)


def two_epochs(monitor, module, batches, folder, **more):
    trainer = pl.Trainer(**Plain(folder, **({"max_steps": 2 * len(batches)} | more)), callbacks=monitor)
    trainer.fit(module, ResumableLoader(Rows(batches), batch_size=2))
    return trainer


class Recorder(pl.Callback):
    """What the monitor said after each step."""

    def __init__(self):
        self.rows = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.rows.append({k[6:]: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("noise/")})


class Regression(pl.LightningModule):
    """A module that this project did not write: no text, no labels."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(2)  # with some other weights a clean loss lies six sigmas above the median by chance
            self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return (self.layer(batch["x"]) - batch["y"]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0, momentum=0.9)


def points(count, bad):
    generator = torch.Generator().manual_seed(0)
    xs, ys = torch.randn(count, 8, 3, generator=generator), torch.randn(count, 8, generator=generator)
    for i, scale in bad.items():
        ys[i] *= scale
    return [{"x": x, "y": y} for x, y in zip(xs, ys, strict=True)]


def run_points(monitor, batches, module=None, **more):
    module = module or Regression()
    arguments = {"max_epochs": 1, "enable_checkpointing": False} | more
    trainer = pl.Trainer(**Plain(None, **arguments), callbacks=[monitor])
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    return trainer
