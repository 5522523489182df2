r"""Scores: a number for every weight. Tensors in, tensors out, float32, on the CPU.

A score is made from the weights ``theta_0`` and, for most, from one recorded statistic a language, added up over the
languages before the formula is applied (each formula is linear in it). It says at which of its ends the core lies:

* what changes least when the model is trained further on several languages (Zhang et al., Unveiling Linguistic Regions
  in LLMs, ACL 2024, and the talk it grew from): ``weight_change``, ``relative_change``;
* what the loss depends on most at fixed weights: ``taylor``, ``taylor_per_batch``, ``fisher``, ``wanda``;
* controls: ``magnitude`` (the largest weights; relative change and Taylor both prefer these) and ``random``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_langcore.importance.top_k import End, tie_order
from lightning_langcore.regions.weight_change import CHUNK, to_float32, weight_scale


def weight_change(theta_0: Tensor, change: Tensor) -> Tensor:  # noqa: ARG001 - all formulas share one signature
    r""":math:`\sum_l |\theta_l - \theta_0|`: end points, absolute before summing over languages. Core: lowest.

    Args:
        theta_0: the base's weights (not needed here).
        change: the sum, shape of the weights.
    """
    return change


def relative_change(theta_0: Tensor, change: Tensor) -> Tensor:
    r""":math:`\sum_l |\theta_l - \theta_0| / \max(|\theta_0|, 10^{-3}\,\mathrm{rms}(\theta_0))`. Core: lowest."""
    scale = weight_scale(theta_0)
    return torch.div(change, scale, out=scale)


def taylor(theta_0: Tensor, gradient_sum: Tensor) -> Tensor:
    r""":math:`\sum_l |\sum_b g_{l,b}| \cdot |\theta_0|`, as the code of Zhang et al. scores. Core: highest.

    First-order importance (Molchanov et al., 2017): the loss that setting the weight to zero would cost, after opposite
    gradients of different batches have cancelled.
    """
    return gradient_sum * magnitude(theta_0)


def taylor_per_batch(theta_0: Tensor, gradient_abs: Tensor) -> Tensor:
    r""":math:`\sum_l \frac1B \sum_b |g_{l,b} \cdot \theta_0|`: the same without cancelling. Core: highest."""
    return gradient_abs * magnitude(theta_0)


def fisher(theta_0: Tensor, gradient_square: Tensor) -> Tensor:  # noqa: ARG001
    r""":math:`\sum_l \frac1N \sum_n g_{l,n}^2` over single samples: the diagonal of the empirical Fisher information.

    Kirkpatrick et al., Overcoming catastrophic forgetting, 2017. Squares of batch means would shrink with the batch.
    Core: highest.
    """
    return gradient_square


def wanda(theta_0: Tensor, input_norm: Tensor) -> Tensor:
    r""":math:`|\theta_{0,ij}| \cdot \sum_l \mathrm{rms}_t(x_{l,tj})` (Sun et al., 2023). Core: highest.

    Args:
        theta_0: (out, in).
        input_norm: (in,), root mean square over tokens of the layer's input, so that more text is not more.
    """
    return magnitude(theta_0) * input_norm


def magnitude(theta_0: Tensor, _: Tensor | None = None) -> Tensor:
    r""":math:`|\theta_0|`, the control that needs no data. Core: highest."""
    return to_float32(theta_0).abs()


class Score(NamedTuple):
    """A score in two halves, so that what depends on the weights alone is computed once for all languages.

    Attributes:
        core_end: the end at which the core lies.
        statistic: what is recorded per language, if anything.
        of_weights: what is made of the weights; ``None`` where they do not count.
        combine: of that and the statistic.
    """

    core_end: End
    statistic: str | None
    of_weights: Callable[[Tensor], Tensor] | None
    combine: Callable[[Tensor, Tensor], Tensor]


SCORES: dict[str, Score] = {
    "weight_change": Score("lowest", "change", None, weight_change),
    "relative_change": Score("lowest", "change", weight_scale, lambda scale, change: change / scale),
    "taylor": Score("highest", "gradient_sum", magnitude, torch.mul),
    "taylor_per_batch": Score("highest", "gradient_abs", magnitude, torch.mul),
    "fisher": Score("highest", "gradient_square", None, fisher),
    "wanda": Score("highest", "input_norm", magnitude, torch.mul),
    "magnitude": Score("highest", None, magnitude, lambda sizes, _: sizes),
}
"""All scores but ``random``, which is :class:`RandomScores`: it has no core end."""


class RandomScores(Mapping[str, Tensor]):
    """Scores drawn by hash from (place, parameter, seed): the same on every machine, in any order of the parameters.

    Args:
        shapes: name and shape of each candidate.
        seed: another seed, other scores.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], seed: int) -> None:
        self._shapes = dict(shapes)
        self._seed = seed

    def __getitem__(self, name: str) -> Tensor:
        """In [0, 1), 24 bits of the hash: equals are ordered by the rest of it."""
        scores = torch.empty(self._shapes[name], dtype=torch.float32)
        flat = scores.view(-1).numpy()
        for start in range(0, len(flat), CHUNK):
            places = np.arange(start, min(start + CHUNK, len(flat)))
            upper = tie_order(name, places, self._seed) >> np.uint64(40)
            np.multiply(upper, 2.0**-24, out=flat[start : start + CHUNK], casting="same_kind")
        return scores

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)
