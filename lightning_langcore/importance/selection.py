"""From scores to a region: the weights at one end of the score, ties broken the same way every time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_langcore.importance.scores import RandomScores, magnitude
from lightning_langcore.importance.selectors import SelectionSpec, Selector, selector
from lightning_langcore.importance.top_k import NUM_BUCKETS, End, keys_of, tie_order
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.weight_set import WeightSet

Progress = Callable[[str], None]


def select(
    scores: Mapping[str, Tensor],
    fraction: float,
    end: End,
    seed: int = 0,
    granularity: str = "element",
    scope: str = "tensor",
    meta: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Region:
    """Take a fraction of the weights at one end of their score.

    Args:
        scores: name -> score of each candidate, float32, >= 0; read one at a time, three times with ``scope=model``.
        fraction: see :class:`SelectionSpec`, as are the next four.
        end: see there.
        seed: see there.
        granularity: see there.
        scope: see there.
        meta: more for the region's header.
        progress: called with each name before it is worked on.

    Raises:
        ValueError: a fraction outside (0, 1], an unknown granularity or scope, a broken score, or a fraction so small
            that no weight is chosen.
    """
    spec = SelectionSpec(fraction, end, granularity, scope, seed)
    chosen = selector(spec)
    shapes = {}
    for number in range(chosen.num_passes):
        for name in scores:
            if progress is not None:
                progress(name)
            score = scores[name]
            shapes[name] = tuple(score.shape)
            chosen.reduce(number, name, shapes[name], chosen.map(number, name, score))
    return finish(spec, chosen, shapes, meta)


def finish(
    spec: SelectionSpec, chosen: Selector, shapes: Mapping[str, Sequence[int]], meta: Mapping[str, Any] | None = None
) -> Region:
    """The region that a selector has chosen after all its passes.

    Raises:
        ValueError: the fraction is so small that no weight is chosen.
    """
    region = Region(shapes, chosen.parts())
    if len(region) == 0:
        raise ValueError(f"region.fraction={spec.fraction} chooses no weight of any tensor: take a larger one")
    region.meta = {
        "order": spec.end,
        "fraction": spec.fraction,
        "granularity": spec.granularity,
        "scope": spec.scope,
        "seed": spec.seed,
        "num_ties": chosen.num_ties,
        **(meta or {}),
    }
    return region


def random_region(
    shapes: Mapping[str, Sequence[int]],
    fraction: float,
    seed: int,
    granularity: str = "element",
    scope: str = "tensor",
    meta: Mapping[str, Any] | None = None,
) -> Region:
    """The control: as many weights (or lines), drawn by hash from the seed; equal on every machine."""
    about = {"kind": "random", "score": "random", "order": "random", "num_ties": 0, **(meta or {})}
    return select(RandomScores(shapes, seed), fraction, "lowest", seed, granularity, scope, about)


def matched_region(
    region: Region, theta_0: Mapping[str, Tensor], seed: int, num_bins: int = 256, meta: Mapping[str, Any] | None = None
) -> Region:
    """The control for size: random weights of each tensor that are as large as the region's.

    The weights of a tensor are put into classes of magnitude, about equally full; of each class as many are drawn by
    hash as the region holds. The draw does not avoid the region: what they share by chance is larger where the region
    fills most of a class.

    Args:
        region: what is to be matched; its weights must be single ones, not whole lines.
        theta_0: the base's weights by name.
        seed: of the draw.
        num_bins: classes a tensor; magnitudes within 1 % of one another are not told apart.
        meta: more for the header.

    Raises:
        ValueError: the region is of whole rows or columns.
    """
    parts = {}
    for name, part in region.parts.items():
        if part.encoding in ("rows", "cols"):
            raise ValueError(f"a region of whole {part.encoding} can't be matched in size weight by weight: {name}")
        keys = keys_of(magnitude(theta_0[name]).view(-1).numpy(), "lowest") >> 16
        filled = np.cumsum(np.bincount(keys, minlength=NUM_BUCKETS))
        classes = (np.maximum(filled - 1, 0) * num_bins // len(keys)).astype(np.uint16)[keys]
        queries = np.bincount(classes[part.indices().numpy()], minlength=num_bins)
        taken = np.sort(_drawn(name, classes, queries, seed))
        parts[name] = WeightSet.of(torch.from_numpy(taken), part.shape)
    return Region(region.shapes, parts, {**region.meta, "kind": "matched", "num_ties": 0, "seed": seed, **(meta or {})})


def _drawn(name: str, classes: np.ndarray, queries: np.ndarray, seed: int) -> np.ndarray:
    """Of each class the wanted number of places with the smallest hashes; only places with small ones are sorted."""
    sizes = np.maximum(np.bincount(classes, minlength=len(queries)), 1)
    share = queries / sizes
    bound = share + 6 * np.sqrt(share / sizes) + 20 / sizes
    scores = RandomScores({name: classes.shape}, seed)[name].numpy()
    near = np.flatnonzero(scores < bound.astype(np.float32)[classes])
    if (np.bincount(classes[near], minlength=len(queries)) < queries).any():
        near = np.arange(len(classes))  # as good as never
    order = near[np.lexsort((tie_order(name, near, seed), classes[near]))]
    starts = np.searchsorted(classes[order], np.arange(len(queries)))
    return np.concatenate([order[start : start + count] for start, count in zip(starts, queries, strict=True)])
