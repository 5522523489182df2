"""In which order the hooks of callbacks run: what each class declares, and the one function that sorts by it."""

from collections.abc import Iterable
from enum import IntEnum

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback


class Phase(IntEnum):
    """When the hooks of a callback run beside those of the others; a class says it in its attribute ``phase``.

    * ``FIRST``: before all others, as what restores the loggers on resume.
    * ``EVALUATE``: evaluates the intact model, before anything changes it.
    * ``PERTURB``: changes the model, before anything remembers its weights.
    * ``MONITOR``: reads gradients, before a guard zeroes them.
    * ``TRAIN``: all that declares nothing, guards and weight diffs among them, in the order in which they are given.
    * ``LAST``: after all others, whose state it reads.
    """

    FIRST = 0
    EVALUATE = 1
    PERTURB = 2
    MONITOR = 3
    TRAIN = 4
    LAST = 5


def in_order(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks by their phase; those of one phase stay in the order in which they are given."""
    return sorted(callbacks, key=lambda callback: getattr(callback, "phase", Phase.TRAIN))


def refuse_behind(trainer: pl.Trainer, callback: Callback, kind: type[Callback], why: str) -> None:
    """Refuse a list of callbacks in which ``callback`` stands behind one of another class.

    Args:
        trainer: with both.
        callback: that must come first.
        kind: the class that must come later.
        why: what goes wrong, for the message.

    Raises:
        ValueError: it stands behind one.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(other, kind) for other in callbacks[: callbacks.index(callback)]):
        name = type(callback).__name__
        raise ValueError(
            f"{name} stands behind {kind.__name__} in the list of callbacks and {why}: put {name} before"
            f" {kind.__name__}, or sort the list with lightning_langcore.callbacks.in_order"
        )
