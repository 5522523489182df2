"""Selection of a fraction of the weights by their scores, as map and reduce over tensors.

A selector needs one to three passes over the tensors. ``map`` is a pure function of one tensor's score; its result is
small enough to be cached on disk, so that an interrupted selection resumes. ``reduce`` combines these results, and
``result`` returns the selected weights.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from lightning_langcore.importance.top_k import (
    NUM_BUCKETS,
    End,
    choose,
    keys_of,
    lower_histogram,
    position,
    smallest_k_hash,
    tie_order,
    upper_histogram,
)
from lightning_langcore.regions.weight_set import Indices, WeightSet
from lightning_langcore.utils.errors import LangcoreError

Granularity = Literal["element", "row", "column"]
Scope = Literal["tensor", "model"]
GRANULARITIES: tuple[str, ...] = get_args(Granularity)
SCOPES: tuple[str, ...] = get_args(Scope)
Found = dict[str, Tensor]


def check_fraction(fraction: float, setting: str = "region.fraction") -> float:
    """The fraction as a float; ``setting`` is its name in the message.

    Raises:
        LangcoreError: a fraction that is not a number in (0, 1].
    """
    try:
        value = float(fraction)
    except (TypeError, ValueError):
        value = float("nan")
    if isinstance(fraction, bool) or not 0.0 < value <= 1.0:
        raise LangcoreError(f"{setting}={fraction!r} must be a number in (0, 1], such as 0.05 for 5 %")
    return value


@dataclass(frozen=True)
class SelectionSpec:
    """Specification of a selection: fraction, end of the score, granularity and scope.

    Args:
        fraction: fraction of the candidates, (0, 1]; rounded to whole weights, rows or columns.
        end: ``lowest`` or ``highest`` score.
        granularity: ``element``; or ``row``, ``column``: whole rows or columns, by the mean score of their weights.
        scope: ``tensor``: the fraction of each tensor; ``model``: the fraction of the whole model, by one threshold.
        seed: seed of the order of ties.

    Raises:
        LangcoreError: an argument out of its range or choices.

    Example:
        >>> from lightning_langcore import SelectionSpec
        >>> SelectionSpec(0.05, "lowest", granularity="row").scope
        'tensor'
    """

    fraction: float
    end: End
    granularity: Granularity = "element"
    scope: Scope = "tensor"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "fraction", check_fraction(self.fraction))
        for setting, value, known in (
            ("granularity", self.granularity, GRANULARITIES),
            ("scope", self.scope, SCOPES),
        ):
            if value not in known:
                raise LangcoreError(f"region.{setting}={value} is none of {', '.join(known)}")


class Selector(Protocol):
    """Interface of a selector, see the docstring of the module."""

    num_passes: int
    num_ties: int

    def map(self, number: int, name: str, score: Tensor) -> Found:
        """Result of one tensor's score (float32, >= 0) in pass ``number``: tensors on the CPU."""

    def reduce(self, number: int, name: str, shape: Sequence[int], found: Found) -> None:
        """Combine a result of :meth:`map` with the results of other tensors."""

    def result(self) -> Mapping[str, WeightSet]:
        """The selected weights by name, after all passes; sets ``num_ties``."""


def selector(spec: SelectionSpec) -> Selector:
    """The selector for a selection spec."""
    if spec.granularity != "element":
        return RowsOrColumns(spec)
    return Elements(spec) if spec.scope == "tensor" else ModelElements(spec)


class Elements:
    """A fraction of each tensor's weights: one pass."""

    num_passes = 1

    def __init__(self, spec: SelectionSpec) -> None:
        self.spec = spec
        self.num_ties = 0
        self._parts: dict[str, WeightSet] = {}

    def map(self, number: int, name: str, score: Tensor) -> Found:
        values = checked_scores(name, score)
        k = round(self.spec.fraction * len(values))
        chosen, num_ties = choose(name, values, k, self.spec.end, self.spec.seed)
        part = WeightSet.of(torch.from_numpy(chosen), score.shape)
        return {part.encoding: part.data, "ties": torch.tensor(num_ties)}

    def reduce(self, number: int, name: str, shape: Sequence[int], found: Found) -> None:
        self._parts[name] = _set_of(found, shape)
        self.num_ties += int(found["ties"])

    def result(self) -> Mapping[str, WeightSet]:
        return self._parts


