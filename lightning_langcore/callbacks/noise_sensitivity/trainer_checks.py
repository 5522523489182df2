"""Requirements of the monitor on the trainer."""

from typing import Any, TypeVar

import lightning.pytorch as pl
import torch.distributed
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from lightning_langcore.callbacks.core_guard import CoreGuard
from lightning_langcore.callbacks.order import refuse_wrong_order
from lightning_langcore.utils.errors import LangcoreError

T = TypeVar("T")


def refuse(trainer: pl.Trainer, pl_module: pl.LightningModule, monitor: Callback, action: str) -> None:
    """Refuse a trainer or module that the monitor does not support.

    Raises:
        LangcoreError: a sharded strategy, manual optimization, a GradScaler with ``skip`` or ``stop``, a guard before
            the monitor.
    """
    if isinstance(trainer.strategy, (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)):
        raise LangcoreError(
            "NoiseSensitivity needs whole gradients and is not supported under"
            f" trainer.strategy={type(trainer.strategy).__name__}: use one device or strategy=ddp"
        )
    if not pl_module.automatic_optimization:
        raise LangcoreError(
            f"NoiseSensitivity does not support manual optimization, which {type(pl_module).__name__} uses"
            " (automatic_optimization=False): use automatic optimization, or leave the monitor out"
        )
    if action in ("skip", "stop") and scaler_of(trainer) is not None:
        raise LangcoreError(
            f"NoiseSensitivity(action={action!r}) can't skip under trainer.precision=16-mixed, whose GradScaler needs"
            " gradients: use trainer.precision=bf16-mixed, or action=log or clip"
        )
    refuse_wrong_order(trainer, monitor, CoreGuard, "would see gradients that the guard has set to zero")


def scaler_of(trainer: pl.Trainer) -> Any:
    """The GradScaler of 16-mixed; ``None`` elsewhere."""
    return getattr(trainer.precision_plugin, "scaler", None)


def from_all_ranks(trainer: pl.Trainer, local: T) -> list[T]:
    """The local values of all ranks, in the order of the ranks."""
    if trainer.world_size == 1:
        return [local]
    gathered: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, local)
    return gathered
