"""Candidate parameters of a model, and their canonical names, which wrappers of the model don't change."""

import fnmatch
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from lightning_langcore.models import conversion
from lightning_langcore.models.parameter_part import Weight, parameter_of
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.utils.errors import LangcoreError

WRAPPERS = frozenset({"_orig_mod", "module", "_checkpoint_wrapped_module"})
"""Name components that torch.compile, DDP and activation checkpointing add; they are dropped before matching."""

_IN_A_LAYER = re.compile(r"(^|\.)(layers|h|blocks)\.\d+\.")
_TOWER = re.compile(r"vision|visual|image|audio|speech")  # as in vision_tower, visual, image_embed


def canonical_name(name: str) -> str:
    """Drop the components that wrappers add: ``_orig_mod.model.layers.0...`` -> ``model.layers.0...``."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def is_candidate(name: str, shape: Sequence[int], patterns: Iterable[str] | None = None) -> bool:
    """Whether a parameter's weights may become part of a region.

    Args:
        name: canonical name.
        shape: shape of the unsharded parameter.
        patterns: shell patterns, one of which must match the name, such as ``*.self_attn.*.weight``. ``None``: the
            matrices of the language model's layers and stacks of matrices (experts x rows x columns), without norms,
            embeddings and head, and without the layers of a vision or audio tower.
    """
    if patterns is None:
        is_matrix = len(shape) == 2 or (len(shape) == 3 and min(shape[1:]) > 1)  # (channels, 1, width): a convolution
        return is_matrix and in_a_layer(name) and not in_a_tower(name)
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def in_a_layer(name: str) -> bool:
    """Whether a parameter belongs to one of the numbered layers; for a module append a dot to its name."""
    return _IN_A_LAYER.search(name) is not None


def saved_parameters(module: nn.Module) -> dict[str, Weight]:
    """The parameters by their names in ``save_pretrained``; a tied parameter appears once.

    A parameter that ``save_pretrained`` writes as several tensors, as the experts of a mixture, appears as its parts.
    If ``module`` contains a transformers model, as a LightningModule does, the names are relative to that model.

    Raises:
        LangcoreError: a parameter that can't be addressed by the names of ``save_pretrained``.
    """
    _reshard(module)
    models = _pretrained(module)
    return _saved(next(iter(models.values()), module))


def in_a_tower(name: str) -> bool:
    """Whether a parameter belongs to the layers of a vision or audio tower beside the language model."""
    layer = _IN_A_LAYER.search(name)
    return _TOWER.search(name, 0, len(name) if layer is None else layer.start()) is not None


def stored_weights(module: nn.Module, stored: Weights) -> Weights:
    """The weights of a model on disk, by their names in ``save_pretrained``; other tensors are left out.

    Files may have other names, such as those of GPT-2 without ``transformer.``; see :mod:`.conversion`.

    Args:
        module: the model, or a module that contains it. It needs no weights.
        stored: files with the weights of this architecture.
    """
    model = next(iter(_pretrained(module).values()), module)
    model = getattr(model, "_orig_mod", model)
    if conversion.is_pretrained(model):
        return stored.renamed(conversion.names_in_files(model, stored))
    own = saved_parameters(module)
    return stored.renamed({name: name for name in stored if name in own})


def _pretrained(module: nn.Module) -> dict[str, nn.Module]:
    """The outermost transformers models in a module, by name."""
    found: dict[str, nn.Module] = {}
    for name, inner in module.named_modules():
        if hasattr(inner, "save_pretrained") and not any(not outer or name.startswith(f"{outer}.") for outer in found):
            found[name] = inner
    return found


def _saved(model: nn.Module) -> dict[str, Weight]:
    own: dict[str, nn.Parameter] = {canonical_name(name): p for name, p in model.named_parameters()}
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper has the attributes of its model
    if conversion.is_converted(model):
        return conversion.saved_weights(model, own)
    return dict(own)


def _saved_anywhere(module: nn.Module) -> list[tuple[str, Weight]]:
    """All parameters, those of transformers models by their names in ``save_pretrained`` after the model's own name."""
    found: list[tuple[str, Weight]] = []
    for prefix, model in _pretrained(module).items():
        start = f"{canonical_name(prefix)}." if canonical_name(prefix) else ""
        found += [(f"{start}{name}", weight) for name, weight in _saved(model).items()]
    known = {id(parameter_of(weight)) for _, weight in found}
    return found + [(canonical_name(name), p) for name, p in module.named_parameters() if id(p) not in known]


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


def match(module: nn.Module, shapes: Mapping[str, Sequence[int]]) -> dict[str, Weight]:
    """Find the weights for each name: the parameter, or part of one, whose name is NAME or ends in ``.NAME``.

    A region of a ``LlamaForCausalLM`` therefore finds its weights if that model is an attribute of a LightningModule,
    is compiled, or is wrapped by DDP.

    Args:
        module: the model, or a module that contains it.
        shapes: name -> unsharded shape of the parameters to find.

    Raises:
        LangcoreError: a name matches no parameter or several, or a shape differs; the message has the first such name.
    """
    _reshard(module)
    parameters = _saved_anywhere(module)
    by_suffix: dict[str, list[Weight]] = {}
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


def group_names(name: str) -> tuple[str, ...]:
    """The log groups of a parameter: its kind and, inside a layer, the layer.

    ``model.layers.3.mlp.up_proj.weight`` belongs to ``up_proj`` and ``layer_3``.
    """
    kind = name.removesuffix(".weight").split(".")[-1]
    layer = re.search(r"(?:layers|h|blocks)\.(\d+)\.", name)
    return (kind,) if layer is None else (kind, f"layer_{layer.group(1)}")


def refuse_quantized(name: str, weight: Weight, what: str) -> None:
    """Refuse quantized weights, which share a byte or a scale with others and can't be changed one by one.

    Args:
        name: name of the parameter.
        weight: the parameter, or a part of one.
        what: name of the caller, for the error message.

    Raises:
        LangcoreError: the parameter is quantized (bitsandbytes 4-bit or 8-bit) or not of a floating type.
    """
    parameter = parameter_of(weight)
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
