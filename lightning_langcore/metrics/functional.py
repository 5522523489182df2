"""Nats per token from logits, as plain functions."""

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = -100


ROWS = 512
"""Number of positions whose logits are in memory in float32 at once, ``ROWS`` x V x 4 bytes. With fewer rows a chunked
loss would update the gradient of the head more often."""


def next_token_nats(logits_BTV: Tensor, shift_labels_BT: Tensor, ignore_index: int = IGNORE) -> tuple[Tensor, Tensor]:
    r"""Sum of :math:`-\ln p(\text{label})` over the positions with a label, and the number of these positions.

    The softmax is computed in float32, 512 positions at a time, never for all logits at once. Equal to
    ``cross_entropy(logits.float(), labels, reduction="sum")``; 0 without labels.

    Args:
        logits_BTV: logits of any floating type.
        shift_labels_BT: int64, ``ignore_index`` at positions without a label.
        ignore_index: the label that does not count.

    Returns:
        float64 scalar in nats, and int64 scalar.

    Raises:
        ValueError: the shapes don't match.
    """
    if logits_BTV.shape[:-1] != shift_labels_BT.shape:
        raise ValueError(f"logits {tuple(logits_BTV.shape)} do not fit labels {tuple(shift_labels_BT.shape)}")
    logits, labels = logits_BTV.flatten(0, -2), shift_labels_BT.flatten()
    nats = torch.zeros((), dtype=torch.float64, device=logits.device)
    for start in range(0, len(labels), ROWS):
        rows = slice(start, start + ROWS)
        each = F.cross_entropy(logits[rows].float(), labels[rows], ignore_index=ignore_index, reduction="none")
        nats += each.double().sum()
    return nats, (labels != ignore_index).sum()


def token_nats(logits_BTV: Tensor, shift_labels_BT: Tensor) -> Tensor:
    r""":math:`-\ln p(\text{label})` of each position, (B, T) float32, differentiable; 0 without a label."""
    logits, labels = logits_BTV.flatten(0, -2), shift_labels_BT.flatten()
    nats = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="none")
    return nats.view_as(shift_labels_BT)


def labelled_mean(nats_BT: Tensor, shift_labels_BT: Tensor) -> Tensor:
    """Mean nats over the positions with a label, a scalar; 0 without labels."""
    return nats_BT.sum() / (shift_labels_BT != IGNORE).sum().clamp(min=1)


def next_token_mean(logits_BTV: Tensor, shift_labels_BT: Tensor) -> Tensor:
    """The training loss: mean nats per label, float32, differentiable; 0 without labels."""
    return labelled_mean(token_nats(logits_BTV, shift_labels_BT), shift_labels_BT)
