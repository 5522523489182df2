"""A short guarded training that keeps checkpoints, and what stops it."""

from functools import partial

import lightning.pytorch as pl
import torch

from lightning_langcore import ContinuedPretraining, CoreGuard
from lightning_langcore.callbacks import in_order
from lightning_langcore.training import resume
from lightning_langcore.training.checkpointing import StepCheckpoint
from tests.support.models import random_half, tiny_llama
from tests.support.training import Plain, blocks, loader

# --- the parts by themselves


def trained(folder, *, steps=12, wanted=None, every=3, region=None, settings=None, logger=None, model=None, **more):
    """A guarded training of 12 batches with AdamW; module and trainer."""
    module = ContinuedPretraining(model or tiny_llama(), partial(torch.optim.AdamW, lr=1e-2), "cosine")
    region = random_half(module) if region is None else region
    callbacks = [
        resume.RunFingerprint(settings or {"lr": 1}),
        CoreGuard(region),
        StepCheckpoint(folder / "checkpoints", every),
    ]
    callbacks += more.pop("callbacks", [])
    validation = more.pop("validation", None)
    kept = Plain(folder, **{"max_epochs": -1, "max_steps": steps, **({"logger": logger} if logger else {}), **more})
    trainer = pl.Trainer(**kept, callbacks=in_order(callbacks))
    start = resume.choose(trainer, module, wanted)
    trainer.fit(module, loader(blocks(12)), validation, ckpt_path=start, weights_only=True)
    return module, trainer


class StopAt(pl.Callback):
    """As Ctrl-C, or a kill, before a checkpoint of that step could be written."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise RuntimeError("stopped")
