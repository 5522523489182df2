"""Evaluation of batches of text with a model, without all logits in memory if the head allows it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_langcore.metrics.chunked_cross_entropy import loss_head
from lightning_langcore.metrics.functional import IGNORE, next_token_nats
from lightning_langcore.metrics.perplexity import TextLoss

Batch = Mapping[str, Any]

BATCH_TOKENS = 4096
"""Maximum number of tokens of an evaluated batch, padding included; a batch has at least one window."""


class TextScorer:
    """Adds batches to a metric, without all their logits in memory if the head of the model allows it.

    Args:
        module: a model, or a module that contains one; in evaluation mode.
        forward: input ids (B, T) -> logits (B, T, V), as a tensor or as the attribute ``logits``.
        more_inputs: names of further entries that ``forward`` takes by keyword, from each batch that has them.
    """

    def __init__(self, module: nn.Module, forward: Callable[..., Any], more_inputs: Sequence[str] = ()) -> None:
        self._forward = forward
        self._more_inputs = tuple(more_inputs)
        self._head = loss_head(module, self._logits)

    def __call__(self, metric: TextLoss, batch: Batch) -> None:
        """Add a batch in the format that :class:`MultilingualPerplexity` documents.

        Raises:
            ValueError: the batch has no labels, or labels whose shape does not match.
        """
        labels = shift_labels(batch)
        more = {name: batch[name] for name in self._more_inputs if name in batch}
        if self._head is None:
            nats, num_tokens = next_token_nats(self._logits(batch["input_ids"], **more), labels)
        else:
            with self._head.installed(labels):
                self._logits(batch["input_ids"], **more)
            nats, num_tokens = self._head.nats.double().sum(), (labels != IGNORE).sum()
        metric.update(nats, num_tokens, batch.get("num_bytes", 0))

    def _logits(self, input_ids: Tensor, **more: Tensor) -> Tensor:
        output = self._forward(input_ids, **more)
        return output if isinstance(output, Tensor) else output.logits


def shift_labels(batch: Batch) -> Tensor:
    """The token after each position (B, T), -100 at positions that are not evaluated.

    Raises:
        ValueError: the batch has no labels.
    """
    if "shift_labels" in batch:
        return batch["shift_labels"]
    if "labels" in batch:
        return F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORE)
    raise ValueError(f"a batch to evaluate needs shift_labels or labels; it has {sorted(batch)}")


def rank_share(batches: Iterable[Batch], rank: int, world_size: int) -> Iterator[Batch]:
    """The batches of one rank; every rank gets equally many, filled up with batches without labels.

    Batches are read once, in order; rank r gets batches r, r + ``world_size``, and so on. Sums over all ranks are those
    of all batches, unlike with ``DistributedSampler``, which repeats samples to fill up.
    """
    i = -1
    for i, batch in enumerate(batches):
        if i % world_size == 0:
            first = batch
        if i % world_size == rank:
            local = batch
        if i % world_size == world_size - 1:
            yield local
    left = (i + 1) % world_size
    if left:
        yield local if rank < left else _without_labels(first)


def _without_labels(batch: Batch) -> Batch:
    ids = batch["input_ids"]
    return {"input_ids": ids, "shift_labels": torch.full_like(ids, IGNORE), "num_bytes": 0}
