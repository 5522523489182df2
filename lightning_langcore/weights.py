"""Tensors on disk, read one at a time: models saved by ``save_pretrained``, and what is recorded of each language."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_langcore.scores import absolute_change


class Weights(Mapping[str, Tensor]):
    """The tensors of a safetensors file or of a folder saved by ``save_pretrained``, read one at a time.

    Raises:
        ValueError: there is no safetensors file, a shard that the index names is missing or lacks a tensor, or a file
            can't be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._files: dict[str, Path] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for file in self._find():
            try:
                with safe_open(file, framework="pt") as handle:
                    for name in handle.keys():  # noqa: SIM118 - not a mapping
                        self._files[name] = file
                        self._shapes[name] = tuple(handle.get_slice(name).get_shape())
            except (SafetensorError, OSError) as error:
                raise ValueError(f"{file} is not a readable safetensors file: {error}") from error
        self._check_index()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor, from the headers alone."""
        return dict(self._shapes)

    @property
    def num_bytes(self) -> int:
        """Size of the files."""
        return sum(file.stat().st_size for file in set(self._files.values()))

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self._files[name], framework="pt") as handle:
            return handle.get_tensor(name)

    def part(self, name: str, start: Sequence[int], shape: Sequence[int]) -> Tensor:
        """Some rows and columns of a tensor: nothing else of it is read.

        Args:
            name: of the tensor.
            start: first row, column ...
            shape: how many of each, maybe none.
        """
        if not math.prod(shape):
            return torch.empty(tuple(shape))
        with safe_open(self._files[name], framework="pt") as handle:
            wanted = tuple(slice(i, i + n) for i, n in zip(start, shape, strict=True))
            return handle.get_slice(name)[wanted]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def _find(self) -> list[Path]:
        files = [self.path] if self.path.is_file() else sorted(self.path.glob("*.safetensors"))
        if not files:
            raise ValueError(f"no safetensors weights at {self.path}: save the model with save_pretrained first")
        index = self._index()
        return files if not index else [self.path / name for name in sorted(set(index.values()))]

    def _index(self) -> dict[str, str]:
        file = self.path / "model.safetensors.index.json"
        if not file.is_file():
            return {}
        try:
            return dict(json.loads(file.read_text(encoding="utf-8"))["weight_map"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is not a readable index of shards ({type(error).__name__})") from error

    def _check_index(self) -> None:
        for name, shard in self._index().items():
            if self._files.get(name) != self.path / shard:
                raise ValueError(f"{self.path}: the shard {shard} lacks {name}, which its index says it holds")


class Evidence(Protocol):
    """What is known of each weight from each language: the statistics that scores are made of."""

    @property
    def languages(self) -> list[str]:
        """In the order in which they are added up."""

    def has(self, name: str, statistic: str) -> bool:
        """Whether every language has this statistic of this parameter."""

    def statistic(self, language: str, name: str, statistic: str) -> Tensor:
        """One statistic of one parameter, float32."""


class Recorded:
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


class Checkpoints:
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
        wanted = list(needed)
        for language, model in self._trained.items():
            for name, shape in ((name, base.shapes[name]) for name in wanted):
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
