"""Per-language statistics of weights on disk, read one tensor at a time: recorded files or trained models."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.regions.weight_change import absolute_change
from lightning_langcore.utils.errors import LangcoreError


class LanguageStatistics(Protocol):
    """Per-language statistics of weights, the input of importance scores."""

    @property
    def languages(self) -> list[str]:
        """The languages, in the order of summation."""

    def has(self, name: str, statistic: str) -> bool:
        """Whether every language has this statistic of this parameter."""

    def statistic(self, language: str, name: str, statistic: str) -> Tensor:
        """One statistic of one parameter, float32."""


class RecordedStatistics:
    """Statistics in files ``<folder>/<language>.safetensors``, recorded by trainings or passes over text.

    Args:
        folders: statistic -> folder; the keys in its files are ``NAME|statistic``.
        languages: the languages, in the order of summation.

    Example:
        >>> from pathlib import Path
        >>> import torch
        >>> from safetensors.torch import save_file
        >>> from lightning_langcore import RecordedStatistics
        >>> save_file({"layers.0.weight|change": torch.tensor([[0.5, 1.0]])}, "zh.safetensors")
        >>> recorded = RecordedStatistics({"change": Path()}, ["zh"])
        >>> recorded.statistic("zh", "layers.0.weight", "change")
        tensor([[0.5000, 1.0000]])
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
        """The languages, in the order of summation."""
        return list(self._languages)

    def has(self, name: str, statistic: str) -> bool:
        """Whether every language has this statistic of this parameter."""
        keys = [weights for (kind, _), weights in self._weights.items() if kind == statistic]
        return bool(keys) and all(f"{name}|{statistic}" in weights for weights in keys)

    def statistic(self, language: str, name: str, statistic: str) -> Tensor:
        """One statistic of one parameter, float32.

        Raises:
            LangcoreError: the file lacks it.
        """
        weights, key = self._weights[statistic, language], f"{name}|{statistic}"
        if key not in weights:
            raise LangcoreError(
                f"{weights.path} lacks {key}: it is of another model, or an earlier version recorded it under other"
                f" names: remove the folder {weights.path.parent} to record it again"
            )
        return weights[key]


class CheckpointChanges:
    """Changes between a base and the models trained from it on one language each, read from disk.

    Args:
        base: the base model.
        trained: language -> trained model.
        needed: parameters that all models must have; buffers and tied copies that only some files hold are ignored.

    Raises:
        LangcoreError: a needed parameter that is missing or has another shape; on reading, a weight that is not finite.
            The message names the folder and the parameter.

    Example:
        >>> import torch
        >>> from safetensors.torch import save_file
        >>> from lightning_langcore import CheckpointChanges, Weights
        >>> save_file({"layers.0.weight": torch.zeros(1, 2)}, "base.safetensors")
        >>> save_file({"layers.0.weight": torch.tensor([[0.5, -1.0]])}, "zh.safetensors")
        >>> base, zh = Weights("base.safetensors"), Weights("zh.safetensors")
        >>> changes = CheckpointChanges(base, {"zh": zh}, ["layers.0.weight"])
        >>> changes.statistic("zh", "layers.0.weight", "change")
        tensor([[0.5000, 1.0000]])
    """

    def __init__(self, base: Weights, trained: Mapping[str, Weights], needed: Iterable[str]) -> None:
        self._base = base
        self._trained = dict(trained)
        names = list(needed)
        for language, model in self._trained.items():
            for name, shape in ((name, base.shapes[name]) for name in names):
                if model.shapes.get(name) != shape:
                    has = f"in shape {model.shapes[name]}" if name in model.shapes else "not at all"
                    raise LangcoreError(
                        f"job.trained.{language}={model.path} has {name} {has}, but the base {base.path} has it in"
                        f" shape {shape}: it was not trained from this base"
                    )

    @property
    def languages(self) -> list[str]:
        """The languages, in the order of summation."""
        return list(self._trained)

    def has(self, name: str, statistic: str) -> bool:
        """Whether all models have this parameter in the same shape."""
        shape = self._base.shapes.get(name)
        return statistic == "change" and all(model.shapes.get(name) == shape for model in self._trained.values())

    def statistic(self, language: str, name: str, statistic: str) -> Tensor:
        """``|theta - theta_0|``, float32; ``change`` is the only statistic."""
        assert statistic == "change"
        theta_0, theta = self._base[name], self._trained[language][name]
        change = absolute_change(theta_0, theta)
        if change.numel() and not torch.isfinite(change.amax()):
            broken = (
                self._base.path if not bool(torch.isfinite(theta_0.float()).all()) else self._trained[language].path
            )
            raise LangcoreError(f"{broken}: {name} holds a weight that is not finite: this checkpoint is broken")
        return change
