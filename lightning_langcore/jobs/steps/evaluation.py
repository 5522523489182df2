"""Evaluation of languages outside a training: on one device, in the run's precision."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric import Fabric
from transformers import PreTrainedModel

from lightning_langcore.jobs.config.groups.training import TrainerSettings
from lightning_langcore.metrics.perplexity import TextLoss
from lightning_langcore.metrics.text_scorer import TextScorer
from lightning_langcore.models.parameters import evaluation_mode
from lightning_langcore.results.record import Results

Figures = dict[str, dict[str, Any]]
"""Language -> the measured columns of its row in ``results.json``."""


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the wall-clock seconds of the block to ``seconds[name]``."""
    started = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.monotonic() - started


def make_fabric(trainer: TrainerSettings, precision: Any = None) -> Fabric:
    """A Fabric with one device of the run's accelerator, and the run's precision unless another is given."""
    return Fabric(accelerator=trainer.accelerator, devices=1, precision=precision or trainer.precision)


def evaluate_languages(
    model: PreTrainedModel, loaders: Mapping[str, Iterable[Mapping[str, Any]]], fabric: Fabric
) -> Figures:
    """The values of :class:`TextLoss` for each language as floats, ``ppl`` included; the model's mode is restored."""
    figures = {}
    with torch.no_grad(), evaluation_mode(model):
        with fabric.autocast():
            scorer = TextScorer(model, lambda ids: model(input_ids=ids, use_cache=False))
        for language, batches in loaders.items():
            metric = TextLoss().to(fabric.device)
            for batch in batches:
                moved = {k: v.to(fabric.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
                with fabric.autocast():
                    scorer(metric, moved)
            figures[language] = {name: value.item() for name, value in metric.compute().items()}
    return figures


def add_rows(results: Results, figures: Figures, **about: Any) -> None:
    """Add one row per language: test split, 0 samples, and ``about`` (``stage``, ``seed`` and further columns)."""
    for language, row in figures.items():
        measured = {name: value for name, value in row.items() if name != "ppl"}
        results.add({"samples": 0, "lang": language, "split": "test", **about, **measured})
