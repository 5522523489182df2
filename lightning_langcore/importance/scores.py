r"""Importance scores of weights: functions of tensors, float32, on the CPU.

A score is a function of the weights ``theta_0`` and, for most scores, of one recorded statistic per language, summed
over the languages before the formula is applied (each formula is linear in the statistic). A score defines at which of
its ends the core lies:

* the weights that change least when the model is trained further on several languages (Zhang et al., Unveiling
  Linguistic Regions in LLMs, ACL 2024): ``weight_change``, ``relative_change``;
* the weights on which the loss depends most at fixed weights: ``taylor``, ``taylor_per_batch``, ``fisher``, ``wanda``;
* controls: ``magnitude`` (the largest weights, which relative change and Taylor both prefer) and ``random``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from lightning_langcore.importance import recording
from lightning_langcore.importance.top_k import End, tie_order
from lightning_langcore.regions.weight_change import CHUNK, to_float32, weight_scale
from lightning_langcore.utils.errors import LangcoreError

STATISTICS = ("change", *recording.STATISTICS)
"""Per-language statistics of weights: ``change`` by training, the others from passes at fixed weights."""


def magnitude(theta_0: Tensor) -> Tensor:
    r""":math:`|\theta_0|` in float32: a factor of several scores, and by itself a control without data."""
    return to_float32(theta_0).abs()


def weight_change(_: Tensor, change: Tensor) -> Tensor:
    r""":math:`\sum_l |\theta_l - \theta_0|`: the change of the end points, summed over languages. Core: lowest.

    Args:
        change: the sum over languages, shape of the weights.
    """
    return change


def relative_change(scale: Tensor, change: Tensor) -> Tensor:
    r""":math:`\sum_l |\theta_l - \theta_0| / \max(|\theta_0|, 10^{-3}\,\mathrm{rms}(\theta_0))`. Core: lowest.

    Args:
        scale: the divisor, see :func:`weight_scale`.
        change: see :func:`weight_change`.
    """
    return change / scale


def taylor(sizes: Tensor, gradient_sum: Tensor) -> Tensor:
    r""":math:`\sum_l |\sum_b g_{l,b}| \cdot |\theta_0|`, as in the code of Zhang et al. Core: highest.

    First-order importance (Molchanov et al., 2017): the estimated change of the loss if the weight were set to zero.
    Opposite gradients of different batches cancel.

    Args:
        sizes: :func:`magnitude` of the weights.
        gradient_sum: :math:`\sum_l |\sum_b g_{l,b}|`, shape of the weights.
    """
    return sizes * gradient_sum


def taylor_per_batch(sizes: Tensor, gradient_abs: Tensor) -> Tensor:
    r""":math:`\sum_l \frac1B \sum_b |g_{l,b} \cdot \theta_0|`: the same without cancellation. Core: highest.

    Args:
        sizes: :func:`magnitude` of the weights.
        gradient_abs: :math:`\sum_l \frac1B \sum_b |g_{l,b}|`, shape of the weights.
    """
    return sizes * gradient_abs


def fisher(_: Tensor, gradient_square: Tensor) -> Tensor:
    r""":math:`\sum_l \frac1N \sum_n g_{l,n}^2` over single samples: the diagonal of the empirical Fisher information.

    Kirkpatrick et al., Overcoming catastrophic forgetting, 2017. Squares of batch means would decrease with the batch
    size. Core: highest.

    Args:
        gradient_square: the sum over languages, shape of the weights.
    """
    return gradient_square


def wanda(sizes: Tensor, input_norm: Tensor) -> Tensor:
    r""":math:`|\theta_{0,ij}| \cdot \sum_l \mathrm{rms}_t(x_{l,tj})` (Sun et al., 2023). Core: highest.

    Args:
        sizes: :func:`magnitude` of the weights, (out, in).
        input_norm: (in,), root mean square of the layer's input over tokens, independent of the amount of text.
    """
    return sizes * input_norm


@dataclass(frozen=True)
class Score:
    """A score in two steps, so that the step that depends only on the weights is computed once for all languages.

    Args:
        core_end: the end at which the core lies: ``lowest`` or ``highest``.
        statistic: the statistic recorded for each language: ``change`` by training, or one of ``gradient_sum``,
            ``gradient_abs``, ``gradient_square``, ``input_norm`` from passes at fixed weights; ``None``: no statistic.
        of_weights: first step, a function of the weights; returns float32 on the CPU. ``None`` if the score does not
            depend on the weights.
        combine: second step, a function of the result of the first step and of the statistic summed over the languages;
            returns float32 >= 0 in the shape of the weights. It must be linear in the statistic and must not modify its
            arguments. ``None``: the result of the first step is the score.

    Raises:
        LangcoreError: an unknown end or statistic, or neither ``of_weights`` nor ``combine``.

    Example:
        >>> import torch
        >>> from lightning_langcore import Score
        >>> largest = Score("highest", statistic=None, of_weights=torch.abs, combine=None)
        >>> largest(torch.tensor([-3.0, 2.0]))
        tensor([3., 2.])
    """

    core_end: End
    statistic: str | None
    of_weights: Callable[[Tensor], Tensor] | None
    combine: Callable[[Tensor, Tensor], Tensor] | None

    def __post_init__(self) -> None:
        if self.core_end not in get_args(End):
            raise LangcoreError(f"core_end={self.core_end!r} is none of {', '.join(get_args(End))}")
        if self.statistic not in (None, *STATISTICS):
            raise LangcoreError(f"statistic={self.statistic!r} is none of {', '.join(STATISTICS)}")
        if (self.statistic is None) != (self.combine is None) or (self.statistic is None and self.of_weights is None):
            raise LangcoreError("a score needs combine with a statistic, of_weights alone without one")

    def __call__(self, theta_0: Tensor, statistic: Tensor | None = None) -> Tensor:
        """The score of each weight of one parameter: float32 on the CPU, shape of ``theta_0``."""
        prepared = theta_0 if self.of_weights is None else self.of_weights(theta_0)
        return self.finish(prepared, statistic)

    def finish(self, prepared: Tensor, statistic: Tensor | None) -> Tensor:
        """The second step, applied to the result of ``of_weights``."""
        if self.combine is None:
            return prepared
        assert statistic is not None
        return self.combine(prepared, statistic)


SCORES: dict[str, Score] = {
    "weight_change": Score("lowest", "change", None, weight_change),
    "relative_change": Score("lowest", "change", weight_scale, relative_change),
    "taylor": Score("highest", "gradient_sum", magnitude, taylor),
    "taylor_per_batch": Score("highest", "gradient_abs", magnitude, taylor_per_batch),
    "fisher": Score("highest", "gradient_square", None, fisher),
    "wanda": Score("highest", "input_norm", magnitude, wanda),
    "magnitude": Score("highest", None, magnitude, None),
}
"""All scores but ``random``, which is :class:`RandomScores`: it has no core end.

:func:`~lightning_langcore.register_score` adds scores to this dict.
"""


class RandomScores(Mapping[str, Tensor]):
    """Random scores, by hash of (index, parameter, seed): the same on every machine, in any order of the parameters.

    Args:
        shapes: name and shape of each candidate.
        seed: seed of the hash.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], seed: int) -> None:
        self._shapes = dict(shapes)
        self._seed = seed

    def __getitem__(self, name: str) -> Tensor:
        """Scores in [0, 1), from 24 bits of the hash; ties are ordered by the other bits."""
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
