"""Nats per token from logits: plain functions."""

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = -100


ROWS = 512
"""Positions whose logits are held in float32 at once, ``ROWS`` x V x 4 bytes: with fewer a chunked loss would go over
the gradient of the head more often."""


def next_token_nats(logits_BTV: Tensor, shift_labels_BT: Tensor) -> tuple[Tensor, Tensor]:
    r"""Sum of :math:`-\ln p(\text{label})` over the scored positions, and their number.

    The softmax is done in float32, 512 positions at a time: never for all logits at once. Equal to
    ``cross_entropy(logits.float(), labels, reduction="sum")``; 0 where nothing is scored.

    Args:
        logits_BTV: of any floating type.
        shift_labels_BT: int64.

    Returns:
        float64 scalar in nats and int64 scalar.

    Raises:
        ValueError: the shapes don't fit.
    """
    if logits_BTV.shape[:-1] != shift_labels_BT.shape:
        raise ValueError(f"logits {tuple(logits_BTV.shape)} do not fit labels {tuple(shift_labels_BT.shape)}")
    logits, labels = logits_BTV.flatten(0, -2), shift_labels_BT.flatten()
    nats = torch.zeros((), dtype=torch.float64, device=logits.device)
    for start in range(0, len(labels), ROWS):
        rows = slice(start, start + ROWS)
        each = F.cross_entropy(logits[rows].float(), labels[rows], ignore_index=IGNORE, reduction="none")
        nats += each.double().sum()
    return nats, (labels != IGNORE).sum()


def token_nats(logits_BTV: Tensor, shift_labels_BT: Tensor) -> Tensor:
    r""":math:`-\ln p(\text{label})` of each position, (B, T) float32, differentiable; 0 where nothing is scored."""
    logits, labels = logits_BTV.flatten(0, -2), shift_labels_BT.flatten()
    nats = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="none")
    return nats.view_as(shift_labels_BT)


def scored_mean(nats_BT: Tensor, shift_labels_BT: Tensor) -> Tensor:
    """Mean of the scored positions' nats, a scalar; 0 where nothing is scored."""
    return nats_BT.sum() / (shift_labels_BT != IGNORE).sum().clamp(min=1)


def next_token_mean(logits_BTV: Tensor, shift_labels_BT: Tensor) -> Tensor:
    """The training loss: mean nats per scored token, float32, differentiable; 0 where nothing is scored."""
    return scored_mean(token_nats(logits_BTV, shift_labels_BT), shift_labels_BT)
