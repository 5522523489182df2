"""What the monitor asks of the trainer."""

from typing import Any, TypeVar

import lightning.pytorch as pl
import torch.distributed
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from lightning_langcore.callbacks.core_guard import CoreGuard
from lightning_langcore.callbacks.order import refuse_behind

T = TypeVar("T")


def refuse(trainer: pl.Trainer, pl_module: pl.LightningModule, monitor: Callback, action: str) -> None:
    """Refuse what can't be honoured.

    Raises:
        ValueError: a sharded strategy, manual optimization, a scaler that wants gradients, a guard before the monitor.
    """
    if isinstance(trainer.strategy, (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)):
        raise ValueError(
            "NoiseSensitivity looks at whole gradients and can't under"
            f" trainer.strategy={type(trainer.strategy).__name__}: use one device or strategy=ddp"
        )
    if not pl_module.automatic_optimization:
        raise ValueError(
            f"NoiseSensitivity can't tell what a step is in {type(pl_module).__name__}, which optimizes by hand"
            " (automatic_optimization=False): let Lightning optimize, or leave the monitor out"
        )
    if action in ("skip", "stop") and scaler_of(trainer) is not None:
        raise ValueError(
            f"NoiseSensitivity(action={action!r}) can't skip under trainer.precision=16-mixed, whose GradScaler wants"
            " gradients: use trainer.precision=bf16-mixed, or action=log or clip"
        )
    refuse_behind(trainer, monitor, CoreGuard, "would see gradients that the guard has zeroed")


def scaler_of(trainer: pl.Trainer) -> Any:
    """The GradScaler of 16-mixed; ``None`` elsewhere."""
    return getattr(trainer.precision_plugin, "scaler", None)


def from_all_ranks(trainer: pl.Trainer, mine: T) -> list[T]:
    """What every rank has, in the order of the ranks."""
    if trainer.world_size == 1:
        return [mine]
    gathered: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, mine)
    return gathered
