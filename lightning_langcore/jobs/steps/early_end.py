"""Trainings that end before their planned steps, and the reason."""

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, Timer

from lightning_langcore.callbacks import NoiseSensitivity
from lightning_langcore.utils.errors import LangcoreError


def reason(trainer: pl.Trainer) -> str | None:
    """Why a training that has ended did so before its planned steps, in one sentence; ``None``: it did not."""
    if trainer.global_step >= trainer.max_steps:
        return None
    after = f"the training after step {trainer.global_step} of {trainer.max_steps}"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, NoiseSensitivity) and callback.stopped_at is not None:
            return f"NoiseSensitivity stopped the training before step {callback.stopped_at}: see flagged.jsonl"
        if isinstance(callback, Timer) and (callback.time_remaining() or 0.0) < 0.0:
            return f"the time limit (trainer.max_time) ended {after}"
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            why = callback.stopping_reason_message.removesuffix("Signaling Trainer to stop.").rstrip(" .")
            return f"{type(callback).__name__} ended {after}: {why}"
    return f"a callback ended {after} (trainer.should_stop)"


def refuse_untrained(trainer: pl.Trainer, first_step: int) -> None:
    """Refuse a training that has ended without a step.

    Args:
        trainer: the trainer after the training.
        first_step: the optimizer steps before the training: 0, or those of the checkpoint.

    Raises:
        LangcoreError: no step was made.
    """
    if trainer.global_step == first_step:
        why = reason(trainer) or "there is nothing to train"
        raise LangcoreError(f"no step was trained: {why}: remove the callback, or raise its limit")
