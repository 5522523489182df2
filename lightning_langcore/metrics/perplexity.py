"""Perplexity and bits per byte as torchmetrics: they accumulate sums and apply the exponential in ``compute``.

Shapes: B sequences, T positions, V vocabulary. As in ``torchmetrics.text.Perplexity`` the metrics do not shift:
``target[b, t]`` is the token that FOLLOWS position t (transformers' ``shift_labels``).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_langcore.metrics.functional import IGNORE, next_token_nats


class _Sums(Metric):
    """The sum of nats (float64) and counts (int64) that keep their types when a module is cast.

    Each metric has only the sums that it needs: ``MetricCollection`` lets metrics of equal sums share them, so a sum
    that only one of them updates would be lost.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better = False
    nats: Tensor

    def __init__(self, *counts: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in counts:
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def _apply(self, fn: Callable, exclude_state: Any = "") -> "_Sums":
        """Move with the module, but stay float64 and int64 when the module is cast, as Lightning's bf16-true does."""

        def move_only(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move_only, exclude_state)
        return self


class Perplexity(_Sums):
    r""":math:`\exp(\text{nats} / \text{tokens})` over all batches of all ranks.

    Takes what ``torchmetrics.text.Perplexity`` takes. Unlike there, the sums stay float64 and int64 if the module is
    cast to bfloat16, the softmax is float32 for logits of any type, and -100 is ignored by default, as in transformers.
    ``compute`` returns a float64 scalar: ``inf`` if the mean loss exceeds 709 nats, NaN without tokens.

    Args:
        ignore_index: target at positions that are not evaluated.
        kwargs: arguments of ``torchmetrics.Metric``.

    Example:
        >>> import torch
        >>> from lightning_langcore import Perplexity
        >>> metric = Perplexity()
        >>> target = torch.tensor([[1, 0, 3, -100]])
        >>> metric.update(torch.zeros(1, 4, 5), target)  # five tokens of equal probability
        >>> metric.compute()
        tensor(5.0000, dtype=torch.float64)
    """

    num_tokens: Tensor

    def __init__(self, ignore_index: int = IGNORE, **kwargs: Any) -> None:
        super().__init__("num_tokens", **kwargs)
        self.ignore_index = ignore_index

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            preds: logits (B, T, V) of any floating type.
            target: (B, T) int64, the token after each position.

        Raises:
            ValueError: the shapes don't match.
        """
        nats, num_tokens = next_token_nats(preds, target, self.ignore_index)
        self.nats += nats
        self.num_tokens += num_tokens

    def compute(self) -> Tensor:
        """Perplexity, float64 scalar."""
        return torch.exp(self.nats / self.num_tokens)


class BitsPerByte(_Sums):
    r""":math:`\text{nats} / (\ln 2 \cdot \text{bytes})` over all batches of all ranks.

    Comparable across languages and tokenizers. In a ``MetricCollection`` pass ``num_bytes`` by keyword: the others do
    not get it. ``compute`` returns a float64 scalar.

    Args:
        ignore_index: target at positions that are not evaluated.
        kwargs: arguments of ``torchmetrics.Metric``.

    Example:
        >>> import torch
        >>> from torchmetrics import MetricCollection
        >>> from lightning_langcore import BitsPerByte, Perplexity
        >>> metrics = MetricCollection([Perplexity(), BitsPerByte()])
        >>> metrics.update(torch.zeros(1, 3, 4), torch.tensor([[2, 0, 1]]), num_bytes=6)  # three tokens of two bits
        >>> {name: round(value.item(), 4) for name, value in metrics.compute().items()}
        {'Perplexity': 4.0, 'BitsPerByte': 1.0}
    """

    num_bytes: Tensor

    def __init__(self, ignore_index: int = IGNORE, **kwargs: Any) -> None:
        super().__init__("num_bytes", **kwargs)
        self.ignore_index = ignore_index

    def update(self, preds: Tensor, target: Tensor, num_bytes: int | Tensor) -> None:
        """Add a batch.

        Args:
            preds: logits (B, T, V) of any floating type.
            target: (B, T) int64, the token after each position.
            num_bytes: UTF-8 bytes of the text that this batch evaluates; each byte counts once over all batches.

        Raises:
            ValueError: the shapes don't match.
        """
        self.nats += next_token_nats(preds, target, self.ignore_index)[0]
        self.num_bytes += num_bytes

    def compute(self) -> Tensor:
        """Bits per byte, float64 scalar."""
        return self.nats / (math.log(2) * self.num_bytes)


class TextLoss(_Sums):
    """All metrics of a text at once, as in the rows of ``perplexity.csv``, from nats that the caller has computed.

    For losses without logits, as :class:`lightning_langcore.metrics.text_scorer.TextScorer` computes them.
    """

    num_tokens: Tensor
    num_bytes: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("num_tokens", "num_bytes", **kwargs)

    def update(self, nats: Tensor, num_tokens: Tensor, num_bytes: int | Tensor = 0) -> None:
        """Add a batch.

        Args:
            nats: sum of nats over the evaluated tokens, a scalar.
            num_tokens: number of evaluated tokens.
            num_bytes: see :class:`BitsPerByte`.
        """
        self.nats += nats
        self.num_tokens += num_tokens
        self.num_bytes += num_bytes

    def compute(self) -> dict[str, Tensor]:
        """``nats_per_token``, ``ppl``, ``bits_per_byte``, ``num_tokens``, ``num_bytes``."""
        mean = self.nats / self.num_tokens
        return {
            "nats_per_token": mean,
            "ppl": torch.exp(mean),
            "bits_per_byte": self.nats / (math.log(2) * self.num_bytes),
            "num_tokens": self.num_tokens,
            "num_bytes": self.num_bytes,
        }
