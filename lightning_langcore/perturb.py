"""Damage the weights of a region, and undo it to the bit."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lightning_langcore.params import flat, refuse_quantized
from lightning_langcore.region import Region
from lightning_langcore.weightset import WeightSet

Method = Literal["reinit", "zero", "scale", "set"]
METHODS: tuple[str, ...] = get_args(Method)


class Undo:
    """The values that a perturbation overwrote; memory: their own bytes, on their device."""

    def __init__(self) -> None:
        self._saved: list[tuple[nn.Parameter, WeightSet, Tensor]] = []

    def keep(self, parameter: nn.Parameter, part: WeightSet) -> Tensor:
        """Remember the present values of some weights (``part`` on the parameter's device), and hand them out."""
        values = part.gather(parameter)
        self._saved.append((parameter, part, values))
        return values

    @torch.no_grad()
    def restore(self) -> None:
        """Write the remembered values back, bit for bit (NaN, infinities and -0.0 included)."""
        for parameter, part, values in reversed(self._saved):
            part.scatter_(parameter, values)


@torch.no_grad()
def perturb_(module: nn.Module, region: Region, method: Method, strength: float = 1.0, seed: int = 0) -> Undo:
    r"""Overwrite the region's weights in place.

    * ``reinit``: :math:`w \leftarrow \mathrm{mean}(W) + \text{strength} \cdot \mathrm{std}(W) \cdot \epsilon`, with
      :math:`\epsilon \sim N(0, 1)`; mean and standard deviation are of the whole intact tensor, in float64.
    * ``zero``: :math:`w \leftarrow 0`.
    * ``scale``: :math:`w \leftarrow \text{strength} \cdot w`.
    * ``set``: :math:`w \leftarrow \text{strength}`.

    The noise of a tensor depends on the seed and its name alone: not on the device, the order or the other tensors.

    Args:
        module: the model, or anything that holds it.
        region: which weights.
        method: see above.
        strength: see above; not used by ``zero``.
        seed: of the noise.

    Returns:
        What is needed to undo it.

    Raises:
        ValueError: an unknown method, a strength that is not finite, a region of another model, quantized weights
            or ones that are not contiguous. Nothing has been overwritten then.
    """
    if method not in METHODS:
        raise ValueError(f"perturbation.method={method!r} is none of {', '.join(METHODS)}")
    if not torch.isfinite(torch.tensor(float(strength))):
        raise ValueError(f"perturbation.strength={strength} must be a finite number")
    parameters = region.match(module)
    for name in parameters:
        refuse_quantized(name, parameters[name], "a perturbation")
        flat(parameters[name])  # refuse what is not contiguous while nothing is damaged yet
    undo = Undo()
    for name, part in region.parts.items():
        parameter = parameters[name]
        here = part.to(parameter.device)
        values = undo.keep(parameter, here)
        if method == "reinit":
            here.scatter_(parameter, _reinitialised(name, parameter, len(part), strength, seed))
        elif method == "scale":
            here.scatter_(parameter, values * strength)
        else:
            here.fill_(parameter, 0.0 if method == "zero" else strength)
    return undo


@contextmanager
def perturbed(
    module: nn.Module, region: Region, method: Method, strength: float = 1.0, seed: int = 0
) -> Iterator[nn.Module]:
    """Damage the region inside a ``with`` block; afterwards every weight has its old bits, error or not.

    Example::

        with perturbed(model, core, "reinit", strength=5.0):
            worse = score(model)

    Raises:
        ValueError: see :func:`perturb_`.
    """
    undo = perturb_(module, region, method, strength, seed)
    try:
        yield module
    finally:
        undo.restore()


def _reinitialised(name: str, parameter: Tensor, count: int, strength: float, seed: int) -> Tensor:
    whole = parameter.detach()
    noise = _noise(name, count, seed).to(whole.device)
    spread, mean = torch.std_mean(whole.double(), correction=0)
    return (mean + strength * spread * noise).to(whole.dtype)


def _noise(name: str, count: int, seed: int) -> Tensor:
    # the CPU generator reads only the lower 32 bits of its seed: both must be in them
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    return torch.randn(count, generator=generator, dtype=torch.float32).double()
