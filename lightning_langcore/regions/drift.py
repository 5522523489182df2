"""Relative change of weights inside and outside a region, and the rows and columns that moved most."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_langcore.regions.region import Region

NUM_ROWS_COLUMNS = 10


class MovedRowOrColumn(NamedTuple):
    """A row or column that moved more than the other rows or columns of its parameter.

    ``relative`` is its mean relative change, ``ratio`` is ``relative`` over the mean of the whole parameter. ``axis``
    is ``row``, ``column`` or, in a norm, ``weight``; ``index`` counts along the axis.
    """

    name: str
    axis: str
    index: int  # type: ignore[assignment]  # hides tuple.index
    relative: float
    ratio: float


class Drift(NamedTuple):
    """Mean relative change of the region's weights and of all other candidates; rows and columns sorted by ratio.

    ``unmoved`` is the share (0..1) of the other candidates that equal their starting values: in bfloat16, weights whose
    updates were rounded away. ``region``, ``rest`` or ``unmoved`` is NaN if there is no such weight. ``lines`` are the
    rows and columns that moved most.
    """

    region: float
    rest: float
    unmoved: float
    lines: list[MovedRowOrColumn]


def drift(changes: Iterable[tuple[str, Tensor]], region: Region, num_rows_columns: int = NUM_ROWS_COLUMNS) -> Drift:
    """Compare the region with the rest of its candidates, one parameter in memory at a time.

    Args:
        changes: name and relative change ``|theta - theta_0| / scale`` (float32, the parameter's shape, on the CPU) of
            every parameter; the region's candidates count for the means, candidates and norms for the rows and
            columns.
        region: the region to compare with its other candidates.
        num_rows_columns: number of rows and columns in the result.
    """
    inside, outside, unmoved = [0.0, 0], [0.0, 0], [0.0, 0]
    lines: list[MovedRowOrColumn] = []
    for name, change in changes:
        if name in region.shapes or change.ndim == 1:
            lines += _moved_most(name, change, num_rows_columns)
        if name not in region.shapes:
            continue
        part = region.parts.get(name)
        own = torch.empty(0) if part is None else part.gather(change)
        total, own_total = float(change.sum(dtype=torch.float64)), float(own.sum(dtype=torch.float64))
        inside = [inside[0] + own_total, inside[1] + own.numel()]
        outside = [outside[0] + total - own_total, outside[1] + change.numel() - own.numel()]
        zeros = int((change == 0).sum()) - int((own == 0).sum())
        unmoved = [unmoved[0] + zeros, outside[1]]
    region_mean, rest_mean, unmoved_share = (
        amount / count if count else float("nan") for amount, count in (inside, outside, unmoved)
    )
    return Drift(region_mean, rest_mean, unmoved_share, sorted(lines, key=lambda line: -line.ratio)[:num_rows_columns])


def _moved_most(name: str, change: Tensor, num_rows_columns: int) -> list[MovedRowOrColumn]:
    """The rows and columns of one parameter with the largest mean change."""
    mean = float(change.mean(dtype=torch.float64))
    if mean == 0:
        return []
    if change.ndim == 1:
        return _largest(name, "weight", change, mean, num_rows_columns)
    if change.ndim > 2:  # rows of a stack of matrices have no number of their own
        return []
    rows = _largest(name, "row", change.mean(dim=1), mean, num_rows_columns)
    return rows + _largest(name, "column", change.mean(dim=0), mean, num_rows_columns)


def _largest(name: str, axis: str, means: Tensor, whole: float, num_rows_columns: int) -> list[MovedRowOrColumn]:
    top = means.topk(min(num_rows_columns, means.numel()))
    return [
        MovedRowOrColumn(name, axis, int(index), float(value), float(value) / whole)
        for value, index in zip(top.values, top.indices, strict=True)
    ]
