"""Overlap of regions of the same model, pair by pair, compared with the overlap by chance."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from lightning_langcore.regions.region import Region
from lightning_langcore.utils import tables
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import track


@dataclass(frozen=True)
class Overlap:
    """Overlap of two regions.

    Attributes:
        one: name of the first region.
        other: name of the second region.
        num_one: number of weights of the first region.
        num_other: number of weights of the second region.
        num_shared: number of weights in both regions.
        jaccard: shared weights over weights in either region, 0..1.
        chance: the same for independent random regions with the same number of weights in each tensor.
        share_of_one: shared weights over weights of the first region.
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
        LangcoreError: regions of different models.
    """
    try:
        shared = len(one & other)
    except LangcoreError as error:
        raise LangcoreError(f"{names[0]} and {names[1]}: {error}") from error
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
    """Compare every region with every other one.

    Args:
        regions: name -> region, all of one model.

    Returns:
        One :class:`Overlap` for each ordered pair of different regions, in their order.

    Raises:
        LangcoreError: regions of different models.

    Example:
        >>> from lightning_langcore import overlaps, random_region
        >>> shapes = {"layers.0.weight": (20, 50)}
        >>> one, other = (random_region(shapes, 0.5, seed) for seed in (0, 1))
        >>> [(row.one, row.other, row.num_one) for row in overlaps({"one": one, "other": other})]
        [('one', 'other', 500), ('other', 'one', 500)]
    """
    found = {}
    pairs = list(itertools.combinations(regions, 2))
    for one, other in track(pairs, "overlap", unit="pair"):
        found[one, other] = overlap(regions[one], regions[other], (one, other))
        found[other, one] = _swapped(found[one, other])
    return [found[pair] for pair in itertools.permutations(regions, 2)]


def _swapped(row: Overlap) -> Overlap:
    """The same pair in the opposite order."""
    share = row.num_shared / row.num_other if row.num_other else 0.0
    sizes = {"num_one": row.num_other, "num_other": row.num_one}
    return replace(row, one=row.other, other=row.one, **sizes, share_of_one=share)


def jaccard_matrix(rows: Sequence[Overlap]) -> tuple[list[str], np.ndarray, float]:
    """Names, the Jaccard overlap of each pair [names, names] with NaN on the diagonal, and the mean by chance.

    Raises:
        LangcoreError: no rows.
    """
    if not rows:
        raise LangcoreError("an overlap needs two regions or more")
    names = list(dict.fromkeys(name for row in rows for name in (row.one, row.other)))
    values = np.full((len(names), len(names)), np.nan)
    for row in rows:
        values[names.index(row.one), names.index(row.other)] = row.jaccard
    return names, values, sum(row.chance for row in rows) / len(rows)


def write_csv(rows: Sequence[Overlap], path: Path | str) -> None:
    """Write one row per pair, atomically."""
    values = ([f"{v:.6f}" if isinstance(v, float) else v for v in astuple(row)] for row in rows)
    tables.write_csv(path, [field.name for field in fields(Overlap)], values)
