"""Trainer, module and callbacks from the configuration, and a fit that can be interrupted."""

import logging
import math
import signal
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import transformers
from lightning.pytorch.callbacks import Callback, Checkpoint, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from transformers import PreTrainedModel

from lightning_langcore.callbacks import PlainProgress, WeightDiff
from lightning_langcore.callbacks.order import in_order
from lightning_langcore.data import TextDataModule
from lightning_langcore.jobs.config.component import BASE, REGION_FILE, Component
from lightning_langcore.jobs.config.groups.recipe import Recipe
from lightning_langcore.jobs.config.settings import Run, Settings
from lightning_langcore.jobs.steps import early_end
from lightning_langcore.models import loading
from lightning_langcore.training import resume
from lightning_langcore.training.modules import ContinuedPretraining
from lightning_langcore.training.resume import RunFingerprint
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import is_terminal


def make_trainer(
    configured: Component, folder: Path, callbacks: Sequence[Callback], loggers: Sequence[Logger], description: str
) -> pl.Trainer:
    """The configured Trainer, with a progress bar in a terminal and plain lines elsewhere.

    Args:
        configured: the Trainer and its arguments.
        folder: Lightning's default root.
        callbacks: callbacks in any order; each declares its phase.
        loggers: loggers, possibly none.
        description: prefix of the plain progress lines.
    """
    quiet()
    progress = TQDMProgressBar(leave=False) if is_terminal() else PlainProgress(description)
    # MultilingualPerplexity evaluates; +trainer.limit_val_batches=1.0 also logs val/loss, as for EarlyStopping
    validation = {} if "limit_val_batches" in configured.arguments else {"limit_val_batches": 0}
    trainer: pl.Trainer = configured.make(
        default_root_dir=str(folder),
        max_epochs=-1,
        callbacks=[progress, *in_order(callbacks)],
        logger=list(loggers),
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        enable_progress_bar=is_terminal(),
        enable_model_summary=False,
        **validation,
    )
    return trainer


def fit(
    trainer: pl.Trainer, module: pl.LightningModule, datamodule: TextDataModule, ckpt_path: str | None = None
) -> None:
    """``trainer.fit``, but Ctrl-C raises ``KeyboardInterrupt``, where Lightning would end the process.

    Args:
        trainer: from :func:`make_trainer`.
        module: the module to train.
        datamodule: the text.
        ckpt_path: see :func:`lightning_langcore.training.resume.choose`.

    Raises:
        KeyboardInterrupt: the user stopped the training.
        SIGTERMException: the process received SIGTERM.
        LangcoreError: the text makes less than one batch, training can't be resumed from the checkpoint, or a callback
            ended the training before its first step.
    """
    batches = datamodule.num_rows // (datamodule.batch_size * trainer.world_size)
    if batches == 0:
        raise LangcoreError(
            f"data.num_tokens makes {datamodule.num_rows} rows, less than one batch of"
            f" data.batch_size={datamodule.batch_size} for each of {trainer.world_size} ranks (trainer.devices): raise"
            " data.num_tokens or lower the others"
        )
    whole = math.ceil(batches / trainer.accumulate_grad_batches)
    trainer.fit_loop.epoch_loop.max_steps = whole if trainer.max_steps == -1 else min(whole, trainer.max_steps)
    _refuse_idle_averages(trainer)
    start = resume.choose(trainer, module, ckpt_path)
    first_step = 0 if start is None else resume.read(Path(start))["global_step"]
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=datamodule, ckpt_path=start, weights_only=True)
    except SIGTERMException:
        raise
    except SystemExit as error:
        if trainer.interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, handler)
    early_end.refuse_untrained(trainer, first_step)