class ModelElements:
    """A fraction of all weights, by one exact threshold: three passes.

    The first pass counts the upper 16 bits of all keys, the second the lower 16 bits of the keys in the bucket of the
    threshold; both histograms take 1 MB. The third pass selects the keys below the threshold and the keys equal to it,
    as indices or bitmaps: at most one bit per weight each, independent of the number of ties.
    """

    num_passes = 3

    def __init__(self, spec: SelectionSpec) -> None:
        self.spec = spec
        self.num_ties = 0
        self._upper = np.zeros(NUM_BUCKETS, dtype=np.int64)
        self._lower = np.zeros(1 << 16, dtype=np.int64)
        self._total = 0
        self._before: dict[str, WeightSet] = {}
        self._equal: dict[str, WeightSet] = {}

    def map(self, number: int, name: str, score: Tensor) -> Found:
        keys = keys_of(checked_scores(name, score), self.spec.end)
        if number == 0:
            return {"counts": torch.from_numpy(upper_histogram(keys))}
        if number == 1:
            return {"counts": torch.from_numpy(lower_histogram(keys, self._bucket()[0]))}
        cut, _ = self._cut()
        sets = {kind: _where(found, score.shape) for kind, found in (("<", keys < cut), ("=", keys == cut))}
        return {f"{kind}{part.encoding}": part.data for kind, part in sets.items()}

    def reduce(self, number: int, name: str, shape: Sequence[int], found: Found) -> None:
        if number == 0:
            self._upper += found["counts"].numpy()
            self._total += math.prod(shape)
        elif number == 1:
            self._lower += found["counts"].numpy()
        else:
            self._before[name], self._equal[name] = (_set_of(found, shape, kind) for kind in "<=")

    def result(self) -> Mapping[str, WeightSet]:
        _, needed = self._cut()
        if needed < sum(map(len, self._equal.values())):
            self.num_ties = needed
            last = smallest_k_hash(Indices(self._equal), needed, self._seed)
            for name, part in self._equal.items():
                places = part.indices()
                selected = torch.from_numpy(tie_order(name, places.numpy(), self._seed) <= last)
                self._equal[name] = WeightSet.of(places[selected], part.shape)
        return {name: part | self._equal[name] for name, part in self._before.items()}

    @property
    def _seed(self) -> int:
        return self.spec.seed

    def _bucket(self) -> tuple[int, int]:
        return position(self._upper, max(1, round(self.spec.fraction * self._total)))

    def _cut(self) -> tuple[int, int]:
        """The threshold, which is the last selected key, and how many keys equal to it are selected."""
        bucket, left = self._bucket()
        low, needed = position(self._lower, left)
        return bucket << 16 | low, needed


class RowsOrColumns:
    """A fraction of the rows or columns, by the mean score of their weights: one pass.

    With ``scope=model`` rows or columns are selected in the order of their means, until their number of weights is
    nearest to the fraction of all weights.
    """

    num_passes = 1

    def __init__(self, spec: SelectionSpec) -> None:
        self.spec = spec
        self.num_ties = 0
        self._encoding, self._along = ("rows", 1) if spec.granularity == "row" else ("cols", 0)
        self._means: dict[str, np.ndarray] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def map(self, number: int, name: str, score: Tensor) -> Found:
        if score.ndim != 2:
            raise LangcoreError(
                f"region.granularity={self.spec.granularity} needs matrices, but {name} has shape"
                f" {tuple(score.shape)}: leave it out with region.parameters"
            )
        checked_scores(name, score)
        return {"means": score.cpu().mean(self._along, dtype=torch.float64)}

    def reduce(self, number: int, name: str, shape: Sequence[int], found: Found) -> None:
        self._means[name] = found["means"].numpy()
        self._shapes[name] = tuple(shape)

    def result(self) -> Mapping[str, WeightSet]:
        if self.spec.scope == "tensor":
            taken = {name: self._take([name])[name] for name in self._means}
        else:
            taken = self._take(list(self._means))
        return {name: WeightSet(self._encoding, torch.from_numpy(t), self._shapes[name]) for name, t in taken.items()}

    def _take(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Numbers of the selected rows or columns by name, out of all rows or columns of these tensors."""
        owner = np.concatenate([np.full(len(self._means[name]), i) for i, name in enumerate(names)])
        numbers = np.concatenate([np.arange(len(self._means[name])) for name in names])
        means = np.concatenate([self._means[name] for name in names])
        hashes = np.concatenate([tie_order(n, np.arange(len(self._means[n])), self.spec.seed) for n in names])
        order = np.lexsort((hashes, means if self.spec.end == "lowest" else -means))
        sizes = np.array([self._shapes[name][self._along] for name in names])[owner[order]]
        ends = np.cumsum(sizes)
        count = int(np.argmin(np.abs(np.concatenate([[0], ends]) - self.spec.fraction * ends[-1])))
        chosen, left = order[:count], order[count:]
        if count and len(left) and means[chosen[-1]] == means[left[0]]:
            self.num_ties += int(sizes[:count][means[chosen] == means[chosen[-1]]].sum())
        return {name: np.sort(numbers[chosen[owner[chosen] == i]]) for i, name in enumerate(names)}


def checked_scores(name: str, score: Tensor) -> np.ndarray:
    """The scores as a flat float32 array.

    Raises:
        LangcoreError: a NaN, an infinity or a negative value.
    """
    values = score.detach().to("cpu", torch.float32).contiguous().view(-1)
    lowest, highest = values.aminmax() if len(values) else (torch.zeros(()), torch.zeros(()))
    if not (lowest >= 0 and highest < float("inf")):  # aminmax propagates NaN
        raise LangcoreError(f"the score of {name} holds NaN, infinite or negative values: its weights are broken")
    return values.numpy()


def _where(flags: np.ndarray, shape: Sequence[int]) -> WeightSet:
    return WeightSet.of(torch.from_numpy(np.flatnonzero(flags)), shape)


def _set_of(found: Found, shape: Sequence[int], kind: str = "") -> WeightSet:
    encoding = "idx" if f"{kind}idx" in found else "bits"
    return WeightSet(encoding, found[kind + encoding], shape)
