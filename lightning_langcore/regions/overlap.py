"""How much regions share: of the same model, pair by pair, beside what chance would give."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from lightning_langcore.regions.region import Region
from lightning_langcore.utils import tables
from lightning_langcore.utils.progress import track


@dataclass(frozen=True)
class Overlap:
    """What two regions share.

    Attributes:
        one: name of the first.
        other: name of the second.
        num_one: weights of the first.
        num_other: weights of the second.
        num_shared: weights in both.
        jaccard: shared by weights in either, 0..1.
        chance: the same for regions of the same sizes in each tensor that lie independently of each other.
        share_of_one: shared by weights of the first.
    """

    one: str
    other: str
    num_one: int
    num_other: int
    num_shared: int
    jaccard: float
    chance: float
    share_of_one: float


def overlap(one: Region, other: Region, names: tuple[str, str] = ("one", "other")) -> Overlap:
    """Compare two regions.

    Raises:
        ValueError: they belong to different models.
    """
    try:
        shared = len(one & other)
    except ValueError as error:
        raise ValueError(f"{names[0]} and {names[1]}: {error}") from error
    expected = sum(
        len(part) * len(other.parts[name]) / math.prod(part.shape)
        for name, part in one.parts.items()
        if name in other.parts
    )
    total = len(one) + len(other)
    jaccard = shared / (total - shared) if total else 0.0
    chance = expected / (total - expected) if total else 0.0
    return Overlap(*names, len(one), len(other), shared, jaccard, chance, shared / len(one) if len(one) else 0.0)


def overlaps(regions: Mapping[str, Region]) -> list[Overlap]:
    """Every ordered pair of different regions, in their order.

    Raises:
        ValueError: two belong to different models.
    """
    found = {}
    pairs = list(itertools.combinations(regions, 2))
    for one, other in track(pairs, "overlap", unit="pair"):
        found[one, other] = overlap(regions[one], regions[other], (one, other))
        found[other, one] = _turned(found[one, other])
    return [found[pair] for pair in itertools.permutations(regions, 2)]


def _turned(row: Overlap) -> Overlap:
    """The same pair, the other one first."""
    share = row.num_shared / row.num_other if row.num_other else 0.0
    sizes = {"num_one": row.num_other, "num_other": row.num_one}
    return replace(row, one=row.other, other=row.one, **sizes, share_of_one=share)


def jaccard_matrix(rows: Sequence[Overlap]) -> tuple[list[str], np.ndarray, float]:
    """Names, the Jaccard overlap of each pair [names, names] with NaN on the diagonal, and the mean by chance.

    Raises:
        ValueError: no pair.
    """
    if not rows:
        raise ValueError("an overlap needs two regions or more")
    names = list(dict.fromkeys(name for row in rows for name in (row.one, row.other)))
    values = np.full((len(names), len(names)), np.nan)
    for row in rows:
        values[names.index(row.one), names.index(row.other)] = row.jaccard
    return names, values, sum(row.chance for row in rows) / len(rows)


def write_csv(rows: Sequence[Overlap], path: Path | str) -> None:
    """A row a pair, atomically."""
    values = ([f"{v:.6f}" if isinstance(v, float) else v for v in astuple(row)] for row in rows)
    tables.write_csv(path, [field.name for field in fields(Overlap)], values)
