"""Learning-rate schedules by their names in transformers."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import SchedulerType, get_scheduler
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from lightning_langcore.utils.errors import LangcoreError

_NEED_A_METRIC = (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY)
_ENDLESS = ("constant", "constant_with_warmup", "inverse_sqrt")
_GIVEN = ("optimizer", "num_warmup_steps", "num_training_steps", "last_epoch")
SCHEDULES = tuple(str(kind.value) for kind in SchedulerType if kind not in _NEED_A_METRIC)
"""The names; those that follow a metric are left out, because a run evaluates at milestones, not at every step."""


def is_endless(name: str) -> bool:
    """Whether the schedule does not depend on the number of steps of the training."""
    return name in _ENDLESS


def make_schedule(
    name: str, optimizer: Optimizer, num_warmup_steps: int, num_steps: int | None, arguments: Mapping[str, Any]
) -> LRScheduler:
    """The schedule of ``transformers.get_scheduler``.

    Args:
        name: one of ``SCHEDULES``.
        optimizer: the optimizer.
        num_warmup_steps: optimizer steps of linear warm-up.
        num_steps: optimizer steps of the training; ``None`` only where :func:`is_endless`.
        arguments: further arguments of this schedule, as ``num_decay_steps`` of ``warmup_stable_decay``.

    Raises:
        LangcoreError: an unknown schedule or argument, a missing argument, or a value that the schedule does not take.
    """
    if name not in SCHEDULES:
        raise LangcoreError(f"optimizer.schedule={name} is none of {', '.join(SCHEDULES)}")
    function: Callable[..., Any] = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]  # type: ignore[assignment]
    parameters = inspect.signature(function).parameters
    known = [each for each in parameters if each not in _GIVEN]
    missing = [each for each in known if parameters[each].default is inspect.Parameter.empty and each not in arguments]
    for argument in arguments:
        if argument not in known:
            raise LangcoreError(
                f"optimizer.schedule_kwargs.{argument} is no argument of the schedule {name}, which has"
                f" {', '.join(known) or 'none'}: remove it, or choose another optimizer.schedule"
            )
    if missing:
        raise LangcoreError(
            f"optimizer.schedule={name} needs {' and '.join(missing)}: set"
            f" +optimizer.schedule_kwargs.{missing[0]}=VALUE"
        )
    try:
        schedule: LRScheduler = get_scheduler(name, optimizer, num_warmup_steps, num_steps, dict(arguments))
    except (TypeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise LangcoreError(
            f"optimizer.schedule={name} can't be made with optimizer.schedule_kwargs={dict(arguments)} ({text}): change"
            f" them; this schedule has {', '.join(known) or 'none'}"
        ) from error
    return schedule
