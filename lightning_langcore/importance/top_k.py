"""Exact top-k of very many float32 values, with a reproducible order of ties; numpy only.

A score is converted to keys: unsigned integers that are smaller the nearer a value is to the selected end. For values
>= 0 the order of floats is the order of their bits.
"""

import zlib
from collections.abc import Mapping
from typing import Literal

import numpy as np

End = Literal["lowest", "highest"]

NUM_BUCKETS = 1 << 15
"""Values >= 0 have a sign bit of 0, so the upper 16 bits of a key are below this."""

_INFINITY = np.uint32(0x7F800000)
_CHUNK = 1 << 22
_SAMPLE = 1 << 16


def keys_of(values: np.ndarray, end: End) -> np.ndarray:
    """The key of each value: float32, >= 0, without NaN -> uint32; the smallest key is at the selected end."""
    bits = np.abs(values).view(np.uint32)  # -0.0 has a bit pattern above every positive one
    return bits if end == "lowest" else _INFINITY - bits


def upper_histogram(keys: np.ndarray) -> np.ndarray:
    """Number of keys in each bucket of equal upper 16 bits: int64, (NUM_BUCKETS,)."""
    counts = np.zeros(NUM_BUCKETS, dtype=np.int64)
    for start in range(0, len(keys), _CHUNK):
        counts += np.bincount(keys[start : start + _CHUNK] >> 16, minlength=NUM_BUCKETS)
    return counts


def lower_histogram(keys: np.ndarray, bucket: int) -> np.ndarray:
    """Number of keys of one bucket with each value of the lower 16 bits: int64, (2^16,)."""
    counts = np.zeros(1 << 16, dtype=np.int64)
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        counts += np.bincount(chunk[chunk >> 16 == bucket] & 0xFFFF, minlength=1 << 16)
    return counts


def position(counts: np.ndarray, k: int) -> tuple[int, int]:
    """The bucket of the k-th smallest key (k >= 1), and the rank of this key inside the bucket, from 1."""
    bucket = int(np.searchsorted(np.cumsum(counts), k))
    return bucket, k - int(counts[:bucket].sum())


def smallest_k_key(keys: np.ndarray, k: int) -> tuple[int, int]:
    """The exact k-th smallest key, by two histograms: of the upper 16 bits, then of the lower 16 bits in one bucket.

    It reads the data twice and needs 0.8 MB, whereas a sort would copy and reorder all data.

    Args:
        keys: 1-D, uint32, from :func:`keys_of`.
        k: 1..len(keys).

    Returns:
        The key, and how many keys equal to it belong to the k smallest.
    """
    bucket, left = position(upper_histogram(keys), k)
    low, needed = position(lower_histogram(keys, bucket), left)
    return bucket << 16 | low, needed


def tie_order(name: str, indices: np.ndarray, seed: int) -> np.ndarray:
    """A 64-bit hash of (index, parameter name, seed) that orders ties; the finalizer of SplitMix64.

    Ordering ties by index would select those in the first rows, which looks like a frozen block.
    """
    key = np.uint64((zlib.crc32(name.encode()) << 32) ^ (seed & 0xFFFFFFFF))
    with np.errstate(over="ignore"):
        x = indices.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def smallest_k_hash(places: Mapping[str, np.ndarray], k: int, seed: int) -> np.uint64:
    """The k-th smallest hash over several parameters, by a histogram of the upper 16 bits and a search in one bucket.

    Args:
        places: indices by parameter; only the indices of one parameter are in memory at a time.
        k: 1..number of indices.
        seed: see :func:`tie_order`.
    """
    counts = np.zeros(1 << 16, dtype=np.int64)
    for name, indices in places.items():
        upper = (tie_order(name, indices, seed) >> np.uint64(48)).astype(np.int64)
        counts += np.bincount(upper, minlength=1 << 16)
    bucket, left = position(counts, k)
    inside = []
    for name, indices in places.items():
        hashes = tie_order(name, indices, seed)
        inside.append(hashes[hashes >> np.uint64(48) == bucket])
    last: np.uint64 = np.partition(np.concatenate(inside), left - 1)[left - 1]
    return last


def choose(name: str, values: np.ndarray, k: int, end: End, seed: int) -> tuple[np.ndarray, int]:
    """Positions of the k values nearest to one end.

    A bound estimated from a sample leaves few more than k values, among which the k-th is found exactly. The result
    does not depend on the sample: if the bound leaves fewer than k values, all values are used.

    Args:
        name: the parameter's name (an input of the hash that orders ties).
        values: 1-D, float32, >= 0, without NaN.
        k: 0..len(values).
        end: ``lowest`` or ``highest``.
        seed: seed of the order of ties.

    Returns:
        Ascending int64 positions; and how many of them were selected by hash from a larger number of ties.
    """
    if k == 0:
        return np.empty(0, dtype=np.int64), 0
    near = _within_bound(values, k, end)
    keys = keys_of(values[near], end)
    cut, needed = smallest_k_key(keys, k)
    sure = keys < cut
    equals = np.flatnonzero(keys == cut)
    num_ties = needed if needed < len(equals) else 0
    if num_ties:
        order = tie_order(name, near[equals], seed)
        equals = equals[np.argpartition(order, needed - 1)[:needed]]
    sure[equals] = True
    return near[sure], num_ties


def _within_bound(values: np.ndarray, k: int, end: End) -> np.ndarray:
    """Positions of slightly more than the k values nearest to the end, with all ties of the last one."""
    size = len(values)
    step = size // _SAMPLE
    if step > 1:
        sample = values[:: step | 1]  # an odd step does not sample the same columns of a matrix again and again
        share = k / size
        margin = 5 * (share * (1 - share) / len(sample)) ** 0.5 + 2 / len(sample)
        rank = int((share + margin) * len(sample))
        if rank < len(sample):
            ordered = np.sort(sample)
            bound = ordered[rank] if end == "lowest" else ordered[-1 - rank]
            near = np.flatnonzero(values <= bound if end == "lowest" else values >= bound)
            if len(near) >= k:
                return near
    return np.arange(size)
