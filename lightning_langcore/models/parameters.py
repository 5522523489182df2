"""Candidate parameters of a model, and their canonical names, which wrappers of the model don't change."""

import fnmatch
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lightning_langcore.utils.errors import LangcoreError

WRAPPERS = frozenset({"_orig_mod", "module", "_checkpoint_wrapped_module"})
"""Name components that torch.compile, DDP and activation checkpointing add; they are dropped before matching."""

_IN_A_LAYER = re.compile(r"(^|\.)(layers|h|blocks)\.\d+\.")


def canonical_name(name: str) -> str:
    """Drop the components that wrappers add: ``_orig_mod.model.layers.0...`` -> ``model.layers.0...``."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def is_candidate(name: str, shape: Sequence[int], patterns: Iterable[str] | None = None) -> bool:
    """Whether a parameter's weights may become part of a region.

    Args:
        name: canonical name.
        shape: shape of the unsharded parameter.
        patterns: shell patterns, one of which must match the name, such as ``*.self_attn.*.weight``. ``None``: the
            matrices of the layers, without norms, embeddings and head.
    """
    if patterns is None:
        return len(shape) == 2 and in_a_layer(name)
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def in_a_layer(name: str) -> bool:
    """Whether a parameter belongs to one of the numbered layers; for a module append a dot to its name."""
    return _IN_A_LAYER.search(name) is not None


def saved_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters by their names in ``save_pretrained``; a tied parameter appears once.

    If ``module`` contains a transformers model, as a LightningModule does, the names are relative to that model.
    """
    _reshard(module)
    for inner in module.modules():
        if hasattr(inner, "save_pretrained"):
            module = inner
            break
    return {canonical_name(name): p for name, p in module.named_parameters()}


def named_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name in ``save_pretrained`` -> unsharded shape of each parameter.

    Args:
        module: a model, also wrapped, compiled or sharded.

    Returns:
        Name -> unsharded shape, in the module's order; tied parameters once.

    Example:
        >>> from torch import nn
        >>> from lightning_langcore import named_shapes
        >>> named_shapes(nn.Linear(3, 2))
        {'weight': (2, 3), 'bias': (2,)}
    """
    return {name: tuple(p.shape) for name, p in saved_parameters(module).items()}


def candidates(
    shapes: Mapping[str, Sequence[int]], patterns: Iterable[str] | None = None
) -> dict[str, tuple[int, ...]]:
    """The candidates among named shapes: the parameters that regions may hold, by default the matrices of the layers.

    Args:
        shapes: name -> shape of each parameter, as of :func:`named_shapes`.
        patterns: names or shell patterns of the candidates; ``None``: the matrices of the layers.

    Returns:
        Name -> shape, in the order of ``shapes``.

    Raises:
        LangcoreError: no name matches.

    Example:
        >>> from lightning_langcore import candidates
        >>> candidates({"embed.weight": (9, 4), "layers.0.up.weight": (8, 4), "layers.0.norm.weight": (4,)})
        {'layers.0.up.weight': (8, 4)}
    """
    patterns = None if patterns is None else list(patterns)
    found = {name: tuple(shape) for name, shape in shapes.items() if is_candidate(name, shape, patterns)}
    if not found:
        criterion = "matrices inside layers" if patterns is None else f"region.parameters={patterns}"
        raise LangcoreError(f"no parameter of the model matches {criterion}; the first names are {list(shapes)[:3]}")
    return found


def match(module: nn.Module, shapes: Mapping[str, Sequence[int]]) -> dict[str, nn.Parameter]:
    """Find the parameter for each name: the parameter whose canonical name is NAME or ends in ``.NAME``.

    A region of a ``LlamaForCausalLM`` therefore finds its weights if that model is an attribute of a LightningModule,
    is compiled, or is wrapped by DDP.

    Args:
        module: the model, or a module that contains it.
        shapes: name -> unsharded shape of the parameters to find.

    Raises:
        LangcoreError: a name matches no parameter or several, or a shape differs; the message has the first such name.
    """
    _reshard(module)
    parameters = [(canonical_name(name), p) for name, p in module.named_parameters()]
    by_suffix: dict[str, list[nn.Parameter]] = {}
    for name, parameter in parameters:
        parts = name.split(".")
        for start in range(len(parts)):
            by_suffix.setdefault(".".join(parts[start:]), []).append(parameter)
    found = {}
    for name, shape in shapes.items():
        hits = by_suffix.get(name, [])
        if len(hits) != 1:
            known = ", ".join(n for n, _ in parameters[:2])
            raise LangcoreError(
                f"the region's parameter {name} matches {len(hits)} parameters of the model instead of one"
                f" (the model begins with {known}): the region belongs to another model"
            )
        if tuple(hits[0].shape) != tuple(shape):
            raise LangcoreError(
                f"the region's parameter {name} has shape {tuple(shape)}, the model's {tuple(hits[0].shape)}:"
                " the region belongs to another model"
            )
        found[name] = hits[0]
    return found


def _reshard(module: nn.Module) -> None:
    """Drop the unsharded copies that a forward pass under FSDP2 leaves in place of the trained parameters."""
    fsdp = sys.modules.get("torch.distributed.fsdp")  # not imported: no FSDP2; importing it would take a second
    if fsdp is None:
        return
    for inner in module.modules():
        if isinstance(inner, fsdp.FSDPModule):
            inner.reshard()


def flat(tensor: Tensor) -> Tensor:
    """A one-dimensional view that shares memory with ``tensor``; the indices of a region refer to its order.

    Raises:
        LangcoreError: the tensor is not contiguous, so that no such view exists.
    """
    if not tensor.is_contiguous():
        raise LangcoreError(
            f"a parameter of shape {tuple(tensor.shape)} is not contiguous: make it contiguous before training"
        )
    return tensor.detach().view(-1)


def group_names(name: str) -> tuple[str, ...]:
    """The log groups of a parameter: its kind and, inside a layer, the layer.

    ``model.layers.3.mlp.up_proj.weight`` belongs to ``up_proj`` and ``layer_3``.
    """
    kind = name.removesuffix(".weight").split(".")[-1]
    layer = re.search(r"(?:layers|h|blocks)\.(\d+)\.", name)
    return (kind,) if layer is None else (kind, f"layer_{layer.group(1)}")


def refuse_quantized(name: str, parameter: Tensor, what: str) -> None:
    """Refuse quantized weights, which share a byte or a scale with others and can't be changed one by one.

    Args:
        name: name of the parameter.
        parameter: the parameter.
        what: name of the caller, for the error message.

    Raises:
        LangcoreError: the parameter is quantized (bitsandbytes 4-bit or 8-bit) or not of a floating type.
    """
    if type(parameter).__name__ in {"Params4bit", "Int8Params"} or not torch.is_floating_point(parameter):
        raise LangcoreError(
            f"{what} needs floating-point weights, but {name} is {type(parameter).__name__} of {parameter.dtype}:"
            " load the model in float32 or bfloat16"
        )


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode (no dropout) inside the block, and restore the mode of each submodule afterwards."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, training in modes:
            m.training = training
