"""Change of weights: absolute change, relative change, and the union table."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

RELATIVE_FLOOR = 1e-3
"""Smallest divisor of a relative change, as a multiple of the tensor's root mean square: weights can be near zero."""

CHUNK = 1 << 18
"""Elements per chunk in elementwise operations, so that temporaries fit in the cache."""

_DOUBLES = 1 << 16  # elements per chunk in float64


def absolute_change(theta_0: Tensor, theta: Tensor) -> Tensor:
    """``|theta - theta_0|`` in float32, on the CPU, in the shape of the inputs."""
    before, after = theta_0.detach().reshape(-1), theta.detach().reshape(-1)
    change = torch.empty(before.numel(), dtype=torch.float32)
    for start in range(0, before.numel(), CHUNK):
        part = slice(start, start + CHUNK)
        torch.sub(to_float32(after[part]), to_float32(before[part]), out=change[part]).abs_()
    return change.view(theta_0.shape)


def weight_scale(theta_0: Tensor, floor: float | None = None) -> Tensor:
    """The divisor of the relative change: ``max(|theta_0|, 1e-3 rms(theta_0))``, float32, shape of the input.

    Args:
        theta_0: a tensor, or a part of a tensor if ``floor`` is given.
        floor: see :func:`scale_floor`; ``None``: the floor of ``theta_0``.
    """
    weights = theta_0.detach().reshape(-1)
    scale = torch.empty(weights.numel(), dtype=torch.float32)
    for start in range(0, weights.numel(), CHUNK):
        torch.abs(to_float32(weights[start : start + CHUNK]), out=scale[start : start + CHUNK])
    return scale.clamp_(min=scale_floor(scale) if floor is None else floor).view(theta_0.shape)


def scale_floor(theta_0: Tensor) -> float:
    """The smallest divisor of a relative change: 1e-3 times the root mean square, and more than 0."""
    return max(RELATIVE_FLOOR * rms(theta_0), torch.finfo(torch.float32).tiny)


def to_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32 on the CPU; not copied if it is already."""
    return tensor.to("cpu", torch.float32)


def rms(tensor: Tensor) -> float:
    """Root mean square of all elements, summed in float64."""
    total = 0.0
    for part in tensor.detach().reshape(-1).split(_DOUBLES):
        double = part.double()
        total += float(torch.dot(double, double))
    return (total / max(1, tensor.numel())) ** 0.5


def union_shares(scale: Tensor, largest_change: Tensor, thresholds: Sequence[float]) -> list[float]:
    """A row of the union table: the shares of weights that change by more than a threshold in some language.

    Args:
        scale: :func:`weight_scale` of the base's weights.
        largest_change: the maximum over languages of ``|theta - theta_0|``.
        thresholds: relative changes, 0.01 = 1 %.

    Returns:
        One share (0..1) per threshold.
    """
    relative = (largest_change / scale).numpy()
    return [int(np.count_nonzero(relative > t)) / max(1, relative.size) for t in thresholds]
