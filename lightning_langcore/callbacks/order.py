"""Order of callbacks: the phase that a class declares, and the function that sorts by phase."""

from collections.abc import Iterable
from enum import IntEnum

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, StochasticWeightAveraging, WeightAveraging

from lightning_langcore.utils.errors import LangcoreError


class Phase(IntEnum):
    """Position of a callback's hooks among those of the other callbacks; a class sets it as its attribute ``phase``.

    * ``FIRST``: before all others, for example to restore the loggers on resume.
    * ``AVERAGE``: replaces the weights by an average at the end of training, before another callback evaluates or
      restores them. Lightning's ``WeightAveraging``, its subclasses and ``StochasticWeightAveraging`` have this phase.
    * ``EVALUATE``: evaluates the intact model, before another callback changes the model.
    * ``PERTURB``: changes the model, before another callback stores its weights.
    * ``MONITOR``: reads gradients, before a guard sets them to zero.
    * ``TRAIN``: the default, also of guards and weight diffs, in the given order.
    * ``LAST``: after all others, to read their state.

    Example:
        >>> from lightning.pytorch.callbacks import Callback
        >>> from lightning_langcore.callbacks import Phase
        >>> class LogGradients(Callback):
        ...     phase = Phase.MONITOR
    """

    FIRST = 0
    AVERAGE = 1
    EVALUATE = 2
    PERTURB = 3
    MONITOR = 4
    TRAIN = 5
    LAST = 6


def phase_of(callback: Callback) -> Phase:
    """The phase that the class of a callback declares; without one that of averages, or ``TRAIN``."""
    averages = isinstance(callback, WeightAveraging | StochasticWeightAveraging)
    return getattr(callback, "phase", Phase.AVERAGE if averages else Phase.TRAIN)


def in_order(callbacks: Iterable[Callback]) -> list[Callback]:
    """The callbacks sorted by phase; callbacks of one phase stay in the given order.

    Args:
        callbacks: callbacks of Lightning, ours and others; one without a ``phase`` has the default phase.

    Example:
        >>> from lightning_langcore.callbacks import MultilingualPerplexity, WeightDiff, in_order
        >>> [type(callback).__name__ for callback in in_order([WeightDiff(), MultilingualPerplexity()])]
        ['MultilingualPerplexity', 'WeightDiff']
    """
    return sorted(callbacks, key=phase_of)


def refuse_wrong_order(trainer: pl.Trainer, callback: Callback, kind: type[Callback], why: str) -> None:
    """Refuse a list of callbacks in which ``callback`` comes after a callback of the class ``kind``.

    Args:
        trainer: the trainer with both callbacks.
        callback: the callback that must come first.
        kind: the class that must come later.
        why: the consequence of the wrong order, for the message.

    Raises:
        LangcoreError: ``callback`` comes after one of the class ``kind``.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(other, kind) for other in callbacks[: callbacks.index(callback)]):
        name = type(callback).__name__
        raise LangcoreError(
            f"{name} comes after {kind.__name__} in the list of callbacks and {why}: put {name} before"
            f" {kind.__name__}, or sort the list with lightning_langcore.callbacks.in_order"
        )


def averages(trainer: pl.Trainer) -> list[Callback]:
    """The callbacks of the trainer that replace the weights by an average at the end of training."""
    return [callback for callback in trainer.callbacks if phase_of(callback) == Phase.AVERAGE]  # type: ignore[attr-defined]


def refuse_late_averages(trainer: pl.Trainer, kind: type[Callback], why: str) -> None:
    """Refuse a list of callbacks in which one that averages weights comes after a callback of the class ``kind``.

    Args:
        trainer: the trainer with the callbacks.
        kind: the class that must come later.
        why: the consequence of the wrong order, for the message.

    Raises:
        LangcoreError: a callback that averages comes after one of the class ``kind``.
    """
    for callback in averages(trainer):
        refuse_wrong_order(trainer, callback, kind, why)
