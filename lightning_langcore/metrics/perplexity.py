"""Perplexity and bits per byte as torchmetrics: they accumulate sums and apply the exponential in ``compute``.

Shapes: B sequences, T positions, V vocabulary. ``shift_labels_BT[b, t]`` is the token that FOLLOWS position t (the
name is that of transformers), -100 at positions that are not evaluated.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_langcore.metrics.functional import next_token_nats


class _TextLikelihood(Metric):
    """Sums of nats (float64), tokens and bytes (int64); subclasses define ``update`` and ``compute``."""

    is_differentiable = False
    full_state_update = False
    nats: Tensor
    num_tokens: Tensor
    num_bytes: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("num_bytes", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def _apply(self, fn: Callable, exclude_state: Any = "") -> "_TextLikelihood":
        """Move with the module, but stay float64 and int64 when the module is cast, as Lightning's bf16-true does."""

        def move_only(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move_only, exclude_state)
        return self


class _OfLogits(_TextLikelihood):
    def update(self, logits_BTV: Tensor, shift_labels_BT: Tensor, num_bytes: int | Tensor = 0) -> None:
        """Add a batch.

        Args:
            logits_BTV: logits of any floating type.
            shift_labels_BT: int64, the token after each position; -100 at positions that are not evaluated.
            num_bytes: UTF-8 bytes of the text that this batch evaluates; each byte counts once over all batches.

        Raises:
            ValueError: the shapes don't match.
        """
        nats, tokens = next_token_nats(logits_BTV, shift_labels_BT)
        self.nats += nats
        self.num_tokens += tokens
        self.num_bytes += num_bytes


class Perplexity(_OfLogits):
    r""":math:`\exp(\text{nats} / \text{tokens})` over all batches of all ranks.

    Unlike in ``torchmetrics.text.Perplexity`` the sums stay float64 and int64 if the module is cast to bfloat16, and
    the softmax is float32 for logits of any type. ``inf`` if the mean loss exceeds 709 nats; NaN without tokens.

    Example::

        metric = Perplexity()
        metric.update(logits, shift_labels)
        metric.compute()
    """

    higher_is_better = False

    def compute(self) -> Tensor:
        """Perplexity, float64 scalar."""
        return torch.exp(self.nats / self.num_tokens)


class BitsPerByte(_OfLogits):
    r""":math:`\text{nats} / (\ln 2 \cdot \text{bytes})`; comparable across languages and tokenizers."""

    higher_is_better = False

    def compute(self) -> Tensor:
        """Bits per byte, float64 scalar."""
        return self.nats / (math.log(2) * self.num_bytes)


class TextLoss(_TextLikelihood):
    """All metrics of a text at once, as in the rows of ``perplexity.csv``, from nats that the caller computes."""

    higher_is_better = False

    def update(self, nats: Tensor, num_tokens: Tensor, num_bytes: int | Tensor = 0) -> None:
        """Add a batch.

        Args:
            nats: sum of nats over the evaluated tokens, a scalar.
            num_tokens: number of evaluated tokens.
            num_bytes: see :class:`Perplexity`.
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
