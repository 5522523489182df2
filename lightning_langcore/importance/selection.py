"""Selection of a region from scores: the weights at one end of the score, with reproducible order of ties."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_langcore.importance.scores import RandomScores, magnitude
from lightning_langcore.importance.selectors import Granularity, Scope, SelectionSpec, Selector, selector
from lightning_langcore.importance.top_k import NUM_BUCKETS, End, keys_of, tie_order
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.weight_set import WeightSet
from lightning_langcore.utils.errors import LangcoreError

Progress = Callable[[str], None]


def select(
    scores: Mapping[str, Tensor],
    fraction: float,
    end: End,
    seed: int = 0,
    granularity: Granularity = "element",
    scope: Scope = "tensor",
    meta: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Region:
    """Select a fraction of the weights at one end of their score.

    Args:
        scores: name -> score of each candidate, float32, >= 0; read one at a time, three times with ``scope=model``.
        fraction: see :class:`SelectionSpec`.
        end: see :class:`SelectionSpec`.
        seed: see :class:`SelectionSpec`.
        granularity: see :class:`SelectionSpec`.
        scope: see :class:`SelectionSpec`.
        meta: further metadata of the region.
        progress: called with each parameter name before the parameter is processed.

    Raises:
        LangcoreError: a fraction outside (0, 1], an unknown granularity or scope, a broken score, or a fraction that
            selects no weight.

    Example:
        >>> import torch
        >>> from lightning_langcore import select
        >>> scores = {"layers.0.weight": torch.tensor([[0.1, 0.9], [0.8, 0.2]])}
        >>> core = select(scores, fraction=0.5, end="highest")
        >>> core.parts["layers.0.weight"].indices()
        tensor([1, 2])
    """
    spec = SelectionSpec(fraction, end, granularity, scope, seed)
    selecting = selector(spec)
    shapes = {}
    for number in range(selecting.num_passes):
        for name in scores:
            if progress is not None:
                progress(name)
            score = scores[name]
            shapes[name] = tuple(score.shape)
            selecting.reduce(number, name, shapes[name], selecting.map(number, name, score))
    return finish(spec, selecting, shapes, meta)


def finish(
    spec: SelectionSpec, finished: Selector, shapes: Mapping[str, Sequence[int]], meta: Mapping[str, Any] | None = None
) -> Region:
    """The region of a selector after all its passes.

    Raises:
        LangcoreError: a fraction that selects no weight.
    """
    region = Region(shapes, finished.result())
    if len(region) == 0:
        raise LangcoreError(f"region.fraction={spec.fraction} chooses no weight of any tensor: take a larger one")
    region.meta = {
        "order": spec.end,
        "fraction": spec.fraction,
        "granularity": spec.granularity,
        "scope": spec.scope,
        "seed": spec.seed,
        "num_ties": finished.num_ties,
        **(meta or {}),
    }
    return region


def random_region(
    shapes: Mapping[str, Sequence[int]],
    fraction: float,
    seed: int,
    granularity: Granularity = "element",
    scope: Scope = "tensor",
    meta: Mapping[str, Any] | None = None,
) -> Region:
    """The random control: as many weights (or rows or columns), drawn by hash; the same on every machine.

    Args:
        shapes: name -> shape of each candidate.
        fraction: share of the candidates, (0, 1].
        seed: another seed draws other weights.
        granularity: ``element``; or ``row``, ``column``: whole rows or columns.
        scope: ``tensor``: the fraction of each tensor; ``model``: the fraction of all candidates.
        meta: further entries of the region's header.

    Returns:
        The region, of kind ``random``.

    Example:
        >>> from lightning_langcore import random_region
        >>> control = random_region({"layers.0.weight": (20, 50)}, fraction=0.05, seed=0)
        >>> len(control), control.fraction
        (50, 0.05)
    """
    about = {"kind": "random", "score": "random", "order": "random", "num_ties": 0, **(meta or {})}
    return select(RandomScores(shapes, seed), fraction, "lowest", seed, granularity, scope, about)


def matched_region(
    region: Region, theta_0: Mapping[str, Tensor], seed: int, num_bins: int = 256, meta: Mapping[str, Any] | None = None
) -> Region:
    """The magnitude-matched control: random weights of each tensor with the same magnitudes as the region's weights.

    The weights of a tensor are divided into bins of magnitude with about equally many weights; from each bin as many
    weights are drawn by hash as the region has there. The draw does not exclude the region, so the overlap by chance is
    larger where the region has most of a bin.

    Args:
        region: the region to match; it must consist of single weights, not of whole rows or columns.
        theta_0: the base's weights by name.
        seed: seed of the draw.
        num_bins: number of bins per tensor; magnitudes within 1 % of each other are not distinguished.
        meta: further metadata of the control.

    Raises:
        LangcoreError: a region of whole rows or columns.

    Example:
        >>> import torch
        >>> from lightning_langcore import matched_region, select
        >>> theta_0 = {"layers.0.weight": torch.randn(20, 50)}
        >>> largest = select({"layers.0.weight": theta_0["layers.0.weight"].abs()}, 0.05, "highest")
        >>> control = matched_region(largest, theta_0, seed=0)
        >>> len(control) == len(largest)
        True
    """
    parts = {}
    for name, part in region.parts.items():
        if part.encoding in ("rows", "cols"):
            raise LangcoreError(f"a region of whole {part.encoding} can't be matched in size weight by weight: {name}")
        keys = keys_of(magnitude(theta_0[name]).view(-1).numpy(), "lowest") >> 16
        filled = np.cumsum(np.bincount(keys, minlength=NUM_BUCKETS))
        bins = (np.maximum(filled - 1, 0) * num_bins // len(keys)).astype(np.uint16)[keys]
        counts = np.bincount(bins[part.indices().numpy()], minlength=num_bins)
        drawn = np.sort(_drawn(name, bins, counts, seed))
        parts[name] = WeightSet.of(torch.from_numpy(drawn), part.shape)
    return Region(region.shapes, parts, {**region.meta, "kind": "matched", "num_ties": 0, "seed": seed, **(meta or {})})


def _drawn(name: str, bins: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """From each bin the indices with the smallest hashes, as many as ``counts`` says; only small hashes are sorted."""
    sizes = np.maximum(np.bincount(bins, minlength=len(counts)), 1)
    share = counts / sizes
    bound = share + 6 * np.sqrt(share / sizes) + 20 / sizes
    scores = RandomScores({name: bins.shape}, seed)[name].numpy()
    near = np.flatnonzero(scores < bound.astype(np.float32)[bins])
    if (np.bincount(bins[near], minlength=len(counts)) < counts).any():
        near = np.arange(len(bins))  # improbable: the bound is six standard deviations away
    order = near[np.lexsort((tie_order(name, near, seed), bins[near]))]
    starts = np.searchsorted(bins[order], np.arange(len(counts)))
    return np.concatenate([order[start : start + count] for start, count in zip(starts, counts, strict=True)])
