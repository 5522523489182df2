r"""The loss of a language model without its logits, which at 128 000 tokens of vocabulary outweigh the model.

Shapes: B sequences, T positions, N = B x T, S of them scored, H hidden size, V vocabulary. Per chunk of positions

.. math::
    p = \mathrm{softmax}(h W^T + b), \quad \ell = -\ln p_y, \quad g = p - 1_y, \quad
    \partial_h = g W, \quad \partial_W = g^T h, \quad \partial_b = g^T 1

so that loss and gradients come out of one pass, as in Liger Kernel. Held between forward and backward: the gradients of
h and W. ``torch.nn.functional.linear_cross_entropy`` does the same from torch 2.13 on; but it rounds the loss of
bfloat16 to bfloat16 (0.4 %), has the nats of each token only by computing all logits twice, and as it comes takes a CPU
several times as long as the plain way (``benchmarks/loss.py``).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lightning_langcore.metrics.functional import IGNORE
from lightning_langcore.metrics.functional import ROWS as _ROWS


class _ChunkedNats(torch.autograd.Function):
    """``(h (N, H), W (V, H), b (V) or None, labels (N)) -> (sum of nats, nats (N))``; the second has no gradient."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor]:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        wide = torch.promote_types(dtype, torch.float32)
        wanted = ctx.needs_input_grad
        cast, shift = weight.to(dtype), None if bias is None else bias.to(dtype)
        d_hidden = torch.zeros_like(hidden) if wanted[0] else None
        d_weight = torch.zeros_like(weight, dtype=wide) if wanted[1] else None
        d_bias = torch.zeros_like(bias, dtype=wide) if bias is not None and wanted[2] else None
        nats = torch.zeros(len(labels), dtype=wide, device=hidden.device)
        with torch.autocast(kind, enabled=False):
            for rows in (labels != IGNORE).nonzero().squeeze(1).split(_ROWS):
                part = hidden[rows].to(dtype)
                slope = F.linear(part, cast, shift).to(wide)
                nats[rows], total = _nats_(slope, labels[rows])
                if any(wanted):
                    _slope_(slope, total, labels[rows])
                    slope = slope.to(dtype)
                if d_hidden is not None:
                    d_hidden[rows] = (slope @ cast).to(hidden.dtype)
                if d_weight is not None:
                    _add_product(d_weight, slope.T, part)
                if d_bias is not None:
                    d_bias += slope.sum(0, dtype=wide)
                del slope  # before the next logits are made
        ctx.gradients = d_hidden, d_weight, d_bias
        ctx.dtypes = hidden.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(nats)
        return nats.sum(), nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # scaled in place, so good for one backward
        if gradients is None:
            raise RuntimeError("task.chunked_loss=true: one loss can't go backward twice: choose chunked_loss=false")
        scaled = [
            None if gradient is None else gradient.mul_(d_total).to(dtype)
            for gradient, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return *scaled, None


def _nats_(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (S, V), which become their exponentials over the largest, and labels (S) -> nats (S), sums (S, 1)."""
    logits -= logits.amax(1, keepdim=True)
    of_label = logits.gather(1, labels.unsqueeze(1))
    total = logits.exp_().sum(1, keepdim=True)
    return (total.log() - of_label).squeeze(1), total


def _slope_(exponentials: Tensor, total: Tensor, labels: Tensor) -> None:
    """What :func:`_nats_` has left, and the sums, become the slope of the nats by the logits."""
    exponentials /= total
    exponentials.scatter_add_(1, labels.unsqueeze(1), torch.full_like(total, -1))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == right.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


class LossHead:
    """Lends a model's head another forward: hidden states (B, T, H) -> sum of nats instead of logits.

    Logits are made of 512 positions at a time, and only of those with a label.

    So the loss is computed inside the model's own forward, where FSDP2 has the whole weight at hand and autocast holds,
    and what the model returns as logits is the sum. ``torch.compile`` leaves it as it is.

    Args:
        head: the model's last layer.

    Example::

        head = LossHead(model.lm_head)
        with head.lent(shift_labels):
            total = model(input_ids=input_ids, use_cache=False).logits
        head.nats  # (B, T)
    """

    def __init__(self, head: nn.Linear) -> None:
        self.head = head
        self.nats: Tensor
        self._labels: Tensor

    @contextmanager
    def lent(self, labels_BT: Tensor) -> Iterator[None]:
        """Within it the head scores these labels."""
        self._labels = labels_BT
        vars(self).pop("nats", None)  # those of another batch are never taken for this one's
        with _lent(self.head, self):
            yield

    @torch.compiler.disable
    def __call__(self, hidden_BTH: Tensor) -> Tensor:
        """Sum of nats over the scored positions, differentiable, equal to that of the plain way.

        Raises:
            ValueError: hidden states and labels don't fit.
        """
        labels = self._labels
        if hidden_BTH.shape[:-1] != labels.shape:
            raise ValueError(f"hidden states {tuple(hidden_BTH.shape)} do not fit labels {tuple(labels.shape)}")
        inputs: tuple[Tensor | None, ...] = (hidden_BTH.flatten(0, -2), self.head.weight, self.head.bias)
        if not torch.is_grad_enabled():  # of which a Function isn't told
            inputs = tuple(None if each is None else each.detach() for each in inputs)
        total, nats = _ChunkedNats.apply(*inputs, labels.flatten())
        self.nats = nats.view_as(labels).float()
        return total


def loss_head(module: nn.Module, logits_of: Callable[[Tensor], Tensor]) -> LossHead | None:
    """A model's head, if what it makes is what comes out, not scaled, capped or cut; costs a forward of one token.

    Args:
        module: a model of transformers, or what holds one.
        logits_of: input ids (B, T) -> logits (B, T, V), through that model.

    Returns:
        ``None`` where the head is no plain linear layer, or the logits are not just what it makes.
    """
    models: Iterator[Any] = (part for part in module.modules() if hasattr(part, "get_output_embeddings"))
    head = next((model.get_output_embeddings() for model in models), None)
    if not isinstance(head, nn.Linear) or not _is_plain(head):
        return None
    mark = torch.full((1, 1, head.out_features), 0.5, device=head.weight.device)
    ids = torch.zeros(1, 1, dtype=torch.int64, device=mark.device)
    with _lent(head, lambda _: mark), torch.no_grad():
        unchanged = logits_of(ids) is mark
    return LossHead(head) if unchanged and bool((mark == 0.5).all()) else None


def _is_plain(head: nn.Linear) -> bool:
    """Not another library's, with adapters or whole numbers."""
    own = "forward" in vars(head) or type(head).forward is not nn.Linear.forward
    return not own and head.weight.is_floating_point()


@contextmanager
def _lent(head: nn.Linear, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    own = vars(head).get("forward")
    head.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del head.forward
        if own is not None:
            head.forward = own  # type: ignore[method-assign]
