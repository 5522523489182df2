"""Checkpoints written atomically: at regular steps, and where training ends before its last step."""

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
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.distributed.checkpoint import CheckpointException
from typing_extensions import override

from lightning_langcore.utils.atomic_files import system_error
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say


class StepCheckpoint(Checkpoint):
    """Save the training state to ``step=N.ckpt`` at regular optimizer steps, and where training ends before its last.

    A checkpoint (a file or a folder of shards) is written under a temporary name and renamed when it is complete, so
    that a killed process leaves no incomplete checkpoint under the final name. Checkpoints are written at the end of a
    batch that completed an optimizer step, never during gradient accumulation, because a checkpoint does not hold
    gradients; so a resumed run equals an uninterrupted one. No checkpoint is written after the last step: Lightning
    would not resume from it, and the final evaluation would be missing.

    On SIGTERM, and when a callback sets ``trainer.should_stop`` (as ``EarlyStopping`` and ``max_time`` do), the current
    optimizer step (and the evaluation, if a milestone is due) is finished first, on all ranks.

    Disk: ``save_top_k`` + 1 states. With AdamW a state is 12 bytes per float32 weight.

    Args:
        dirpath: folder of the checkpoints.
        every_n_train_steps: optimizer steps between two checkpoints, 1 or more.
        save_top_k: number of latest checkpoints to keep; -1: all.

    Raises:
        LangcoreError: an argument out of its range.
        OSError: a checkpoint that can't be written, for example on a full disk; earlier checkpoints are kept.
        SIGTERMException: after SIGTERM, once the state is saved.
    """

    def __init__(self, dirpath: Path | str, every_n_train_steps: int = 200, save_top_k: int = 2) -> None:
        if every_n_train_steps < 1:
            raise LangcoreError(f"callbacks.checkpoint.every_n_train_steps={every_n_train_steps} must be 1 or more")
        if save_top_k != -1 and save_top_k < 1:
            raise LangcoreError(f"callbacks.checkpoint.save_top_k={save_top_k} must be 1 or more, or -1 for all")
        self.dirpath = Path(dirpath)
        self.every_n_train_steps = every_n_train_steps
        self.save_top_k = save_top_k
        self._last_step = 0
        self._sigterm_received = False
        self._stop_after_step = False
        self._handler: Any = None

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = _Streamed()

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_step = trainer.global_step
        self._sigterm_received = self._stop_after_step = False
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, lambda number, _: self._on_sigterm(trainer, number))

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step == self._last_step:  # inside an accumulation
            self._postpone_stop(trainer)
            return
        self._last_step = step
        trainer.should_stop |= self._stop_after_step
        terminated = trainer.strategy.reduce_boolean_decision(self._sigterm_received, all=False)
        due = terminated or _is_ending(trainer) or step % self.every_n_train_steps == 0
        if step != trainer.max_steps and due:
            path = self._save(trainer, step)
            if terminated:
                say(f"SIGTERM received: saved {path}")
        if terminated:
            raise SIGTERMException

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or not _is_ending(trainer):
            return
        if trainer.fit_loop._should_accumulate():
            self._postpone_stop(trainer)
        elif trainer.global_step != trainer.max_steps:
            self._save(trainer, trainer.global_step)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._handler is not None:  # only the evaluation is left, which no checkpoint needs
            signal.signal(signal.SIGTERM, self._handler)

    def _postpone_stop(self, trainer: pl.Trainer) -> None:
        """Let training stop at the end of the optimizer step, because a checkpoint holds no accumulated gradients."""
        self._stop_after_step |= _is_ending(trainer)
        trainer.should_stop &= not self._stop_after_step

    def _on_sigterm(self, trainer: pl.Trainer, number: int) -> None:
        if not self._sigterm_received and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(number)  # forward the signal to the ranks that this process has started
        self._sigterm_received = True

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
        """Keep the latest checkpoints up to ``step``; later ones are of a run that was resumed from an earlier step."""
        if self.save_top_k == -1:
            return
        found = ((step_of(path), path) for path in self.dirpath.glob("step=*.ckpt"))
        past = sorted((number, path) for number, path in found if number is not None and number <= step)
        for _, path in past[: -self.save_top_k]:
            _remove(path)


def _is_ending(trainer: pl.Trainer) -> bool:
    return trainer.should_stop and trainer.fit_loop._can_stop_early  # not before min_steps


class _Streamed(TorchCheckpointIO):
    """Write directly to the file: Lightning's implementation needs a copy in memory and another one in /tmp."""

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
    """The reason why ``path`` can't be written, as an ``OSError`` with its path; other errors are returned unchanged.

    torch's writer wraps the system's error, and the error of FSDP2, which all ranks get, is no ``Exception``.
    """
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    if not isinstance(error, OSError | RuntimeError):
        return error
    found = system_error(error)
    if found is not None:
        return OSError(found.errno, found.strerror, found.filename or str(path))
    if "inline_container" in str(error):  # torch's writer, without the system's error
        return OSError(f"{path}: {str(error).splitlines()[0]}")
    return error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
