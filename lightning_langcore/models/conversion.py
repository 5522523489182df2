"""Names in memory and in files: transformers renames, splits and joins parameters when it saves and loads a model.

in memory                                            in files, as ``save_pretrained`` writes them
model.layers.0.mlp.experts.down_proj (4 x 32 x 64)   model.layers.0.block_sparse_moe.experts.0.w2.weight (32 x 64) ... 3
model.language_model.layers.0.mlp.up_proj.weight     language_model.model.layers.0.mlp.up_proj.weight

Both ways are read from transformers' own conversion of the model, which is run without weights.
"""

import math
import sys
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_langcore.models.parameter_part import ParameterPart, Weight
from lightning_langcore.utils.errors import LangcoreError


def is_pretrained(model: nn.Module) -> bool:
    """Whether this is a transformers model."""
    transformers = sys.modules.get("transformers.modeling_utils")  # not imported: no such model
    return transformers is not None and isinstance(model, transformers.PreTrainedModel)


def is_converted(model: nn.Module) -> bool:
    """Whether this is a transformers model whose parameters have other names or shapes in files."""
    return is_pretrained(model) and bool(_conversions(model))


def saved_weights(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> dict[str, Weight]:
    """The parameters, or their parts, by their names in files.

    Args:
        model: a transformers model, also on the meta device or sharded.
        parameters: its parameters by name in memory.

    Returns:
        Name in files -> weight, in the order of the parameters.

    Raises:
        LangcoreError: a parameter is neither written whole nor in parts that are consecutive in memory.
    """
    from transformers.core_model_loading import revert_weight_conversion

    empty = {name: torch.empty(p.shape, dtype=p.dtype, device="meta") for name, p in parameters.items()}
    names = {tensor.untyped_storage()._cdata: name for name, tensor in empty.items()}
    with _ViewsStayViews():
        written: dict[str, Tensor] = revert_weight_conversion(model, empty)  # type: ignore[arg-type]
    places: dict[str, list[tuple[int, str, tuple[int, ...]]]] = {name: [] for name in parameters}
    for saved, tensor in written.items():
        name = names.get(tensor.untyped_storage()._cdata)
        if name is not None and tensor.is_contiguous():
            places[name].append((int(tensor.storage_offset()), saved, tuple(tensor.shape)))
    found: dict[str, Weight] = {}
    for name, parameter in parameters.items():
        covered = 0
        for offset, saved, shape in sorted(places[name]):
            is_whole = shape == tuple(parameter.shape)
            found[saved] = parameter if is_whole else ParameterPart(parameter, offset, shape)
            covered += math.prod(shape) if offset == covered else 0
        if covered != parameter.numel():
            raise LangcoreError(
                f"{type(model).__name__}: save_pretrained writes {name} neither whole nor in parts, so that its weights"
                " can't be addressed by the names of its files: this architecture is not supported"
            )
    return found


def names_in_files(model: nn.Module, files: Collection[str]) -> dict[str, str]:
    """The names that files have for the weights of a model, which then has the names of these files.

    transformers keeps the conversions that a checkpoint needed, and reverts them on saving. It does so when it loads
    weights; a model without weights gets them here.

    Args:
        model: a transformers model; see above.
        files: names of the tensors in the files.

    Returns:
        Name as in ``save_pretrained`` -> name in the files, in their order. Weights that the files lack are left out,
        and tensors that the model does not use.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    every: Any = get_model_conversion_mapping(model)  # type: ignore[arg-type]
    renamings = [entry for entry in every if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in every if isinstance(entry, WeightConverter)]
    own = dict(model.named_parameters(remove_duplicate=False))
    in_memory = {}
    for name in sorted(files):
        renamed, joined = rename_source_key(name, renamings, converters, str(model.base_model_prefix), own)
        if renamed not in own and name in own:
            renamed, joined = name, None
        if joined is None and renamed in own:
            in_memory[id(own[renamed])] = name
    if getattr(model, "_weight_conversions", None) is None:
        model._weight_conversions = [entry for entry in every if entry.was_used()]  # type: ignore[assignment]
    weights = saved_weights(model, dict(model.named_parameters()))
    of_memory = {in_memory[id(weight)]: saved for saved, weight in weights.items() if id(weight) in in_memory}
    own_names = {name: name if name in weights else of_memory.get(name) for name in files}
    return {saved: name for name, saved in own_names.items() if saved is not None}


def _conversions(model: nn.Module) -> Any:
    known = getattr(model, "_weight_conversions", None)
    if known is not None:
        return known
    from transformers.conversion_mapping import get_model_conversion_mapping

    return get_model_conversion_mapping(model, add_legacy=False)  # type: ignore[arg-type]


class _ViewsStayViews(TorchFunctionMode):
    """``contiguous`` returns its argument, so that results share memory with the parameter that they are a part of."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is torch.Tensor.contiguous else func(*args, **(kwargs or {}))
