"""From scores to a region: the weights at one end of the score, per tensor, ties broken the same way every time."""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_langcore.region import Region
from lightning_langcore.scores import End

_CHUNK = 1 << 22
Progress = Callable[[str], None]


def check_fraction(fraction: float) -> float:
    """The fraction as a float.

    Raises:
        ValueError: it is not a number in (0, 1].
    """
    try:
        value = float(fraction)
    except (TypeError, ValueError):
        value = float("nan")
    if isinstance(fraction, bool) or not 0.0 < value <= 1.0:
        raise ValueError(f"region.fraction={fraction!r} must be a number in (0, 1], such as 0.05 for 5 %")
    return value


def kth_smallest(values: np.ndarray, k: int) -> tuple[np.float32, int]:
    """The exact k-th smallest of non-negative float32 values, by two histograms over their bit patterns.

    For values >= 0 the order of floats is the order of their bits as unsigned integers: the first pass counts the
    upper 16 bits and finds the bucket, the second counts the lower 16 bits inside it. Two reads of the data and
    0.5 MB, where a sort would copy and reorder everything.

    Args:
        values: 1-D, float32, >= 0, without NaN.
        k: 1..len(values).

    Returns:
        The value, and how many of those equal to it belong to the k smallest.
    """
    bits = values.view(np.uint32)
    upper = np.zeros(1 << 16, dtype=np.int64)
    for start in range(0, len(bits), _CHUNK):
        upper += np.bincount(bits[start : start + _CHUNK] >> 16, minlength=1 << 16)
    bucket = int(np.searchsorted(np.cumsum(upper), k))
    left = k - int(upper[:bucket].sum())
    lower = np.zeros(1 << 16, dtype=np.int64)
    for start in range(0, len(bits), _CHUNK):
        chunk = bits[start : start + _CHUNK]
        lower += np.bincount(chunk[chunk >> 16 == bucket] & 0xFFFF, minlength=1 << 16)
    low = int(np.searchsorted(np.cumsum(lower), left))
    needed = left - int(lower[:low].sum())
    return np.array([bucket << 16 | low], dtype=np.uint32).view(np.float32)[0], needed


def tie_order(name: str, indices: np.ndarray, seed: int) -> np.ndarray:
    """A 64-bit hash of (flat index, parameter name, seed) to order equals by; the finaliser of SplitMix64.

    The first index would put all ties into the first rows, which looks like a frozen block.
    """
    key = np.uint64((zlib.crc32(name.encode()) << 32) ^ (seed & 0xFFFFFFFF))
    with np.errstate(over="ignore"):
        x = indices.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def select_tensor(name: str, score: Tensor, k: int, end: End, seed: int) -> tuple[Tensor, int]:
    """Flat indices of the k weights at one end of a score.

    Args:
        name: the parameter's name (a part of the tie hash).
        score: any shape, float32, >= 0.
        k: how many, 0..numel.
        end: ``lowest`` or ``highest``.
        seed: for ties.

    Returns:
        Ascending int64 indices; and how many of them were taken by hash from a larger number of equals.

    Raises:
        ValueError: the score has a NaN or a negative value.
    """
    values = score.detach().to(torch.float32).cpu().contiguous().view(-1).numpy()
    if not (values >= 0).all():
        raise ValueError(f"the score of {name} holds NaN or negative values: its checkpoints are broken")
    values = np.abs(values)  # -0.0 has a bit pattern above every positive one
    if k == 0:
        return torch.empty(0, dtype=torch.int64), 0
    if end == "lowest":
        cut, needed = kth_smallest(values, k)
        sure = values < cut
    else:
        cut, _ = kth_smallest(values, len(values) - k + 1)
        sure = values > cut
        needed = k - int(sure.sum())
    equals = np.flatnonzero(values == cut)
    num_ties = needed if needed < len(equals) else 0
    if num_ties:
        order = tie_order(name, equals, seed)
        equals = equals[np.argpartition(order, needed - 1)[:needed]]
    sure[equals] = True
    return torch.from_numpy(np.flatnonzero(sure)), num_ties


def select(
    scores: Iterable[tuple[str, Tensor]],
    fraction: float,
    end: End,
    seed: int = 0,
    meta: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Region:
    """Take a fraction of each tensor's weights at one end of their score.

    Args:
        scores: name and score of each candidate; read one at a time.
        fraction: of each tensor, (0, 1]; rounded to whole weights.
        end: ``lowest`` or ``highest``.
        seed: for ties.
        meta: more for the region's header.
        progress: called with each name before it is worked on.

    Raises:
        ValueError: a fraction outside (0, 1], a broken score, or a fraction so small that no weight is chosen.
    """
    fraction = check_fraction(fraction)
    shapes, indices, num_ties = {}, {}, 0
    for name, score in scores:
        if progress is not None:
            progress(name)
        shapes[name] = tuple(score.shape)
        indices[name], ties = select_tensor(name, score, round(fraction * score.numel()), end, seed)
        num_ties += ties
    region = Region(
        shapes,
        indices,
        {
            "order": end,
            "fraction": fraction,
            "granularity": "element",
            "scope": "tensor",
            "seed": seed,
            "num_ties": num_ties,
            **(meta or {}),
        },
    )
    if len(region) == 0:
        raise ValueError(f"region.fraction={fraction} chooses no weight of any tensor: take a larger one")
    return region


def random_region(
    shapes: Mapping[str, Sequence[int]], fraction: float, seed: int, meta: Mapping[str, Any] | None = None
) -> Region:
    """The control: the same number of weights per tensor, drawn by hash from the seed; equal on every machine."""
    equal = ((name, torch.zeros(tuple(shape))) for name, shape in shapes.items())
    about = {"kind": "random", "score": "random", "order": "random", "num_ties": 0, **(meta or {})}
    return select(equal, fraction, "lowest", seed, about)
