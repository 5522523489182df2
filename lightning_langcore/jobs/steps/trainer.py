"""Trainer, module and callbacks from the configuration, and a fit that can be interrupted."""

import logging
import math
import signal
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import transformers
from lightning.pytorch.callbacks import Callback, Checkpoint, TQDMProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedModel

from lightning_langcore.callbacks import PlainProgress
from lightning_langcore.callbacks.order import in_order
from lightning_langcore.data import TextDataModule
from lightning_langcore.jobs.config.validators import make
from lightning_langcore.training import resume
from lightning_langcore.training.modules import ContinuedPretraining
from lightning_langcore.training.resume import RunFingerprint
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import is_terminal


def make_trainer(
    cfg: DictConfig,
    folder: Path,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    description: str,
    **more: Any,
) -> pl.Trainer:
    """The configured Trainer, with a progress bar in a terminal and plain lines elsewhere.

    Args:
        cfg: the whole configuration.
        folder: Lightning's default root.
        callbacks: callbacks in any order; each declares its phase.
        loggers: loggers, possibly none.
        description: prefix of the plain progress lines.
        more: overrides of the node ``trainer``.
    """
    quiet()
    progress = TQDMProgressBar(leave=False) if is_terminal() else PlainProgress(description)
    return make(
        cfg.trainer,
        default_root_dir=str(folder),
        max_epochs=-1,
        callbacks=[progress, *in_order([make_fingerprint(cfg), *callbacks])],
        logger=list(loggers),
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        enable_progress_bar=is_terminal(),
        enable_model_summary=False,
        limit_val_batches=0,  # MultilingualPerplexity evaluates runs, at milestones and by language
        **more,
    )


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
        LangcoreError: the text makes less than one batch, or training can't be resumed from the checkpoint.
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
    start = resume.choose(trainer, module, ckpt_path)
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


def pretrain_once(
    cfg: DictConfig,
    model: PreTrainedModel,
    datamodule: TextDataModule,
    recipe: DictConfig,
    folder: Path,
    description: str,
    callbacks: Sequence[Callback] = (),
    precision: str = "32-true",
) -> None:
    """Train by a recipe (of the base or of locating) on one device: AdamW, cosine schedule, gradient norm clipped at 1.

    Independent of the run's optimizer, schedule and trainer, because the result is cached by its recipe.

    Args:
        cfg: the whole configuration; only the accelerator is used.
        model: the model, trained in place.
        datamodule: the text.
        recipe: ``lr``, ``weight_decay``, ``warmup`` (share of the steps), ``batch_size``.
        folder: Lightning's default root; nothing is written there.
        description: prefix of the progress lines.
        callbacks: further callbacks.
        precision: Lightning's name of the precision; the weights must stay float32.
    """
    num_steps = datamodule.num_rows // recipe.batch_size
    build = partial(torch.optim.AdamW, lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.95), fused=True)
    module = ContinuedPretraining(model, build, "cosine", math.ceil(recipe.warmup * num_steps))
    own = cfg.copy()  # limits, strategy and precision of the run must not change a cached result
    own.trainer = {
        "_target_": "lightning.pytorch.Trainer",
        "accelerator": cfg.trainer.accelerator,
        "devices": 1,
        "precision": precision,
        "gradient_clip_val": 1.0,
    }
    trainer = make_trainer(own, folder, callbacks, [], description)
    fit(trainer, module, datamodule)


def make_module(cfg: DictConfig, model: PreTrainedModel) -> pl.LightningModule:
    """The task's LightningModule with the run's optimizer."""
    return make(cfg.task, model=model, optimizer=make(cfg.optimizer.build))


def make_callbacks(cfg: DictConfig) -> list[Callback]:
    """The configured callbacks, in the order of the configuration."""
    return [make(node) for node in (cfg.callbacks or {}).values()]


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
    ):
        warnings.filterwarnings("ignore", pattern)
    if not is_terminal():
        transformers.utils.logging.disable_progress_bar()


_SETTINGS = (
    "task", "model.name", "model.config", "optimizer", "perturbation", "trainer.precision",
    "trainer.accumulate_grad_batches", "trainer.gradient_clip_val", "trainer.gradient_clip_algorithm",
    "trainer.max_steps",
)  # fmt: skip


def make_fingerprint(cfg: DictConfig) -> RunFingerprint:
    """The fingerprint of a run with this configuration."""
    nodes = {name: OmegaConf.select(cfg, name) for name in _SETTINGS}
    containers = (OmegaConf.is_config(node) for node in nodes.values())
    return RunFingerprint(
        {
            name: OmegaConf.to_container(node, resolve=True) if nested else node
            for (name, node), nested in zip(nodes.items(), containers, strict=True)
        }
    )
