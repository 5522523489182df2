"""Figures of a step's gradients."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_langcore.regions.weight_set import WeightSet

_CHUNK = 1 << 22  # weights at a time


def gradient_norms(gradients: Sequence[Tensor]) -> list[Tensor]:
    """The norm of each gradient, float32 scalars on their devices: one pass, no copy, no wait."""
    return [norm.float() for norm in torch._foreach_norm(list(gradients), 2, dtype=torch.float32)]


def energy_within(parts: Iterable[tuple[Tensor, WeightSet]], device: torch.device) -> Tensor:
    """Sum of the squares of some elements of some gradients, float32 scalar.

    Args:
        parts: a gradient and which of its elements.
        device: of the result.
    """
    total = torch.zeros((), device=device)
    for gradient, part in parts:
        total += part.gather(gradient.contiguous()).float().square().sum()
    return total


def adam_ratio(optimizer: Optimizer) -> Tensor | None:
    r"""Mean over the weights of :math:`g^2 / \hat v`, as they are before the step.

    :math:`\hat v = v / (1 - \beta_2^t)` is Adam's mean of squared gradients without the bias of its start. Weights
    whose :math:`\sqrt{\hat v}` is not above the optimizer's eps are left out: never trained, or frozen by a guard. One
    number is 1 where a squared gradient is what it used to be; rows of rare tokens make the mean much larger.

    Returns:
        float32 scalar; ``None`` where no parameter has an ``exp_avg_sq`` (before the first step; other optimizers).
    """
    total, count = [], []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if parameter.grad is None or "exp_avg_sq" not in state:
                continue
            correction = 1 - group["betas"][1] ** torch.as_tensor(state["step"], device=parameter.device)
            least = group["eps"] ** 2 * correction
            pieces = (t.reshape(-1).split(_CHUNK) for t in (parameter.grad, state["exp_avg_sq"]))
            for gradient, v in zip(*pieces, strict=True):
                counts = v > least
                total.append(torch.where(counts, gradient.float().square() / v, 0.0).sum() * correction)
                count.append(counts.sum())
    if not total:
        return None
    return torch.stack(total).sum() / torch.stack(count).sum().clamp(min=1)
