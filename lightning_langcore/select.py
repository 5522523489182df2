"""From scores to a region: the weights at one end of the score, ties broken the same way every time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from lightning_langcore.kth import End
from lightning_langcore.region import Region
from lightning_langcore.scores import RandomScores
from lightning_langcore.selectors import Choice, Selector, selector

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
        scores: name -> score of each candidate, float32, >= 0; read one at a time, twice with ``scope=model``.
        fraction: see :class:`Choice`, as are the next four.
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
    choice = Choice(fraction, end, granularity, scope, seed)
    chosen = selector(choice)
    shapes = {}
    for number in range(chosen.num_passes):
        for name in scores:
            if progress is not None:
                progress(name)
            score = scores[name]
            shapes[name] = tuple(score.shape)
            chosen.absorb(number, name, shapes[name], chosen.look(number, name, score))
    return finish(choice, chosen, shapes, meta)


def finish(
    choice: Choice, chosen: Selector, shapes: Mapping[str, Sequence[int]], meta: Mapping[str, Any] | None = None
) -> Region:
    """The region that a selector has chosen after all its passes.

    Raises:
        ValueError: the fraction is so small that no weight is chosen.
    """
    region = Region(shapes, chosen.parts())
    if len(region) == 0:
        raise ValueError(f"region.fraction={choice.fraction} chooses no weight of any tensor: take a larger one")
    region.meta = {
        "order": choice.end,
        "fraction": choice.fraction,
        "granularity": choice.granularity,
        "scope": choice.scope,
        "seed": choice.seed,
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
