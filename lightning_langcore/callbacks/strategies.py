"""Checks that a callback of this package supports the trainer's strategy."""

import lightning.pytorch as pl
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from lightning_langcore.utils.errors import LangcoreError


def refuse_flat_shards(trainer: pl.Trainer, what: str) -> None:
    """Refuse strategies that hold weights in flat or private buffers, where single weights can't be addressed.

    Args:
        trainer: the trainer with the strategy.
        what: the name of the callback, for the message.

    Raises:
        LangcoreError: the strategy is FSDP1 or DeepSpeed.
    """
    if isinstance(trainer.strategy, (DeepSpeedStrategy, FSDPStrategy)):
        raise LangcoreError(
            f"{what} can't address single weights under trainer.strategy={type(trainer.strategy).__name__}: use one"
            " device, strategy=ddp, or FSDP2 (trainer=fsdp2, Lightning's ModelParallelStrategy)"
        )


def refuse_8bit_states(trainer: pl.Trainer) -> None:
    """Refuse bitsandbytes optimizers on sharded weights: their kernels do not support DTensor.

    Raises:
        LangcoreError: an optimizer of bitsandbytes under FSDP2.
    """
    for optimizer in trainer.optimizers:
        kind = type(optimizer)
        if isinstance(trainer.strategy, ModelParallelStrategy) and kind.__module__.startswith("bitsandbytes"):
            raise LangcoreError(
                f"optimizer={kind.__name__} of bitsandbytes can't step weights that FSDP2 has sharded: use"
                " optimizer=adamw, or trainer=gpu or ddp"
            )
