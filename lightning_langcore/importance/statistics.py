"""Tensors on disk, read one at a time: models saved by ``save_pretrained``, and what is recorded of each language."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.regions.weight_change import absolute_change


class LanguageStatistics(Protocol):
    """What is known of each weight from each language: the statistics that scores are made of."""

    @property
    def languages(self) -> list[str]:
        """In the order in which they are added up."""

    def has(self, name: str, statistic: str) -> bool:
        """Whether every language has this statistic of this parameter."""

    def statistic(self, language: str, name: str, statistic: str) -> Tensor:
        """One statistic of one parameter, float32."""


class RecordedStatistics:
    """Statistics that trainings or passes have left in files ``<folder>/<language>.safetensors``.

    Args:
        folders: statistic -> folder; in its files the keys are ``NAME|statistic``.
        languages: in the order in which they are added up.
    """

    def __init__(self, folders: Mapping[str, Path], languages: Sequence[str]) -> None:
        self._languages = list(languages)
        self._weights = {
            (statistic, language): Weights(folder / f"{language}.safetensors")
            for statistic, folder in folders.items()
            for language in languages
        }

    @property
    def languages(self) -> list[str]:
        """In the order in which they are added up."""
        return list(self._languages)

    def has(self, name: str, statistic: str) -> bool:
        """Whether every language has this statistic of this parameter."""
        keys = [weights for (kind, _), weights in self._weights.items() if kind == statistic]
        return bool(keys) and all(f"{name}|{statistic}" in weights for weights in keys)

    def statistic(self, language: str, name: str, statistic: str) -> Tensor:
        """One statistic of one parameter, float32."""
        return self._weights[statistic, language][f"{name}|{statistic}"]


class CheckpointChanges:
    """Changes between a base and models trained from it on one language each, all of them on disk.

    Args:
        base: the model before.
        trained: language -> model after.
        needed: parameters that all must have; buffers and tied copies that only some files hold need not match.

    Raises:
        ValueError: a model lacks a needed parameter, or has it in another shape; or, when it is read, holds a weight
            that is not finite. Each names the folder and the parameter.
    """

    def __init__(self, base: Weights, trained: Mapping[str, Weights], needed: Iterable[str]) -> None:
        self._base = base
        self._trained = dict(trained)
        queries = list(needed)
        for language, model in self._trained.items():
            for name, shape in ((name, base.shapes[name]) for name in queries):
                if model.shapes.get(name) != shape:
                    has = f"in shape {model.shapes[name]}" if name in model.shapes else "not at all"
                    raise ValueError(
                        f"job.trained.{language}={model.path} has {name} {has}, but the base {base.path} has it in"
                        f" shape {shape}: it was not trained from this base"
                    )

    @property
    def languages(self) -> list[str]:
        """In the order in which they are added up."""
        return list(self._trained)

    def has(self, name: str, statistic: str) -> bool:
        """Whether all models have this parameter, in one shape."""
        shape = self._base.shapes.get(name)
        return statistic == "change" and all(model.shapes.get(name) == shape for model in self._trained.values())

    def statistic(self, language: str, name: str, statistic: str) -> Tensor:
        """``|theta - theta_0|``, the one statistic (``change``) there is."""
        assert statistic == "change"
        theta_0, theta = self._base[name], self._trained[language][name]
        change = absolute_change(theta_0, theta)
        if change.numel() and not torch.isfinite(change.amax()):
            broken = (
                self._base.path if not bool(torch.isfinite(theta_0.float()).all()) else self._trained[language].path
            )
            raise ValueError(f"{broken}: {name} holds a weight that is not finite: this checkpoint is broken")
        return change
