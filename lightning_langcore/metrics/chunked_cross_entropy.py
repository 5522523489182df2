r"""Cross-entropy of a language model without all logits in memory, which at a vocabulary of 128 000 exceed the model.

Shapes: B sequences, T positions, N = B x T, S positions with a label, H hidden size, V vocabulary. Per chunk of S
positions

.. math::
    p = \mathrm{softmax}(h W^T + b), \quad \ell = -\ln p_y, \quad g = p - 1_y, \quad
    \partial_h = g W, \quad \partial_W = g^T h, \quad \partial_b = g^T 1

so that one pass computes loss and gradients, as in Liger Kernel. Memory between forward and backward: the gradients of
h and W. ``torch.nn.functional.linear_cross_entropy`` does the same from torch 2.13 on, but it rounds the loss of
bfloat16 to bfloat16 (0.4 %), returns the nats of each token only if all logits are computed twice, and with its default
settings takes several times as long on a CPU as the plain computation (``benchmarks/loss.py``).
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
        needed = ctx.needs_input_grad
        cast, shift = weight.to(dtype), None if bias is None else bias.to(dtype)
        d_hidden = torch.zeros_like(hidden) if needed[0] else None
        d_weight = torch.zeros_like(weight, dtype=wide) if needed[1] else None
        d_bias = torch.zeros_like(bias, dtype=wide) if bias is not None and needed[2] else None
        nats = torch.zeros(len(labels), dtype=wide, device=hidden.device)
        with torch.autocast(kind, enabled=False):
            for rows in (labels != IGNORE).nonzero().squeeze(1).split(_ROWS):
                part = hidden[rows].to(dtype)
                d_logits = F.linear(part, cast, shift).to(wide)  # the logits, overwritten by their gradient
                nats[rows], total = _nats_(d_logits, labels[rows])
                if any(needed):
                    _d_logits_(d_logits, total, labels[rows])
                    d_logits = d_logits.to(dtype)
                if d_hidden is not None:
                    d_hidden[rows] = (d_logits @ cast).to(hidden.dtype)
                if d_weight is not None:
                    _add_product(d_weight, d_logits.T, part)
                if d_bias is not None:
                    d_bias += d_logits.sum(0, dtype=wide)
                del d_logits  # free the memory before the next chunk
        ctx.gradients = d_hidden, d_weight, d_bias
        ctx.dtypes = hidden.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(nats)
        return nats.sum(), nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # scaled in place, so they are valid for one backward only
        if gradients is None:
            raise RuntimeError("task.chunked_loss=true: backward can't run twice on one loss: set chunked_loss=false")
        scaled = [
            None if gradient is None else gradient.mul_(d_total).to(dtype)
            for gradient, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return *scaled, None


def _nats_(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Nats of the labels; in place, the logits become their exponentials relative to the largest logit.

    Args:
        logits: (S, V).
        labels: (S) int64.

    Returns:
        Nats (S), and sums of the exponentials (S, 1).
    """
    logits -= logits.amax(1, keepdim=True)
    of_label = logits.gather(1, labels.unsqueeze(1))
    total = logits.exp_().sum(1, keepdim=True)
    return (total.log() - of_label).squeeze(1), total


def _d_logits_(exponentials: Tensor, total: Tensor, labels: Tensor) -> None:
    """Gradient of the nats with respect to the logits, in place of the exponentials that :func:`_nats_` has written."""
    exponentials /= total
    exponentials.scatter_add_(1, labels.unsqueeze(1), torch.full_like(total, -1))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == right.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


class LossHead:
    """Replaces the forward of a model's head temporarily: hidden states (B, T, H) -> sum of nats instead of logits.

    Logits are computed for 512 positions at a time, and only for positions with a label.

    The loss is computed inside the forward of the model, where FSDP2 has gathered the whole weight and autocast is
    active; the model returns the sum of nats as its logits. ``torch.compile`` does not compile it.

    Args:
        head: last layer of the model.

    Example::

        head = LossHead(model.lm_head)
        with head.installed(shift_labels):
            total = model(input_ids=input_ids, use_cache=False).logits
        head.nats  # (B, T)
    """

    def __init__(self, head: nn.Linear) -> None:
        self.head = head
        self.nats: Tensor
        self._labels: Tensor

    @contextmanager
    def installed(self, labels_BT: Tensor) -> Iterator[None]:
        """Inside the block the head returns the sum of nats of these labels."""
        self._labels = labels_BT
        vars(self).pop("nats", None)  # so that the nats of an earlier batch can't be used by mistake
        with _replaced_forward(self.head, self):
            yield

    @torch.compiler.disable
    def __call__(self, hidden_BTH: Tensor) -> Tensor:
        """Sum of nats over the positions with a label, differentiable, equal to that of the plain computation.

        Raises:
            ValueError: the shapes of hidden states and labels don't match.
        """
        labels = self._labels
        if hidden_BTH.shape[:-1] != labels.shape:
            raise ValueError(f"hidden states {tuple(hidden_BTH.shape)} do not fit labels {tuple(labels.shape)}")
        inputs: tuple[Tensor | None, ...] = (hidden_BTH.flatten(0, -2), self.head.weight, self.head.bias)
        if not torch.is_grad_enabled():  # an autograd Function can't see this itself
            inputs = tuple(None if each is None else each.detach() for each in inputs)
        total, nats = _ChunkedNats.apply(*inputs, labels.flatten())
        self.nats = nats.view_as(labels).float()
        return total


def loss_head(module: nn.Module, logits_of: Callable[[Tensor], Tensor]) -> LossHead | None:
    """The head of a model, if the model returns its output unchanged: not scaled, capped or cut.

    Costs a forward of one token.

    Args:
        module: a model of transformers, or a module that contains one.
        logits_of: input ids (B, T) -> logits (B, T, V), through that model.

    Returns:
        ``None`` if the head is not a plain linear layer, or if the model changes its output.
    """
    models: Iterator[Any] = (part for part in module.modules() if hasattr(part, "get_output_embeddings"))
    head = next((model.get_output_embeddings() for model in models), None)
    if not isinstance(head, nn.Linear) or not _is_plain(head):
        return None
    sentinel = torch.full((1, 1, head.out_features), 0.5, device=head.weight.device)
    ids = torch.zeros(1, 1, dtype=torch.int64, device=sentinel.device)
    with _replaced_forward(head, lambda _: sentinel), torch.no_grad():
        unchanged = logits_of(ids) is sentinel
    return LossHead(head) if unchanged and bool((sentinel == 0.5).all()) else None


def _is_plain(head: nn.Linear) -> bool:
    """Whether the layer is a plain ``nn.Linear``, without adapters of other libraries or integer weights."""
    own = "forward" in vars(head) or type(head).forward is not nn.Linear.forward
    return not own and head.weight.is_floating_point()


@contextmanager
def _replaced_forward(head: nn.Linear, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    own = vars(head).get("forward")
    head.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del head.forward
        if own is not None:
            head.forward = own  # type: ignore[method-assign]
