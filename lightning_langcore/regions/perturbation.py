"""Perturb the weights of a region, and restore them exactly."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lightning_langcore.models import sharding
from lightning_langcore.models.parameter_part import Weight
from lightning_langcore.models.parameters import refuse_quantized
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.weight_set import WeightSet
from lightning_langcore.utils.errors import LangcoreError

Method = Literal["reinit", "zero", "scale", "set"]
METHODS: tuple[str, ...] = get_args(Method)


class Undo:
    """The values that a perturbation overwrote. Memory: a copy of these values, on their device."""

    def __init__(self) -> None:
        self._saved: list[tuple[Weight, WeightSet, Tensor]] = []

    def keep(self, parameter: Weight, part: WeightSet) -> Tensor:
        """Store the current values of some weights and return them; ``part`` is the local part, on its device."""
        values = part.gather(sharding.local(parameter))
        self._saved.append((parameter, part, values))
        return values

    @torch.no_grad()
    def restore(self) -> None:
        """Write the stored values back, bit for bit (NaN, infinities and -0.0 included)."""
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

    The noise of a tensor depends only on the seed and the name of the tensor: not on the device, the order, the other
    tensors or the number of ranks. Under FSDP2 all ranks must call this function together; ``reinit`` gathers one whole
    tensor at a time.

    Args:
        module: the model, or a module that contains it.
        region: the weights to overwrite.
        method: see above.
        strength: see above; not used by ``zero``.
        seed: seed of the noise.

    Returns:
        The overwritten values, to restore them.

    Raises:
        LangcoreError: an unknown method, a strength that is not finite, a region of another model, quantized weights
            or weights that are not contiguous. No weight has been overwritten then.

    Example:
        >>> from lightning_langcore import Region, perturb_
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> weight = Region.from_indices(model, {"model.layers.0.mlp.up_proj.weight": [3]})
        >>> undo = perturb_(model, weight, "set", strength=2.0)
        >>> model.model.layers[0].mlp.up_proj.weight[0, 3].item()
        2.0
        >>> undo.restore()
    """
    if method not in METHODS:
        raise LangcoreError(f"perturbation.method={method!r} is none of {', '.join(METHODS)}")
    if not torch.isfinite(torch.tensor(float(strength))):
        raise LangcoreError(f"perturbation.strength={strength} must be a finite number")
    parameters = region.match(module)
    for name in parameters:
        refuse_quantized(name, parameters[name], "a perturbation")
        sharding.flat(
            sharding.local(parameters[name])
        )  # refuse weights that are not contiguous before any is overwritten
    undo = Undo()
    for name, part in region.parts.items():
        parameter = parameters[name]
        local = sharding.local(parameter)
        local_part = part.within(*sharding.box(parameter)).to(local.device)
        values = undo.keep(parameter, local_part)
        if method == "reinit":
            local_part.scatter_(local, _reinitialized(name, parameter, part, local_part, strength, seed))
        elif method == "scale":
            local_part.scatter_(local, values * strength)
        else:
            local_part.fill_(local, 0.0 if method == "zero" else strength)
    return undo


@contextmanager
def perturbed(
    module: nn.Module, region: Region, method: Method, strength: float = 1.0, seed: int = 0
) -> Iterator[nn.Module]:
    """Perturb the region inside a ``with`` block; afterwards, also after an error, every weight has its old bits.

    Args:
        module: the model; its weights are changed in place.
        region: the weights to perturb.
        method: see :func:`perturb_`.
        strength: see :func:`perturb_`.
        seed: seed of the noise of ``reinit``.

    Returns:
        A context manager that gives ``module``.

    Raises:
        LangcoreError: see :func:`perturb_`.

    Example:
        >>> import torch
        >>> from lightning_langcore import candidates, named_shapes, perturbed, random_region
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> core = random_region(candidates(named_shapes(model)), fraction=0.05, seed=0)
        >>> ids = torch.arange(8)[None]
        >>> with perturbed(model, core, "reinit", strength=5.0):
        ...     worse = model(ids, labels=ids).loss
        >>> bool(worse != model(ids, labels=ids).loss)
        True
    """
    undo = perturb_(module, region, method, strength, seed)
    try:
        yield module
    finally:
        undo.restore()


def _reinitialized(
    name: str, parameter: Weight, part: WeightSet, local_part: WeightSet, strength: float, seed: int
) -> Tensor:
    whole = sharding.whole(parameter)
    noise = _noise(name, len(part), seed).to(whole.device)
    spread, mean = torch.std_mean(whole.double(), correction=0)
    values = (mean + strength * spread * noise).to(whole.dtype)
    if not sharding.is_sharded(parameter):
        return values
    part.to(whole.device).scatter_(whole, values)
    return local_part.gather(sharding.box(parameter).of(whole).contiguous())


def _noise(name: str, count: int, seed: int) -> Tensor:
    # the CPU generator uses only the lower 32 bits of its seed, so these must depend on both seed and name
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    return torch.randn(count, generator=generator, dtype=torch.float32).double()
