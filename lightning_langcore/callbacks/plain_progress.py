"""Progress as lines of text, for a log file or a pipe."""

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from lightning_langcore.utils.progress import LINE_SECONDS, say


class PlainProgress(Callback):
    """Print a line every ten seconds and at the end: step, total, loss, steps per second. Only rank 0 prints.

    Args:
        description: the beginning of each line.

    Example:
        >>> from functools import partial
        >>> import lightning.pytorch as pl
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> from lightning_langcore import ContinuedPretraining, PlainProgress
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> rows = [{"input_ids": torch.arange(8), "shift_labels": torch.arange(1, 9)}] * 2
        >>> quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        >>> module = ContinuedPretraining(model, partial(torch.optim.AdamW, lr=1e-2))
        >>> callbacks = [PlainProgress("recovery")]
        >>> trainer = pl.Trainer(max_steps=2, enable_checkpointing=False, callbacks=callbacks, **quiet)
        >>> trainer.fit(module, DataLoader(rows))
    """

    def __init__(self, description: str = "training") -> None:
        self.description = description
        self._started = self._last = 0.0
        self._first_step = 0

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = self._last = time.monotonic()
        self._first_step = trainer.global_step

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            self._print(trainer)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print(trainer)

    def _print(self, trainer: pl.Trainer) -> None:
        rate = (trainer.global_step - self._first_step) / max(time.monotonic() - self._started, 1e-9)
        loss = trainer.callback_metrics.get("train/loss")
        loss_text = "" if loss is None else f", loss {float(loss):.3f}"
        total = trainer.estimated_stepping_batches
        say(f"{self.description}: step {trainer.global_step} of {total:.0f}{loss_text}, {rate:.1f} steps/s")
