"""A region of one weight, named as ``NAME[INDEX]``."""

import re
from collections.abc import Sequence

import numpy as np
from torch import nn

from lightning_langcore.models import parameters
from lightning_langcore.regions.region import Region
from lightning_langcore.utils.errors import LangcoreError

_TARGET = re.compile(r"(?P<name>[^\[\]]+)\[(?P<position>-?\d+(\s*,\s*-?\d+)*)\]")


def dimension_region(module: nn.Module, target: str) -> Region:
    """A single weight, such as ``model.layers.1.input_layernorm.weight[2100]``, a dimension of a norm.

    Args:
        module: the model, or a module that contains it.
        target: a parameter name of ``save_pretrained``, and one index per axis, from 0: ``NAME[ROW,COLUMN]``.

    Raises:
        LangcoreError: a target of another form, an unknown parameter, a wrong number of indices, an index out of
            bounds.

    Example:
        >>> from lightning_langcore import dimension_region
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> len(dimension_region(model, "model.layers.1.input_layernorm.weight[7]"))
        1
    """
    parsed = _TARGET.fullmatch(target.strip())
    if parsed is None:
        raise LangcoreError(f"{target!r} is not of the form NAME[INDEX] or NAME[ROW,COLUMN]")
    name = parsed["name"]
    index = _flat_index(parameters.named_shapes(module), name, [int(n) for n in parsed["position"].split(",")])
    return Region.from_indices(module, {name: [index]}, {"kind": "dimension", "target": target})


def _flat_index(shapes: dict[str, tuple[int, ...]], name: str, position: Sequence[int]) -> int:
    if name not in shapes:
        raise LangcoreError(f"the model has no parameter {name}; its first is {next(iter(shapes), None)}")
    shape = shapes[name]
    if len(position) != len(shape):
        raise LangcoreError(f"{name} has shape {shape}: it takes {len(shape)} indices, not {len(position)}")
    if any(not 0 <= at < size for at, size in zip(position, shape, strict=True)):
        raise LangcoreError(f"{name}[{','.join(map(str, position))}] lies outside the shape {shape}")
    return int(np.ravel_multi_index(tuple(position), shape))
