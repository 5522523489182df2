"""A region: a named set of single weights of a model, where it came from, and its file.

parameter (rows x cols)          flat indices, row-major, ascending
. . x .
x . . .            ->            2, 4, 11
. . . x
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_langcore.files import atomic_path
from lightning_langcore.params import candidates, match, named_shapes

FORMAT = 1
_INT32_MAX = 2**31 - 1


def fingerprint(shapes: Mapping[str, Sequence[int]]) -> str:
    """SHA-256 over parameter names and shapes: equal for any two models a region can be carried between."""
    lines = "\n".join(f"{name} {list(shapes[name])}" for name in sorted(shapes))
    return hashlib.sha256(lines.encode()).hexdigest()


def _numel(shape: Sequence[int]) -> int:
    return math.prod(shape)


class Region:
    """A set of single weights: sorted flat indices per parameter.

    Memory: 4 bytes per weight in the region (8 where a parameter has more than 2^31 - 1 elements).

    Args:
        shapes: name and shape of each candidate, as ``save_pretrained`` names them; ``fraction`` is of these.
        indices: name -> flat indices, 1-D, ascending, each once. A parameter without weights may be left out.
        meta: where the region came from; keys such as ``kind``, ``score``, ``fraction``, ``languages``, ``seed``.

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
        indices: Mapping[str, Tensor],
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self.shapes = {name: tuple(int(n) for n in shape) for name, shape in shapes.items()}
        self.indices = {}
        self.meta = dict(meta or {})
        for name in self.shapes:
            if name in indices and indices[name].numel():
                self.indices[name] = _checked(name, self.shapes[name], indices[name])
        unknown = set(indices) - set(self.shapes)
        if unknown:
            raise ValueError(f"{sorted(unknown)[0]} is not among the region's candidate parameters")

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
        return sum(len(idx) for idx in self.indices.values())

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs of name and flat int64 indices, parameters without any left out."""
        for name, idx in self.indices.items():
            yield name, idx.long()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Region):
            return NotImplemented
        return (
            self.shapes == other.shapes
            and self.indices.keys() == other.indices.keys()
            and all(torch.equal(idx, other.indices[name]) for name, idx in self.indices.items())
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def num_candidates(self) -> int:
        """Weights that could have been chosen."""
        return sum(_numel(shape) for shape in self.shapes.values())

    @property
    def fraction(self) -> float:
        """Share of the candidates in the region, 0..1."""
        return len(self) / self.num_candidates if self.num_candidates else 0.0

    def __or__(self, other: "Region") -> "Region":
        return self._combine(other, "|", np.union1d)

    def __and__(self, other: "Region") -> "Region":
        return self._combine(other, "&", lambda a, b: np.intersect1d(a, b, assume_unique=True))

    def __sub__(self, other: "Region") -> "Region":
        return self._combine(other, "-", lambda a, b: np.setdiff1d(a, b, assume_unique=True))

    def _combine(self, other: "Region", sign: str, operation: Any) -> "Region":
        shapes = {**other.shapes, **self.shapes}
        for name in self.shapes.keys() & other.shapes.keys():
            if self.shapes[name] != other.shapes[name]:
                raise ValueError(f"the regions belong to different models: {name} has two shapes")
        empty = torch.empty(0, dtype=torch.int32)
        indices = {}
        for name in shapes:
            a, b = self.indices.get(name, empty), other.indices.get(name, empty)
            indices[name] = torch.from_numpy(operation(a.numpy(), b.numpy()))
        described = f"({self.meta.get('kind', '?')} {sign} {other.meta.get('kind', '?')})"
        return Region(shapes, indices, {"kind": described, "base_model": self.meta.get("base_model")})

    def match(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """The model's parameters for all candidates of the region.

        Raises:
            ValueError: the region belongs to another model; the first parameter that differs is named.
        """
        return match(module, self.shapes)

    def digest(self) -> str:
        """SHA-256 over candidates and indices: equal for equal regions, whatever the file or the machine."""
        h = hashlib.sha256(fingerprint(self.shapes).encode())
        for name in sorted(self.indices):
            h.update(name.encode())
            h.update(self.indices[name].long().numpy().astype("<i8").tobytes())
        return h.hexdigest()

    def save(self, path: Path | str) -> Path:
        """Write the region as safetensors, atomically; per parameter the smaller of indices and a bitmap."""
        path = Path(path)
        tensors = {}
        for name, idx in self.indices.items():
            numel = _numel(self.shapes[name])
            if len(idx) * idx.element_size() <= (numel + 7) // 8:
                tensors[f"{name}|idx"] = idx
            else:
                tensors[f"{name}|bits"] = _to_bits(idx, numel)
        header = {
            **self.meta,
            "format": FORMAT,
            "fingerprint": fingerprint(self.shapes),
            "candidates": {name: list(shape) for name, shape in self.shapes.items()},
            "num_weights": len(self),
            "digest": self.digest(),
        }
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"langcore": json.dumps(header, ensure_ascii=False)})
        return path

    @classmethod
    def load(cls, path: Path | str) -> "Region":
        """Read a region file; nothing of it is executed, and everything in it is checked.

        Raises:
            ValueError: no such file; not a region; a broken or truncated file; a fingerprint, bound, order or type
                that does not fit, with the name of the first parameter concerned.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"no region file at {path}: make one with `python train.py +experiment=locate_core`")
        try:
            with safe_open(path, framework="pt") as file:
                raw = (file.metadata() or {}).get("langcore")
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise ValueError(f"{path} is not a readable region file: {error}") from error
        try:
            header = _checked_header(raw)
            shapes = header.pop("candidates")
            region = cls(shapes, dict(_read_entries(tensors, shapes)), header)
        except ValueError as error:
            raise ValueError(f"{path} is not a valid region file: {error}") from error
        said = {"num_weights": header.pop("num_weights", len(region)), "digest": header.pop("digest", region.digest())}
        if said != {"num_weights": len(region), "digest": region.digest()}:
            raise ValueError(f"{path} is not a valid region file: it holds {len(region)} weights, not those it says")
        region.meta = header
        return region


