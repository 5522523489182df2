"""Perturb a region of the model before it is trained."""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from lightning_langcore.callbacks.core_guard import CoreGuard
from lightning_langcore.callbacks.multilingual_perplexity import MultilingualPerplexity
from lightning_langcore.callbacks.order import Phase, refuse_wrong_order
from lightning_langcore.callbacks.strategies import refuse_flat_shards
from lightning_langcore.regions.perturbation import METHODS, Method, perturb_
from lightning_langcore.regions.region import Region
from lightning_langcore.utils.errors import LangcoreError


class PerturbRegion(Callback):
    """Overwrite the weights of a region once, before the first step; not again on resume.

    Each :class:`MultilingualPerplexity` of the run then evaluates the perturbed model, in rows of the stage
    ``perturbed``. The perturbation follows the evaluation of the intact model and precedes a :class:`CoreGuard`, which
    keeps the perturbed values; a list in which a guard comes first is refused.

    Works on one device, under DDP and under FSDP2, where ``reinit`` gathers one whole tensor at a time. Memory: a copy
    of the overwritten values during the perturbation.

    Args:
        region: a :class:`Region` or the path of its file.
        method: ``reinit``, ``zero``, ``scale`` or ``set``, see :func:`~lightning_langcore.perturb_`.
        strength: see :func:`~lightning_langcore.perturb_`; not used by ``zero``.
        seed: seed of the noise of ``reinit``.

    Raises:
        LangcoreError: an unknown method, or a missing or broken region file; before the first step: a strength that is
            not finite, a region of another model, an unsupported strategy or weight type.

    Example:
        >>> from functools import partial
        >>> import lightning.pytorch as pl
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> from lightning_langcore import ContinuedPretraining, CoreGuard, PerturbRegion, Region
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> weight = Region.from_indices(model, {"model.layers.0.mlp.up_proj.weight": [3]})
        >>> callbacks = [PerturbRegion(weight, "set", strength=2.0), CoreGuard(weight)]  # perturbed, and kept so
        >>> rows = [{"input_ids": torch.arange(8), "shift_labels": torch.arange(1, 9)}] * 2
        >>> quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        >>> module = ContinuedPretraining(model, partial(torch.optim.AdamW, lr=1e-2))
        >>> trainer = pl.Trainer(max_steps=2, enable_checkpointing=False, callbacks=callbacks, **quiet)
        >>> trainer.fit(module, DataLoader(rows))
        >>> model.model.layers[0].mlp.up_proj.weight[0, 3].item()
        2.0
    """

    phase = Phase.PERTURB

    def __init__(
        self, region: Region | Path | str, method: Method = "reinit", strength: float = 1.0, seed: int = 0
    ) -> None:
        if method not in METHODS:
            raise LangcoreError(f"PerturbRegion: method={method!r} is none of {', '.join(METHODS)}")
        self.region = region if isinstance(region, Region) else Region.load(region)
        self.method: Method = method
        self.strength = strength
        self.seed = seed

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        refuse_flat_shards(trainer, "PerturbRegion")
        refuse_wrong_order(trainer, self, CoreGuard, "would be undone at the first step by the values of the guard")

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step > 0:
            return
        perturb_(pl_module, self.region, self.method, self.strength, self.seed)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, MultilingualPerplexity):
                callback.measure(trainer, pl_module, "perturbed")
