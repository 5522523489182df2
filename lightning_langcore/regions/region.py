"""A region: a set of single weights of a model, with metadata about its origin."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_langcore.models.parameter_part import Weight
from lightning_langcore.models.parameters import candidates, match, named_shapes
from lightning_langcore.regions import serialization
from lightning_langcore.regions.weight_set import WeightSet
from lightning_langcore.utils.errors import LangcoreError


class Region:
    """A set of single weights: for each parameter a :class:`WeightSet`, in the smallest encoding.

    Memory: the least of 4 bytes per weight, one bit per candidate, and 4 bytes per whole row or column.

    Args:
        shapes: name and shape of each candidate, with the names of ``save_pretrained``; ``fraction`` refers to these.
        parts: name -> flat indices (1-D, ascending, each once) or a :class:`WeightSet`. A parameter without weights
            may be left out.
        meta: origin of the region; keys such as ``kind``, ``score``, ``fraction``, ``languages``, ``seed``.

    Attributes:
        parts: name -> weights; parameters without weights are left out.

    Raises:
        LangcoreError: an unknown parameter, or indices out of bounds, unsorted, repeated or of a floating type.

    Example:
        >>> from lightning_langcore import Region, candidates, named_shapes, random_region
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> core = random_region(candidates(named_shapes(model)), fraction=0.05, seed=0)
        >>> outliers = Region.from_indices(model, {"model.layers.1.mlp.down_proj.weight": [17, 471]})
        >>> without = core - outliers
        >>> path = without.save("core_without_outliers.safetensors")
        >>> Region.load(path) == without
        True
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
            raise LangcoreError(f"{sorted(unknown)[0]} is not among the region's candidate parameters")
        for name in self.shapes:
            part = parts.get(name)
            if part is not None and (len(part) if isinstance(part, WeightSet) else part.numel()):
                self.parts[name] = _checked(name, self.shapes[name], part)

    @classmethod
    def from_indices(
        cls, module: nn.Module, indices: Mapping[str, Tensor | Sequence[int]], meta: Mapping[str, Any] | None = None
    ) -> "Region":
        """A region from indices in any order; parameters outside the default candidates (norms) are allowed.

        Args:
            module: the model; its layer matrices and the named parameters become the candidates.
            indices: name -> flat indices, each once.
            meta: see the class.

        Raises:
            LangcoreError: see the class; or an unknown parameter.
        """
        everything = named_shapes(module)
        unknown = [name for name in indices if name not in everything]
        if unknown:
            raise LangcoreError(f"the model has no parameter {unknown[0]}; its first is {next(iter(everything))}")
        try:
            shapes = candidates(everything)
        except LangcoreError:  # a model without layers: only the named parameters
            shapes = {}
        shapes = {name: everything[name] for name in everything if name in shapes or name in indices}
        ordered = {name: torch.as_tensor(idx).reshape(-1).sort().values for name, idx in indices.items()}
        return cls(shapes, ordered, {"kind": "custom", **(meta or {})})

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs of name and flat int64 indices, ascending, one parameter at a time."""
        for name, part in self.parts.items():
            yield name, part.indices()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Region):
            return NotImplemented
        return self.shapes == other.shapes and self.parts == other.parts

    __hash__ = None  # type: ignore[assignment]

    @property
    def num_candidates(self) -> int:
        """Number of candidate weights."""
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
                raise LangcoreError(f"the regions belong to different models: {name} has two shapes")
        parts = {}
        for name, shape in shapes.items():
            nothing = WeightSet.of(torch.empty(0, dtype=torch.int64), shape)
            parts[name] = operation(self.parts.get(name, nothing), other.parts.get(name, nothing))
        described = f"({self.meta.get('kind', '?')} {sign} {other.meta.get('kind', '?')})"
        return Region(shapes, parts, {"kind": described, "base_model": self.meta.get("base_model")})

    def match(self, module: nn.Module) -> dict[str, Weight]:
        """The model's parameters for all candidates of the region; an expert may be a part of a parameter.

        Raises:
            LangcoreError: a region of another model; the message names the first parameter that differs.
        """
        return match(module, self.shapes)

    def digest(self) -> str:
        """SHA-256 over candidates and weights: equal for equal regions in equal encodings, on any machine."""
        return serialization.digest(self.shapes, self.parts)

    def save(self, path: Path | str) -> Path:
        """Write the region as safetensors, atomically; see :mod:`lightning_langcore.regions.serialization`."""
        serialization.write(Path(path), self.shapes, self.parts, self.meta)
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> "Region":
        """Read a region file; its whole content is checked and none of it is executed.

        Raises:
            LangcoreError: a missing, broken or truncated file; a file without a region; a wrong fingerprint, bound,
                order or type; the message names the first parameter concerned.
        """
        return cls(*serialization.read(Path(path)))


def _checked(name: str, shape: Sequence[int], part: Tensor | WeightSet) -> WeightSet:
    try:
        made = part if isinstance(part, WeightSet) else WeightSet("idx", part.cpu(), shape)
    except LangcoreError as error:
        raise LangcoreError(f"{name}: {error}") from error
    if made.shape != tuple(shape):
        raise LangcoreError(f"{name}: weights of a parameter of shape {made.shape}, not {tuple(shape)}")
    return made if made.encoding in ("rows", "cols") else made.compact()
