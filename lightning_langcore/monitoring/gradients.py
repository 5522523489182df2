"""Statistics of a step's gradients."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_langcore.regions.weight_set import WeightSet

_CHUNK = 1 << 22  # weights per chunk


def gradient_norms(gradients: Sequence[Tensor]) -> list[Tensor]:
    """The norm of each gradient, float32 scalars on their devices: one pass, no copy, no synchronization."""
    return [norm.float() for norm in torch._foreach_norm(list(gradients), 2, dtype=torch.float32)]


def energy_within(parts: Iterable[tuple[Tensor, WeightSet]], device: torch.device) -> Tensor:
    """Sum of the squares of some elements of some gradients, float32 scalar.

    Args:
        parts: pairs of a gradient and the set of its elements.
        device: device of the result.
    """
    total = torch.zeros((), device=device)
    for gradient, part in parts:
        total += part.gather(gradient.contiguous()).float().square().sum()
    return total


def adam_ratio(optimizer: Optimizer) -> Tensor | None:
    r"""Mean over the weights of :math:`g^2 / \hat v`, before the update.

    :math:`\hat v = v / (1 - \beta_2^t)` is Adam's bias-corrected mean of squared gradients. Weights whose
    :math:`\sqrt{\hat v}` does not exceed the optimizer's eps are left out: they were never trained, or a guard freezes
    them. The ratio of a weight is 1 if its squared gradient equals that mean; rows of rare tokens make the mean over
    the weights much larger.

    Returns:
        float32 scalar; ``None`` if no parameter has an ``exp_avg_sq`` (before the first step; other optimizers).
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
