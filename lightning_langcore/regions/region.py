"""A region: a named set of single weights of a model, and where it came from."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_langcore.models.parameters import candidates, match, named_shapes
from lightning_langcore.regions import serialization
from lightning_langcore.regions.weight_set import WeightSet


class Region:
    """A set of single weights: for each parameter a :class:`WeightSet`, in the smallest form.

    Memory: 4 bytes per weight, or a bit per candidate, or 4 bytes per whole row or column, whichever is least.

    Args:
        shapes: name and shape of each candidate, as ``save_pretrained`` names them; ``fraction`` is of these.
        parts: name -> flat indices (1-D, ascending, each once) or a :class:`WeightSet`. A parameter without weights
            may be left out.
        meta: where the region came from; keys such as ``kind``, ``score``, ``fraction``, ``languages``, ``seed``.

    Attributes:
        parts: name -> weights, parameters without any left out.

    Raises:
        ValueError: an unknown parameter, or indices out of bounds, unsorted, repeated or of a floating type.

    Example::

        core = Region.load("core.safetensors")
        len(core), core.fraction
        outliers = Region.from_indices(model, {"model.layers.1.mlp.down_proj.weight": [17, 4711]})
        (core - outliers).save("core_without_outliers.safetensors")
    """

    def __init__(
        self,
        shapes: Mapping[str, Sequence[int]],
        parts: Mapping[str, Tensor | WeightSet],
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self.shapes = {name: tuple(int(n) for n in shape) for name, shape in shapes.items()}
        self.parts: dict[str, WeightSet] = {}
        self.meta = dict(meta or {})
        unknown = set(parts) - set(self.shapes)
        if unknown:
            raise ValueError(f"{sorted(unknown)[0]} is not among the region's candidate parameters")
        for name in self.shapes:
            part = parts.get(name)
            if part is not None and (len(part) if isinstance(part, WeightSet) else part.numel()):
                self.parts[name] = _checked(name, self.shapes[name], part)

    @classmethod
    def from_indices(
        cls, module: nn.Module, indices: Mapping[str, Tensor | Sequence[int]], meta: Mapping[str, Any] | None = None
    ) -> "Region":
        """A region from indices in any order; parameters outside the default candidates (a norm) may be named too.

        Args:
            module: the model; its layer matrices and the named parameters become the candidates.
            indices: name -> flat indices, each once.
            meta: see the class.

        Raises:
            ValueError: see the class; or a name that the model does not have.
        """
        everything = named_shapes(module)
        unknown = [name for name in indices if name not in everything]
        if unknown:
            raise ValueError(f"the model has no parameter {unknown[0]}; its first is {next(iter(everything))}")
        try:
            shapes = candidates(everything)
        except ValueError:  # a model without layers: the named parameters alone
            shapes = {}
        shapes = {name: everything[name] for name in everything if name in shapes or name in indices}
        ordered = {name: torch.as_tensor(idx).reshape(-1).sort().values for name, idx in indices.items()}
        return cls(shapes, ordered, {"kind": "custom", **(meta or {})})

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs of name and flat int64 indices, ascending, one parameter at a time; those without any left out."""
        for name, part in self.parts.items():
            yield name, part.indices()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Region):
            return NotImplemented
        return self.shapes == other.shapes and self.parts == other.parts

    __hash__ = None  # type: ignore[assignment]

    @property
    def num_candidates(self) -> int:
        """Weights that could have been chosen."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def fraction(self) -> float:
        """Share of the candidates in the region, 0..1."""
        return len(self) / self.num_candidates if self.num_candidates else 0.0

    def __or__(self, other: "Region") -> "Region":
        return self._combine(other, "|", WeightSet.__or__)

    def __and__(self, other: "Region") -> "Region":
        return self._combine(other, "&", WeightSet.__and__)

    def __sub__(self, other: "Region") -> "Region":
        return self._combine(other, "-", WeightSet.__sub__)

    def _combine(self, other: "Region", sign: str, operation: Callable[[WeightSet, WeightSet], WeightSet]) -> "Region":
        shapes = dict(self.shapes) if sign == "-" else {**other.shapes, **self.shapes}
        for name in self.shapes.keys() & other.shapes.keys():
            if self.shapes[name] != other.shapes[name]:
                raise ValueError(f"the regions belong to different models: {name} has two shapes")
        parts = {}
        for name, shape in shapes.items():
            nothing = WeightSet.of(torch.empty(0, dtype=torch.int64), shape)
            parts[name] = operation(self.parts.get(name, nothing), other.parts.get(name, nothing))
        described = f"({self.meta.get('kind', '?')} {sign} {other.meta.get('kind', '?')})"
        return Region(shapes, parts, {"kind": described, "base_model": self.meta.get("base_model")})

    def match(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """The model's parameters for all candidates of the region.

        Raises:
            ValueError: the region belongs to another model; the first parameter that differs is named.
        """
        return match(module, self.shapes)

    def digest(self) -> str:
        """SHA-256 over candidates and weights: equal for regions made alike, whatever the file or the machine."""
        return serialization.digest(self.shapes, self.parts)

    def save(self, path: Path | str) -> Path:
        """Write the region as safetensors, atomically; see :mod:`lightning_langcore.regions.serialization`."""
        serialization.write(Path(path), self.shapes, self.parts, self.meta)
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> "Region":
        """Read a region file; nothing of it is executed, and everything in it is checked.

        Raises:
            ValueError: no such file; not a region; a broken or truncated file; a fingerprint, bound, order or type
                that does not fit, with the name of the first parameter concerned.
        """
        return cls(*serialization.read(Path(path)))


def _checked(name: str, shape: Sequence[int], part: Tensor | WeightSet) -> WeightSet:
    try:
        made = part if isinstance(part, WeightSet) else WeightSet("idx", part.cpu(), shape)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if made.shape != tuple(shape):
        raise ValueError(f"{name}: weights of a parameter of shape {made.shape}, not {tuple(shape)}")
    return made if made.encoding in ("rows", "cols") else made.compact()
