"""Where weights have moved to: inside a region against outside, and which lines moved most. Plain functions."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_langcore.regions.region import Region

NUM_ROWS_COLUMNS = 10


class MovedRowOrColumn(NamedTuple):
    """A row or column of a parameter that moved more than the others of its parameter.

    ``relative`` is its mean relative change, ``ratio`` that over the mean of the whole parameter. ``axis`` is
    ``row``, ``column`` or, in a norm, ``weight``; ``index`` counts along it.
    """

    name: str
    axis: str
    index: int  # type: ignore[assignment]  # hides tuple.index
    relative: float
    ratio: float


class Drift(NamedTuple):
    """Means of the relative change over the region's weights and over all other candidates; lines by their ratio.

    ``unmoved`` is the share (0..1) of those others that are what they were: in bfloat16 their updates are rounded away.
    ``region``, ``rest`` or ``unmoved`` is NaN where there is no such weight.
    """

    region: float
    rest: float
    unmoved: float
    lines: list[MovedRowOrColumn]


def drift(changes: Iterable[tuple[str, Tensor]], region: Region, num_rows_columns: int = NUM_ROWS_COLUMNS) -> Drift:
    """Compare the region with the rest of its candidates, one parameter in memory at a time.

    Args:
        changes: name and relative change ``|theta - theta_0| / scale`` (float32, the parameter's shape, on the CPU) of
            every parameter; the region's candidates count for the means, these and the norms for the lines.
        region: see above.
        num_rows_columns: how many rows and columns to name.
    """
    inside, outside, still = [0.0, 0], [0.0, 0], [0.0, 0]
    lines: list[MovedRowOrColumn] = []
    for name, change in changes:
        if name in region.shapes or change.ndim == 1:
            lines += _moved_most(name, change, num_rows_columns)
        if name not in region.shapes:
            continue
        part = region.parts.get(name)
        own = torch.empty(0) if part is None else part.gather(change)
        total, hit = float(change.sum(dtype=torch.float64)), float(own.sum(dtype=torch.float64))
        inside = [inside[0] + hit, inside[1] + own.numel()]
        outside = [outside[0] + total - hit, outside[1] + change.numel() - own.numel()]
        zeros = int((change == 0).sum()) - int((own == 0).sum())
        still = [still[0] + zeros, outside[1]]
    mean, other, same = (amount / count if count else float("nan") for amount, count in (inside, outside, still))
    return Drift(mean, other, same, sorted(lines, key=lambda line: -line.ratio)[:num_rows_columns])


def _moved_most(name: str, change: Tensor, num_rows_columns: int) -> list[MovedRowOrColumn]:
    """The lines of one parameter with the largest mean change."""
    mean = float(change.mean(dtype=torch.float64))
    if mean == 0:
        return []
    if change.ndim == 1:
        return _largest(name, "weight", change, mean, num_rows_columns)
    rows = _largest(name, "row", change.mean(dim=1), mean, num_rows_columns)
    return rows + _largest(name, "column", change.mean(dim=0), mean, num_rows_columns)


def _largest(name: str, axis: str, means: Tensor, whole: float, num_rows_columns: int) -> list[MovedRowOrColumn]:
    top = means.topk(min(num_rows_columns, means.numel()))
    return [
        MovedRowOrColumn(name, axis, int(index), float(value), float(value) / whole)
        for value, index in zip(top.values, top.indices, strict=True)
    ]