def _checked(name: str, shape: Sequence[int], indices: Tensor) -> Tensor:
    if indices.ndim != 1 or indices.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{name}: indices must be int32 or int64, 1-D, not {indices.dtype}{list(indices.shape)}")
    if int(indices[0]) < 0 or int(indices[-1]) >= _numel(shape):
        raise ValueError(f"{name}: an index lies outside the {_numel(shape)} weights of shape {tuple(shape)}")
    if not bool((indices[1:] > indices[:-1]).all()):
        raise ValueError(f"{name}: the indices are not strictly ascending")
    return indices.to("cpu", torch.int32 if _numel(shape) <= _INT32_MAX else torch.int64).contiguous()


def _to_bits(indices: Tensor, numel: int) -> Tensor:
    mask = np.zeros(numel, dtype=np.uint8)
    mask[indices.numpy()] = 1
    return torch.from_numpy(np.packbits(mask, bitorder="little"))


def _from_bits(name: str, bits: Tensor, numel: int) -> Tensor:
    if bits.dtype != torch.uint8 or bits.shape != ((numel + 7) // 8,):
        raise ValueError(f"{name}: the bitmap is not {(numel + 7) // 8} bytes")
    mask = np.unpackbits(bits.numpy(), bitorder="little")
    if mask[numel:].any():
        raise ValueError(f"{name}: the bitmap has bits set beyond the {numel} weights")
    return torch.from_numpy(np.flatnonzero(mask[:numel]))


def _checked_header(raw: str | None) -> dict[str, Any]:
    if raw is None:
        raise ValueError("the header has no entry 'langcore'")
    try:
        header = json.loads(raw)
        shapes = {str(name): [int(n) for n in shape] for name, shape in header["candidates"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"its header can't be read ({type(error).__name__})") from error
    if header.get("format") != FORMAT:
        raise ValueError(f"its format is {header.get('format')!r}, this version reads {FORMAT}")
    if any(n < 0 for shape in shapes.values() for n in shape) or fingerprint(shapes) != header.get("fingerprint"):
        raise ValueError("its fingerprint does not fit its parameter names and shapes")
    header["candidates"] = shapes
    return header


def _read_entries(tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, Tensor]]:
    seen = set()
    for key, tensor in tensors.items():
        name, _, kind = key.rpartition("|")
        if name not in shapes:
            raise ValueError(f"the entry {key!r} names no candidate parameter")
        if name in seen:
            raise ValueError(f"{name} appears twice")
        seen.add(name)
        if kind == "idx":
            yield name, tensor
        elif kind == "bits":
            yield name, _from_bits(name, tensor, _numel(shapes[name]))
        else:
            raise ValueError(f"the entry {key!r} has an unknown kind {kind!r}")
