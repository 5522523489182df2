"""Damage the weights of a region, and undo it to the bit."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lightning_langcore.models import sharding
from lightning_langcore.models.parameters import flat, refuse_quantized
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.weight_set import WeightSet

Method = Literal["reinit", "zero", "scale", "set"]
METHODS: tuple[str, ...] = get_args(Method)


class Undo:
    """The values that a perturbation overwrote; memory: their own bytes, on their device."""

    def __init__(self) -> None:
        self._saved: list[tuple[nn.Parameter, WeightSet, Tensor]] = []

    def keep(self, parameter: nn.Parameter, part: WeightSet) -> Tensor:
        """Remember the present values of some weights (``part`` of this rank, on its device), and hand them out."""
        values = part.gather(sharding.local(parameter))
        self._saved.append((parameter, part, values))
        return values

    @torch.no_grad()
    def restore(self) -> None:
        """Write the remembered values back, bit for bit (NaN, infinities and -0.0 included)."""
        for parameter, part, values in reversed(self._saved):
            part.scatter_(sharding.local(parameter), values)


@torch.no_grad()
def perturb_(module: nn.Module, region: Region, method: Method, strength: float = 1.0, seed: int = 0) -> Undo:
    r"""Overwrite the region's weights in place.

    * ``reinit``: :math:`w \leftarrow \mathrm{mean}(W) + \text{strength} \cdot \mathrm{std}(W) \cdot \epsilon`, with
      :math:`\epsilon \sim N(0, 1)`; mean and standard deviation are of the whole intact tensor, in float64.
    * ``zero``: :math:`w \leftarrow 0`.
    * ``scale``: :math:`w \leftarrow \text{strength} \cdot w`.
    * ``set``: :math:`w \leftarrow \text{strength}`.

    The noise of a tensor depends on the seed and its name alone: not on the device, the order, the other tensors or the
    number of ranks. Under FSDP2 all ranks must do it together; ``reinit`` puts together one whole tensor at a time.

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
        flat(sharding.local(parameters[name]))  # refuse what is not contiguous while nothing is damaged yet
    undo = Undo()
    for name, part in region.parts.items():
        parameter = parameters[name]
        mine = sharding.local(parameter)
        here = part.within(*sharding.box(parameter)).to(mine.device)
        values = undo.keep(parameter, here)
        if method == "reinit":
            here.scatter_(mine, _reinitialised(name, parameter, part, here, strength, seed))
        elif method == "scale":
            here.scatter_(mine, values * strength)
        else:
            here.fill_(mine, 0.0 if method == "zero" else strength)
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


def _reinitialised(
    name: str, parameter: Tensor, part: WeightSet, here: WeightSet, strength: float, seed: int
) -> Tensor:
    whole = sharding.whole(parameter)
    noise = _noise(name, len(part), seed).to(whole.device)
    spread, mean = torch.std_mean(whole.double(), correction=0)
    values = (mean + strength * spread * noise).to(whole.dtype)
    if not sharding.is_sharded(parameter):
        return values
    part.to(whole.device).scatter_(whole, values)
    return here.gather(sharding.box(parameter).of(whole).contiguous())


def _noise(name: str, count: int, seed: int) -> Tensor:
    # the CPU generator reads only the lower 32 bits of its seed: both must be in them
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    return torch.randn(count, generator=generator, dtype=torch.float32).double()
