"""Checkpoints that are there whole or not at all: every so many steps, and when the run is asked to end."""

import os
import re
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.distributed.checkpoint import CheckpointException
from typing_extensions import override

from lightning_langcore.utils.atomic_files import system_error
from lightning_langcore.utils.progress import say


class StepCheckpoint(Checkpoint):
    """Write the state of training to ``step=N.ckpt`` every so many optimizer steps, and on SIGTERM before ending.

    A checkpoint is written beside its place and renamed when it is whole, be it a file or a folder of shards: a process
    that is killed leaves no half one under that name. All is written at the end of a batch that has made an optimizer
    step, never with gradients half accumulated, which no checkpoint holds; so a resumed run equals an uninterrupted
    one. None is written after the last step: Lightning would not resume there, and so leave out the final scores.

    On SIGTERM the optimizer step in hand is finished first (and the scoring, if a milestone is due), on all ranks.

    Disk: ``save_top_k`` + 1 states. With AdamW a state is 12 bytes a float32 weight.

    Args:
        dirpath: where they are written.
        every_n_train_steps: optimizer steps between two, 1 or more.
        save_top_k: how many of the last are kept; -1: all.

    Raises:
        ValueError: an argument is out of its range.
        OSError: a checkpoint can't be written, as on a full disk; those before it are kept.
        SIGTERMException: the process was asked to end; the state is written.
    """

    def __init__(self, dirpath: Path | str, every_n_train_steps: int = 200, save_top_k: int = 2) -> None:
        if every_n_train_steps < 1:
            raise ValueError(f"callbacks.checkpoint.every_n_train_steps={every_n_train_steps} must be 1 or more")
        if save_top_k != -1 and save_top_k < 1:
            raise ValueError(f"callbacks.checkpoint.save_top_k={save_top_k} must be 1 or more, or -1 for all")
        self.dirpath = Path(dirpath)
        self.every_n_train_steps = every_n_train_steps
        self.save_top_k = save_top_k
        self._last_step = 0
        self._asked = False
        self._handler: Any = None

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = _Streamed()

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_step = trainer.global_step
        self._asked = False
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, lambda number, _: self._ask(trainer, number))

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step == self._last_step:  # inside an accumulation
            return
        self._last_step = step
        asked = trainer.strategy.reduce_boolean_decision(self._asked, all=False)
        more_to_come = step != trainer.max_steps and not trainer.should_stop
        if more_to_come and (asked or step % self.every_n_train_steps == 0):
            path = self._save(trainer, step)
            if asked:
                say(f"asked to end (SIGTERM): saved {path}")
        if asked:
            raise SIGTERMException

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._handler is not None:  # what is left is scoring: there is nothing to wait for
            signal.signal(signal.SIGTERM, self._handler)

    def _ask(self, trainer: pl.Trainer, number: int) -> None:
        if not self._asked and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(number)  # the ranks that this process has started
        self._asked = True

    def _save(self, trainer: pl.Trainer, step: int) -> Path:
        path = self.dirpath / f"step={step}.ckpt"
        temporary = self.dirpath / f".{path.name}.part"
        if trainer.is_global_zero:
            for left in self.dirpath.glob(".*.part"):
                _remove(left)
        trainer.strategy.barrier()
        try:
            trainer.save_checkpoint(temporary, weights_only=False)
        except BaseException as error:
            if trainer.is_global_zero:
                _remove(temporary)
            reason = _reason(error, path)
            if reason is error:
                raise
            raise reason from error
        if trainer.is_global_zero:
            if path.is_dir():
                _remove(path)
            temporary.replace(path)
            self._prune(step)
        return path

    def _prune(self, step: int) -> None:
        """Keep the last ones up to ``step``; later ones are of a run that was resumed before them."""
        if self.save_top_k == -1:
            return
        found = ((step_of(path), path) for path in self.dirpath.glob("step=*.ckpt"))
        past = sorted((number, path) for number, path in found if number is not None and number <= step)
        for _, path in past[: -self.save_top_k]:
            _remove(path)


class _Streamed(TorchCheckpointIO):
    """Straight into the file: Lightning's own holds a second copy in memory and a third in the system's /tmp."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


def step_of(path: Path) -> int | None:
    """The optimizer step in a checkpoint's name, as Lightning and :class:`StepCheckpoint` write it."""
    found = re.search(r"step=(\d+)(?:-v\d+)?\.ckpt$", path.name)
    return None if found is None else int(found[1])


def _reason(error: BaseException, path: Path) -> BaseException:
    """Why ``path`` can't be written, as an ``OSError`` that names it; an error that is no file's is as it was.

    torch's writer hides the system's error behind its own, and FSDP2's, which all ranks get, is no ``Exception``.
    """
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    if not isinstance(error, OSError | RuntimeError):
        return error
    found = system_error(error)
    if found is not None:
        return OSError(found.errno, found.strerror, found.filename or str(path))
    if "inline_container" in str(error):  # torch's writer, which another rank or torch's own file tells no more of
        return OSError(f"{path}: {str(error).splitlines()[0]}")
    return error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
