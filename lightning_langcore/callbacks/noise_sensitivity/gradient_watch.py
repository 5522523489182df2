"""Statistics of a step's gradients, and operations on the gradients."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_langcore.models import sharding
from lightning_langcore.models.parameter_part import Weight, parameter_of
from lightning_langcore.models.parameters import canonical_name
from lightning_langcore.monitoring.detector import Gradients
from lightning_langcore.monitoring.gradients import adam_ratio, energy_within, gradient_norms
from lightning_langcore.regions.region import Region


class GradientWatch:
    """Measure gradients on the device without synchronization, and convert the results on the host.

    Args:
        module: the module with the parameters.
        region: the region for ``core_share``, its share of the squared gradients; ``None``: no share.
        adam_every_n_steps: optimizer steps between two measurements of Adam's second moments; 0: never.

    Attributes:
        names: names of the parameters, in the order of the norms.

    Raises:
        LangcoreError: a region of another model.
    """

    def __init__(self, module: nn.Module, region: Region | None, adam_every_n_steps: int) -> None:
        parameters = {canonical_name(name): p for name, p in module.named_parameters()}
        self.names = list(parameters)
        self._parameters = list(parameters.values())
        self._adam_every_n_steps = adam_every_n_steps
        self._region = region
        if region is not None:
            found = region.match(module)
            covered: dict[int, int] = {}
            for weight in found.values():
                owner = id(parameter_of(weight))
                covered[owner] = covered.get(owner, 0) + weight.numel()
            whole = {id(p) for p in self._parameters if covered.get(id(p)) == p.numel()}
            self._candidates = [i for i, p in enumerate(self._parameters) if id(p) in whole]
            self._further = [weight for weight in found.values() if id(parameter_of(weight)) not in whole]
            self._parts = [(found[n], part.for_fast_access().to(found[n].device)) for n, part in region.parts.items()]

    def measure(self, optimizer: Optimizer, step: int) -> dict[Any, Tensor]:
        """Scalars on the device, as :meth:`read` expects them on the host."""
        present = [(i, p.grad) for i, p in enumerate(self._parameters) if p.grad is not None]
        figures: dict[Any, Tensor] = {}
        if present:
            norms = gradient_norms([gradient for _, gradient in present])
            figures = {("norm", i): norm for (i, _), norm in zip(present, norms, strict=True)}
        if self._region is not None and present:
            parts = [(_gradient(weight), part) for weight, part in self._parts if weight.grad is not None]
            figures["core"] = energy_within(parts, present[0][1].device)
            if self._further:
                gradients = [_gradient(weight) for weight in self._further if weight.grad is not None]
                norms = gradient_norms(gradients)
                figures["further"] = sum(
                    (norm.square() for norm in norms), torch.zeros((), device=present[0][1].device)
                )
        if self._adam_every_n_steps and step % self._adam_every_n_steps == 0:
            ratio = adam_ratio(optimizer)
            if ratio is not None:
                figures["adam"] = ratio
            elif optimizer.state:
                rank_zero_warn(
                    f"NoiseSensitivity: adam_every_n_steps={self._adam_every_n_steps} has no effect, because"
                    f" {type(optimizer).__name__} keeps no exp_avg_sq; set it to 0"
                )
                self._adam_every_n_steps = 0
        return figures

    def read(self, values: Mapping[Any, float], scale: float) -> Gradients:
        """Statistics from the values of :meth:`measure`, for gradients multiplied by ``scale``."""
        norms = [values.get(("norm", i), 0.0) / scale for i in range(len(self.names))]
        core, adam = values.get("core"), values.get("adam")
        share = None
        if core is not None and self._region is not None:
            energy = sum(norms[i] ** 2 for i in self._candidates) + values.get("further", 0.0) / scale**2
            share = core / scale**2 / energy / self._region.fraction if energy and self._region.fraction else 0.0
        return Gradients(norms, share, None if adam is None else adam / scale**2)


def _gradient(weight: Weight) -> Tensor:
    """The gradient of a parameter, or of the part of one that is a candidate by itself."""
    gradient = parameter_of(weight).grad
    assert gradient is not None
    return sharding.same_part(weight, gradient)


def to_floats(figures: Mapping[Any, Tensor]) -> dict[Any, float]:
    """Copy scalars to the host together: one synchronization with the device."""
    if not figures:
        return {}
    device = next(iter(figures.values())).device
    return dict(zip(figures, torch.stack([f.float().to(device) for f in figures.values()]).tolist(), strict=True))


def drop_gradients(optimizer: Optimizer) -> None:
    """Set all gradients to ``None``, so that the optimizer's step updates nothing."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def scale_gradients(optimizer: Optimizer, factor: float) -> None:
    """Multiply all gradients by a factor."""
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    torch._foreach_mul_(gradients, factor)
