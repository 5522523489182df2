"""Callbacks and arguments of Lightning under which a training would not be the configured one: refused by name."""

from collections.abc import Callable, Iterator

from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lightning_langcore.jobs.config.component import one_line
from lightning_langcore.jobs.config.groups.job import FitJob
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.utils.errors import LangcoreError

NO_CALLBACKS: dict[type, str] = {
    BatchSizeFinder: "changes data.batch_size after the steps of the run were planned: set data.batch_size, for which"
    " langcore plan prints the memory",
    LearningRateFinder: "trains on the run's text before the run and overwrites the learning rate: set optimizer.lr, or"
    " compare several in a sweep, as -m optimizer.lr=1e-5,1e-4",
    GradientAccumulationScheduler: "changes the batches per step after the steps of the run were planned: set"
    " trainer.accumulate_grad_batches",
    StochasticWeightAveraging: "averages once an epoch of Lightning, and a run is one, so that the model would end"
    " as it began: use lightning.pytorch.callbacks.EMAWeightAveraging",
    ModelPruning: "sets weights to zero after the last step, guarded ones too: use perturbation=zero with a region",
}
NO_ARGUMENTS = {
    "callbacks": "add one with '+callbacks.NAME={_target_: ...}'",
    "logger": "choose one with logger=csv or logger=wandb",
    "default_root_dir": "set hydra.run.dir",
    "enable_checkpointing": "leave the callback out with ~callbacks.checkpoint",
    "enable_progress_bar": "a terminal gets a bar, and a file gets lines",
    "enable_model_summary": "langcore plan prints the parts of the memory",
    "barebones": "it would leave out callbacks and loggers",
}
"""Arguments of the Trainer that the job sets itself, and the way out."""
_LENGTHS = ("max_epochs", "min_epochs", "min_steps", "limit_train_batches", "overfit_batches", "fast_dev_run")
_WHOLE = {"limit_train_batches": 1.0, "overfit_batches": 0.0, "fast_dev_run": False}
"""Arguments of the Trainer and the values with which each leaves the length as it is."""


def checks(settings: Settings) -> Iterator[Callable[[], None]]:
    """The checks of callbacks and of the Trainer's arguments; each raises a LangcoreError."""
    yield lambda: _set_by_job(settings)
    yield lambda: _length(settings)
    yield lambda: _time(settings)
    if isinstance(settings.job, FitJob):
        yield lambda: _callbacks(settings)
        yield lambda: _averages(settings)


def _set_by_job(settings: Settings) -> None:
    for name, value in settings.trainer.trainer.arguments.items():
        if name in NO_ARGUMENTS:
            raise LangcoreError(f"trainer.{name}={value} would be ignored: {NO_ARGUMENTS[name]}, and leave it out")


def _length(settings: Settings) -> None:
    given = settings.trainer.trainer.arguments
    for name in _LENGTHS:
        if name not in given or (given[name] is None and name != "max_epochs"):
            continue
        value = given[name]
        if name in _WHOLE and type(value) is not int and value == _WHOLE[name]:
            continue
        raise LangcoreError(
            f"trainer.{name}={value} has no meaning here: set the length with data.num_tokens or trainer.max_steps, and"
            " how often the text may be repeated with data.max_epochs"
        )
    steps = given.get("max_steps", -1)
    if steps is not None and (type(steps) is not int or (steps < 1 and steps != -1)):
        raise LangcoreError(f"trainer.max_steps={steps} must be a whole number of at least 1, or -1 for the whole text")


def _time(settings: Settings) -> None:
    value = settings.trainer.trainer.arguments.get("max_time")
    try:
        duration = None if value is None else Timer(duration=value)._duration
    except (MisconfigurationException, TypeError, AttributeError) as error:
        raise LangcoreError(
            f"trainer.max_time={value} is no duration ({one_line(error)}): write it as DD:HH:MM:SS, for example"
            """ '+trainer.max_time="00:12:00:00"'"""
        ) from error
    if duration is not None and duration <= 0:
        raise LangcoreError(f"trainer.max_time={value} leaves no time for a step: raise it, or leave it out")


def _callbacks(settings: Settings) -> None:
    for node in settings.callbacks.values():
        for cls, why in NO_CALLBACKS.items():
            if node.is_a(cls):
                raise LangcoreError(f"{node.setting}._target_={node.target} {why}")


def _averages(settings: Settings) -> None:
    for node in settings.callbacks_of(WeightAveraging):
        if settings.trainer.is_sharded:
            raise LangcoreError(
                f"{node.setting}._target_={node.target} can't average the shards of trainer=fsdp2: use trainer=gpu"
                " or ddp"
            )
