"""A model's weights on disk, read one tensor at a time."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightning_langcore.utils.errors import LangcoreError


class Weights(Mapping[str, Tensor]):
    """The tensors of a safetensors file or of a folder saved by ``save_pretrained``, read one at a time.

    Args:
        path: the file, or the folder.

    Raises:
        LangcoreError: no safetensors file, a missing shard of the index, a shard that lacks a tensor of the index, or a
            file that can't be read.

    Example:
        >>> import torch
        >>> from safetensors.torch import save_file
        >>> from lightning_langcore import Weights
        >>> save_file({"layers.0.weight": torch.ones(2, 3)}, "model.safetensors")
        >>> Weights("model.safetensors").shapes
        {'layers.0.weight': (2, 3)}
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._files: dict[str, Path] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._names: dict[str, str] = {}
        for file in self._find():
            try:
                with safe_open(file, framework="pt") as handle:
                    for name in handle.keys():  # noqa: SIM118 - not a mapping
                        self._files[name] = file
                        self._names[name] = name
                        self._shapes[name] = tuple(handle.get_slice(name).get_shape())
            except (SafetensorError, OSError) as error:
                raise LangcoreError(f"{file} is not a readable safetensors file: {error}") from error
        self._check_index()

    def renamed(self, names: Mapping[str, str]) -> "Weights":
        """The same files with other names, and without the tensors that are not named.

        Args:
            names: new name -> name in the files; its order becomes the order of the weights.
        """
        made = copy(self)
        made._files = {new: self._files[name] for new, name in names.items()}
        made._shapes = {new: self._shapes[name] for new, name in names.items()}
        made._names = {new: self._names[name] for new, name in names.items()}
        return made

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor, from the headers alone."""
        return dict(self._shapes)

    @property
    def num_bytes(self) -> int:
        """Total size of the files in bytes."""
        return sum(file.stat().st_size for file in set(self._files.values()))

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self._files[name], framework="pt") as handle:
            return handle.get_tensor(self._names[name])

    def part(self, name: str, start: Sequence[int], shape: Sequence[int]) -> Tensor:
        """Some rows and columns of a tensor, without reading the rest of it.

        Args:
            name: name of the tensor.
            start: first row, column ...
            shape: number of rows, columns ..., each 0 or more.
        """
        if not math.prod(shape):
            return torch.empty(tuple(shape))
        with safe_open(self._files[name], framework="pt") as handle:
            slices = tuple(slice(i, i + n) for i, n in zip(start, shape, strict=True))
            return handle.get_slice(self._names[name])[slices]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def _find(self) -> list[Path]:
        files = [self.path] if self.path.is_file() else sorted(self.path.glob("*.safetensors"))
        if not files:
            raise LangcoreError(f"no safetensors weights at {self.path}: save the model with save_pretrained first")
        index = self._index()
        return files if not index else [self.path / name for name in sorted(set(index.values()))]

    def _index(self) -> dict[str, str]:
        file = self.path / "model.safetensors.index.json"
        if not file.is_file():
            return {}
        try:
            return dict(json.loads(file.read_text(encoding="utf-8"))["weight_map"])
        except (ValueError, KeyError, TypeError) as error:
            raise LangcoreError(f"{file} is not a readable index of shards ({type(error).__name__})") from error

    def _check_index(self) -> None:
        for name, shard in self._index().items():
            if self._files.get(name) != self.path / shard:
                raise LangcoreError(f"{self.path}: the shard {shard} lacks {name}, which its index says it holds")
