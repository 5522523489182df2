"""A training with dropout, and the same one resumed from a checkpoint of its middle, on several ranks."""

import json

import lightning.pytorch as pl
import torch

from tests.support.guarded_training import trained
from tests.support.models import tiny_llama


class Draws(pl.Callback):
    """One random number a step."""

    def __init__(self):
        self.drawn = {}

    def on_train_batch_end(self, trainer, *_):
        self.drawn[trainer.global_step] = float(torch.rand(()))


def run(folder, rank, num_ranks):
    """Each rank writes the numbers it drew, and whether its weights are equal."""
    found, numbers = [], []
    for wanted in (None, folder / "whole/checkpoints/step=6.ckpt"):
        pl.seed_everything(rank)  # each rank drops other activations
        draws = Draws()
        name = "whole" if wanted is None else "resumed"
        ranks = {"devices": num_ranks, "strategy": "ddp", "use_distributed_sampler": False}
        model = tiny_llama(attention_dropout=0.2)
        module, _ = trained(folder / name, wanted=wanted, model=model, callbacks=[draws], **ranks)
        found.append(list(module.parameters()))
        numbers.append(draws.drawn)
    equal = all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    (folder / f"rank{rank}.json").write_text(json.dumps([equal, *numbers]))
