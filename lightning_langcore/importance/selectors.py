"""How a fraction of the weights is chosen from their scores: what one tensor says, and what all of them make.

A selector asks for one to three passes over the tensors. ``map`` is pure: what one tensor's score says, small enough
to be kept on disk, so that an interrupted selection goes on where it was; ``reduce`` adds it up; ``parts`` are the
result.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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

GRANULARITIES = ("element", "row", "column")
SCOPES = ("tensor", "model")
Found = dict[str, Tensor]


def check_fraction(fraction: float, setting: str = "region.fraction") -> float:
    """The fraction as a float; ``setting`` is what the message calls it.

    Raises:
        ValueError: it is not a number in (0, 1].
    """
    try:
        value = float(fraction)
    except (TypeError, ValueError):
        value = float("nan")
    if isinstance(fraction, bool) or not 0.0 < value <= 1.0:
        raise ValueError(f"{setting}={fraction!r} must be a number in (0, 1], such as 0.05 for 5 %")
    return value


@dataclass(frozen=True)
class SelectionSpec:
    """How many weights are taken, from which end, in which units, out of what.

    Args:
        fraction: of the candidates, (0, 1]; rounded to whole weights or lines.
        end: ``lowest`` or ``highest`` score.
        granularity: ``element``; or ``row``, ``column``: whole lines, by the mean score of their weights.
        scope: the fraction of each ``tensor``, or of the whole ``model``: then one cut for all tensors.
        seed: for ties.

    Raises:
        ValueError: one of them is none of these.
    """

    fraction: float
    end: End
    granularity: str = "element"
    scope: str = "tensor"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "fraction", check_fraction(self.fraction))
        for setting, value, known in (
            ("granularity", self.granularity, GRANULARITIES),
            ("scope", self.scope, SCOPES),
        ):
            if value not in known:
                raise ValueError(f"region.{setting}={value} is none of {', '.join(known)}")


class Selector(Protocol):
    """See the head of the module."""

    num_passes: int
    num_ties: int

    def map(self, number: int, name: str, score: Tensor) -> Found:
        """What one tensor's score (float32, >= 0) says in pass ``number``; tensors on the CPU."""

    def reduce(self, number: int, name: str, shape: Sequence[int], found: Found) -> None:
        """Add what :meth:`map` found."""

    def parts(self) -> Mapping[str, WeightSet]:
        """The chosen weights by name, after all passes; sets ``num_ties``."""


def selector(spec: SelectionSpec) -> Selector:
    """The selector for a choice."""
    if spec.granularity != "element":
        return Lines(spec)
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

    def parts(self) -> Mapping[str, WeightSet]:
        return self._parts


class ModelElements:
    """A fraction of all weights, by one exact cut: three passes.

    The first counts the upper 16 bits of all keys, the second the lower 16 of those in the bucket that the cut lies in:
    1 MB. The third takes what is before the cut and what is equal to it, as indices or bitmaps: a bit a weight at most,
    however many equals there are.
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

    def parts(self) -> Mapping[str, WeightSet]:
        _, needed = self._cut()
        if needed < sum(map(len, self._equal.values())):
            self.num_ties = needed
            last = smallest_k_hash(Indices(self._equal), needed, self._seed)
            for name, part in self._equal.items():
                places = part.indices()
                cache = torch.from_numpy(tie_order(name, places.numpy(), self._seed) <= last)
                self._equal[name] = WeightSet.of(places[cache], part.shape)
        return {name: part | self._equal[name] for name, part in self._before.items()}

    @property
    def _seed(self) -> int:
        return self.spec.seed

    def _bucket(self) -> tuple[int, int]:
        return position(self._upper, max(1, round(self.spec.fraction * self._total)))

    def _cut(self) -> tuple[int, int]:
        """The key of the last that is taken, and how many equal to it are."""
        bucket, left = self._bucket()
        low, needed = position(self._lower, left)
        return bucket << 16 | low, needed


class Lines:
    """A fraction of the rows or columns, by the mean score of their weights: one pass.

    With ``scope=model`` lines are taken from the best on until they hold the fraction of all weights, to the nearest.
    """

    num_passes = 1

    def __init__(self, spec: SelectionSpec) -> None:
        self.spec = spec
        self.num_ties = 0
        self._form, self._along = ("rows", 1) if spec.granularity == "row" else ("cols", 0)
        self._means: dict[str, np.ndarray] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def map(self, number: int, name: str, score: Tensor) -> Found:
        if score.ndim != 2:
            raise ValueError(
                f"region.granularity={self.spec.granularity} needs matrices, but {name} has shape"
                f" {tuple(score.shape)}: leave it out with region.parameters"
            )
        checked_scores(name, score)
        return {"means": score.cpu().mean(self._along, dtype=torch.float64)}

    def reduce(self, number: int, name: str, shape: Sequence[int], found: Found) -> None:
        self._means[name] = found["means"].numpy()
        self._shapes[name] = tuple(shape)

    def parts(self) -> Mapping[str, WeightSet]:
        if self.spec.scope == "tensor":
            taken = {name: self._take([name])[name] for name in self._means}
        else:
            taken = self._take(list(self._means))
        return {name: WeightSet(self._form, torch.from_numpy(t), self._shapes[name]) for name, t in taken.items()}

    def _take(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Line numbers by name: of all lines of these tensors, the nearest to the end."""
        owner = np.concatenate([np.full(len(self._means[name]), i) for i, name in enumerate(names)])
        lines = np.concatenate([np.arange(len(self._means[name])) for name in names])
        means = np.concatenate([self._means[name] for name in names])
        hashes = np.concatenate([tie_order(n, np.arange(len(self._means[n])), self.spec.seed) for n in names])
        order = np.lexsort((hashes, means if self.spec.end == "lowest" else -means))
        sizes = np.array([self._shapes[name][self._along] for name in names])[owner[order]]
        ends = np.cumsum(sizes)
        count = int(np.argmin(np.abs(np.concatenate([[0], ends]) - self.spec.fraction * ends[-1])))
        chosen, left = order[:count], order[count:]
        if count and len(left) and means[chosen[-1]] == means[left[0]]:
            self.num_ties += int(sizes[:count][means[chosen] == means[chosen[-1]]].sum())
        return {name: np.sort(lines[chosen[owner[chosen] == i]]) for i, name in enumerate(names)}


def checked_scores(name: str, score: Tensor) -> np.ndarray:
    """The scores as a flat float32 array.

    Raises:
        ValueError: there is a NaN, an infinity or a negative value.
    """
    values = score.detach().to("cpu", torch.float32).contiguous().view(-1)
    lowest, highest = values.aminmax() if len(values) else (torch.zeros(()), torch.zeros(()))
    if not (lowest >= 0 and highest < float("inf")):  # the smallest of anything with a NaN is NaN
        raise ValueError(f"the score of {name} holds NaN, infinite or negative values: its weights are broken")
    return values.numpy()


def _where(flags: np.ndarray, shape: Sequence[int]) -> WeightSet:
    return WeightSet.of(torch.from_numpy(np.flatnonzero(flags)), shape)


def _set_of(found: Found, shape: Sequence[int], kind: str = "") -> WeightSet:
    encoding = "idx" if f"{kind}idx" in found else "bits"
    return WeightSet(encoding, found[kind + encoding], shape)