def _refuse_idle_averages(trainer: pl.Trainer) -> None:
    """Refuse an average that no step of the run would update: the model would end as the callback found it."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging):
            steps = range(trainer.max_steps)
            if not (any(callback.should_update(step_idx=i) for i in steps) or callback.should_update(epoch_idx=0)):
                raise LangcoreError(
                    f"callbacks: {type(callback).__name__} averages at none of the {trainer.max_steps} steps of this"
                    " run: begin earlier (update_starting_at_step), average more often (update_every_n_steps), or"
                    " leave it out"
                )


def pretrain_once(
    settings: Settings,
    model: PreTrainedModel,
    datamodule: TextDataModule,
    recipe: Recipe,
    folder: Path,
    description: str,
    callbacks: Sequence[Callback] = (),
    precision: str = "32-true",
) -> None:
    """Train by a recipe (of the base or of locating) on one device: AdamW, cosine schedule, gradient norm clipped at 1.

    Independent of the run's optimizer, schedule and trainer, because the result is cached by its recipe.

    Args:
        settings: the settings of the run, of which only the accelerator is used.
        model: the model, trained in place.
        datamodule: the text.
        recipe: learning rate, decay, warm-up and batch size.
        folder: Lightning's default root; nothing is written there.
        description: prefix of the progress lines.
        callbacks: further callbacks.
        precision: Lightning's name of the precision; the weights must stay float32.
    """
    num_steps = datamodule.num_rows // recipe.batch_size
    build = partial(torch.optim.AdamW, lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.95), fused=True)
    module = ContinuedPretraining(model, build, "cosine", math.ceil(recipe.warmup * num_steps))
    node = {  # limits, strategy and precision of the run must not change a cached result
        "_target_": "lightning.pytorch.Trainer",
        "accelerator": settings.trainer.accelerator,
        "devices": 1,
        "precision": precision,
        "gradient_clip_val": 1.0,
    }
    trainer = make_trainer(Component("trainer", node), folder, callbacks, [], description)
    fit(trainer, module, datamodule)


def make_module(settings: Settings, model: PreTrainedModel) -> pl.LightningModule:
    """The task's LightningModule with the run's optimizer."""
    module: pl.LightningModule = settings.task.module.make(model=model, optimizer=settings.optimizer.build.make())
    return module


def make_callbacks(run: Run) -> list[Callback]:
    """The configured callbacks, in the order of the configuration, with the files of the run.

    Without a perturbation, ``WeightDiff`` compares with the base's files instead of a copy of the weights.
    """
    files = files_of(run)
    made = []
    for node in run.settings.callbacks.values():
        own = node.with_files(files)
        unperturbed = run.settings.perturbation.method == "none"
        if unperturbed and own.is_a(WeightDiff) and not own.arguments.get("reference"):
            own = Component(own.setting, {**own.node, "reference": files[BASE]})
        made.append(own.make())
    return made


def files_of(run: Run) -> dict[str, str]:
    """The files of the run by the reference that stands for each in the settings."""
    files = {BASE: str(loading.local_folder(run.base_path))}
    return files if run.region_file is None else {**files, REGION_FILE: str(run.region_file)}


def quiet() -> None:
    """Silence Lightning's messages at the start of every Trainer, and warnings that do not apply to this project."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for pattern in (
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*LeafSpec.*",
        ".*has `__len__` defined.*",
        ".*is smaller than the logging interval.*",
        ".*model that overrides the configure_model callback.*",  # WeightAveraging, which is refused for sharded models
    ):
        warnings.filterwarnings("ignore", pattern)
    if not is_terminal():
        transformers.utils.logging.disable_progress_bar()


_SETTINGS = (
    "task", "model.name", "model.config", "optimizer", "perturbation", "trainer.precision",
    "trainer.accumulate_grad_batches", "trainer.gradient_clip_val", "trainer.gradient_clip_algorithm",
    "trainer.max_steps",
)  # fmt: skip


def make_fingerprint(settings: Settings) -> RunFingerprint:
    """The fingerprint of a run with these settings."""
    return RunFingerprint({name: _selected(settings.composed, name) for name in _SETTINGS})


def _selected(node: Any, name: str) -> Any:
    for key in name.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node
