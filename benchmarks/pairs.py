"""Trainings under Lightning that alternate in one process, a step each."""

import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from guard import synchronize
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from transformers import LlamaForCausalLM

from lightning_langcore import ContinuedPretraining


class Turns:
    """A training in its own thread that makes one step per call of :meth:`step` and then waits.

    A step lasts from the moment its batch goes to the Trainer until the Trainer requests the next batch. It includes
    forward, backward, update, all hooks and the logger.

    Args:
        model: The model; it is trained with AdamW, clipped at 1 and logged to a CSV file every ten steps.
        batches: The batches, one more than the number of steps.
        callbacks: The callbacks of the Trainer.
        folder: The folder of the logger.
    """

    def __init__(
        self, model: LlamaForCausalLM, batches: Sequence[dict[str, Any]], callbacks: Sequence[Callback], folder: Path
    ) -> None:
        self.seconds: list[float] = []
        self._batches = batches
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        optimizer = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1, fused=model.device.type != "mps")
        module = ContinuedPretraining(model, optimizer)
        trainer = pl.Trainer(
            accelerator=model.device.type, devices=1, max_epochs=1, gradient_clip_val=1.0, callbacks=list(callbacks),
            logger=CSVLogger(folder), log_every_n_steps=10, default_root_dir=folder, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._train, args=(trainer, module), daemon=True)
        self._thread.start()
        self._wait()

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Batches for the Trainer, with a pause after each."""
        for batch in self._batches:
            self._done.release()
            self._go.acquire()
            started = time.perf_counter()
            yield dict(batch)
            synchronize(batch["input_ids"])
            self.seconds.append(time.perf_counter() - started)

    def step(self) -> None:
        """Make one step, or raise the error that ended the training."""
        self._go.release()
        self._wait()

    def finish(self) -> None:
        """Make the last step, which is not timed, and end the training."""
        self._go.release()
        self._thread.join()
        self._wait()

    def _wait(self) -> None:
        self._done.acquire()
        if self._error is not None:
            raise self._error

    def _train(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        try:
            trainer.fit(module, self)
        except BaseException as error:  # raised again in the thread that waits
            self._error = error
        finally:
            self._done.release()
