"""Outliers, found by one forward pass: massive activations and super weights.

Massive activations are huge values in few dimensions of the residual stream, at few tokens; super weights are single
weights of a down projection that produce them.

Massive activations: Sun et al., Massive Activations in Large Language Models, 2024 (arXiv 2402.17762). Super weights:
Yu et al., The Super Weight in Large Language Models, 2024 (arXiv 2411.07191).

Shapes: L layers, B sequences, T positions, D dimensions of the residual stream, F columns of ``mlp.down_proj``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_langcore.models import parameters
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.single_weight import _flat_index
from lightning_langcore.utils.errors import LangcoreError

EXPLAINED = 0.5
"""A super weight's own product is at least this share of the output spike."""

_WRITERS = frozenset({"o_proj", "down_proj", "w2"})
_READERS = frozenset({"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "gate", "w1", "w3"})


@dataclass(frozen=True)
class Dimension:
    """A dimension of the residual stream; ``layer``, ``sequence`` and ``token`` locate its largest ratio."""

    dimension: int
    layers: tuple[int, ...]  # where it is massive; empty if nowhere
    value: float  # largest |h|, all layers
    ratio: float  # largest |h| / median
    layer: int
    sequence: int
    token: int


@dataclass(frozen=True)
class SuperWeight:
    """A weight of a down projection at the column of an input spike and the row of an output spike, at one token."""

    name: str
    row: int
    column: int
    layer: int
    value: float
    input_spike: float  # times the median |input|
    output_spike: float  # times the median |output|
    explained: float  # W[row, column] x[column] / y[row]
    sequence: int
    token: int
    found: bool  # whether it is a super weight by the criterion


@dataclass(frozen=True)
class Outliers:
    """Result of :func:`find_outliers`, with the nearest candidates if nothing meets the criteria."""

    dimensions: tuple[Dimension, ...]  # massive dimensions, largest ratio first
    ranking: tuple[Dimension, ...]  # the largest ratios, massive or not
    super_weights: tuple[SuperWeight, ...]  # weights that meet the criterion, by layer
    best_weight: SuperWeight | None  # None for a model without mlp.down_proj
    hidden_size: int


def find_outliers(
    model: nn.Module,
    input_ids: Tensor,
    magnitude: float = 100.0,
    ratio: float = 1000.0,
    spike: float = 50.0,
    num_ranked: int = 8,
) -> Outliers:
    r"""Find dimensions with massive activations, and super weights.

    An activation :math:`h` of a decoder layer's output is massive if

    .. math:: |h| > \text{magnitude} \quad\text{and}\quad |h| \ge \text{ratio} \cdot \mathrm{median}(|H|)

    with :math:`H` the layer's output for that sequence alone: all its T x D values, so that the result does not
    depend on other sequences of the batch. A dimension is massive if one of its activations is massive in at least one
    layer.

    For each token of ``mlp.down_proj`` the candidate is the weight at the row of the largest \|output\| and the column
    of the largest \|input\|. It is a super weight if both are at least ``spike`` times the median absolute value of the
    sequence's outputs (T x D) and inputs (T x F), and its product is at least half of the output:
    :math:`W_{rc} x_c / y_r \ge 0.5`. Each projection has one candidate: among the tokens that meet this criterion, or
    among all tokens if none does, the one whose smaller spike is largest. A late layer that cancels a massive
    activation may also meet the criterion.

    The median of an even number of values is the lower middle value; a ratio to a median of 0 is infinite. Values are
    compared in float32. Memory per layer: three (B, D) tensors. The model runs in evaluation mode; afterwards each
    module has its previous mode. Under FSDP2 each rank uses its own ids: pass the same on all ranks.

    Args:
        model: any causal language model with its decoder layers in a ModuleList ``layers`` or ``h``.
        input_ids: (B, T) int64 on the model's device, without padding; with the begin token, which often carries
            the massive activations, where the model was trained with one.
        magnitude: lower bound of a massive activation, exclusive.
        ratio: smallest multiple of the median for a massive activation.
        spike: smallest multiple of both medians for a super weight.
        num_ranked: number of dimensions in the ranking.

    Raises:
        LangcoreError: no list of decoder layers or several; ids of another shape; a threshold that is not positive;
            a quantized down projection; a hidden state that is not finite; a layer that did not run.

    Example:
        >>> import torch
        >>> from lightning_langcore import find_outliers
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> outliers = find_outliers(model, torch.arange(8)[None])
        >>> outliers.dimensions  # an untrained model has no massive activations
        ()
        >>> outliers.hidden_size
        16
    """
    if input_ids.ndim != 2 or not input_ids.numel():
        raise LangcoreError(f"input_ids must have the shape (B, T), both at least 1, not {tuple(input_ids.shape)}")
    if not all(value > 0 for value in (magnitude, ratio, spike, num_ranked)):
        raise LangcoreError(f"{magnitude=}, {ratio=}, {spike=} and {num_ranked=} must be positive")
    num_layers = len(_decoder_layers(model))
    largest: dict[int, Sequence[Tensor]] = {}
    weights: dict[int, SuperWeight] = {}
    with _forward_hooks(model, _hooks(model, spike, largest, weights)), torch.no_grad():
        model(input_ids)
    if len(largest) < num_layers:
        raise LangcoreError(f"the forward pass ran {len(largest)} of {num_layers} layers as modules of their own")
    values_LBD, ratios_LBD, tokens_LBD = map(torch.stack, zip(*(largest[i] for i in range(num_layers)), strict=True))
    massive_LD = ((values_LBD > magnitude) & (ratios_LBD >= ratio)).any(1)
    order = ratios_LBD.amax((0, 1)).sort(descending=True, stable=True).indices.tolist()
    ranking = [_describe(d, values_LBD, ratios_LBD, tokens_LBD, massive_LD) for d in order]
    by_layer = [weights[i] for i in sorted(weights)]
    return Outliers(
        dimensions=tuple(dimension for dimension in ranking if dimension.layers),
        ranking=tuple(ranking[:num_ranked]),
        super_weights=tuple(weight for weight in by_layer if weight.found),
        best_weight=max(by_layer, key=lambda w: (w.found, min(w.input_spike, w.output_spike)), default=None),
        hidden_size=len(ranking),
    )


def outlier_region(module: nn.Module, outliers: Outliers) -> Region:
    """All weights of the layers' matrices that belong to outliers; a core without this region is a control.

    The region has the rows of the massive dimensions in the matrices that write to the residual stream (``o_proj``,
    ``down_proj``, experts' ``w2``), their columns in the matrices that read from it (``q_proj``, ``k_proj``,
    ``v_proj``, ``gate_proj``, ``up_proj``, a router's ``gate``, experts' ``w1``, ``w3``), and the super weights.
    Without outliers the region is empty.

    Args:
        module: the model, or a module that contains it.
        outliers: the outliers of this model.

    Raises:
        LangcoreError: a matrix that is not known to read from or write to the residual stream; outliers of another
            model.

    Example:
        >>> import torch
        >>> from lightning_langcore import find_outliers, outlier_region
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> outliers = find_outliers(model, torch.arange(8)[None], magnitude=1e-9, ratio=2.0)
        >>> len(outlier_region(model, outliers)) > 0
        True
    """
    shapes = parameters.candidates(parameters.named_shapes(module))
    dimensions = np.sort(np.array([found.dimension for found in outliers.dimensions], dtype=np.int64))
    touched = shapes.items() if outliers.dimensions else ()
    indices = {name: _row_or_column_indices(name, shape, dimensions, outliers.hidden_size) for name, shape in touched}
    for weight in outliers.super_weights:
        one = _flat_index(shapes, weight.name, (weight.row, weight.column))
        indices[weight.name] = np.union1d(indices.get(weight.name, np.empty(0, np.int64)), [one])
    super_weights = [f"{w.name}[{w.row},{w.column}]" for w in outliers.super_weights]
    about = {"kind": "outliers", "dimensions": dimensions.tolist(), "super_weights": super_weights}
    return Region.from_indices(module, {name: torch.from_numpy(idx) for name, idx in indices.items()}, about)


def _decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The only list of decoder layers; lists inside the layers are ignored."""
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        named = isinstance(module, nn.ModuleList) and len(module) and name.rpartition(".")[2] in {"layers", "h"}
        if named and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    if len(found) > 1:  # beside those of a vision tower
        found = {name: layers for name, layers in found.items() if not parameters.in_a_tower(f"{name}.")}
    if len(found) != 1:
        has = f"{len(found)} lists of decoder layers named `layers` or `h` ({', '.join(found) or 'none'})"
        raise LangcoreError(f"{type(model).__name__} has {has} instead of one: pass only the causal language model")
    return next(iter(found.values()))


def _hooks(
    model: nn.Module, spike: float, largest: dict[int, Sequence[Tensor]], weights: dict[int, SuperWeight]
) -> list[tuple[nn.Module, Callable]]:
    """Modules with the forward hooks that fill ``largest`` and ``weights``, by layer."""
    names = {id(weight): name for name, weight in parameters.saved_parameters(model).items()}
    hooks: list[tuple[nn.Module, Callable]] = []
    for layer, module in enumerate(_decoder_layers(model)):
        hooks.append((module, partial(_record_layer, largest, layer)))
        for inner_name, inner in module.named_modules():
            weight = getattr(inner, "weight", None)
            if parameters.canonical_name(inner_name) == "mlp.down_proj" and isinstance(weight, nn.Parameter):
                parameters.refuse_quantized(names[id(weight)], weight, "find_outliers")
                hooks.append((inner, partial(_record_projection, weights, layer, names[id(weight)], spike)))
    return hooks


def _record_layer(largest: dict[int, Sequence[Tensor]], layer: int, *call: Any) -> None:
    """Store three (B, D) tensors: the largest |h|, its ratio to the sequence's median, its position."""
    output = call[-1]
    magnitudes_BTD = (output[0] if isinstance(output, tuple) else output).float().abs()
    values_BD, tokens_BD = magnitudes_BTD.max(1)
    if not values_BD.isfinite().all():
        raise LangcoreError(f"the output of layer {layer} is not finite: load the model in bfloat16 or float32")
    largest[layer] = (values_BD.cpu(), _over_median(values_BD, magnitudes_BTD).cpu(), tokens_BD.cpu())


def _record_projection(weights: dict[int, SuperWeight], layer: int, name: str, spike: float, *call: Any) -> None:
    module, (x_BTF,), y_BTD = call
    x_BTF, y_BTD = x_BTF.float(), y_BTD.float()
    inputs_BT, columns_BT = x_BTF.abs().max(-1)
    outputs_BT, rows_BT = y_BTD.abs().max(-1)
    values_BT = module.weight[rows_BT, columns_BT].float()
    products_BT = values_BT * x_BTF.gather(-1, columns_BT[..., None])[..., 0]
    explained_BT = products_BT / y_BTD.gather(-1, rows_BT[..., None])[..., 0]
    figures = {
        "row": rows_BT,
        "column": columns_BT,
        "value": values_BT,
        "input_spike": _over_median(inputs_BT, x_BTF.abs()),
        "output_spike": _over_median(outputs_BT, y_BTD.abs()),
        "explained": torch.nan_to_num(explained_BT, nan=0.0, posinf=0.0, neginf=0.0),  # an output of zeros
    }
    smaller_BT = torch.minimum(figures["input_spike"], figures["output_spike"])
    figures["found"] = found_BT = (smaller_BT >= spike) & (figures["explained"] >= EXPLAINED)
    eligible_BT = smaller_BT.masked_fill(~found_BT, -1.0) if found_BT.any() else smaller_BT
    sequence, token = divmod(int(eligible_BT.argmax()), eligible_BT.shape[1])
    chosen: dict[str, Any] = {figure: each_BT[sequence, token].item() for figure, each_BT in figures.items()}
    weights[layer] = SuperWeight(name=name, layer=layer, sequence=sequence, token=token, **chosen)


def _over_median(values: Tensor, magnitudes: Tensor) -> Tensor:
    """Values (B, ...) over the lower median of all magnitudes (B, ...) of their sequence; 0 / 0 is 0."""
    medians_B1 = magnitudes.flatten(1).median(1, keepdim=True).values
    return torch.nan_to_num(values / medians_B1, nan=0.0, posinf=float("inf"))


def _describe(d: int, values_LBD: Tensor, ratios_LBD: Tensor, tokens_LBD: Tensor, massive_LD: Tensor) -> Dimension:
    layer, sequence = divmod(int(ratios_LBD[:, :, d].argmax()), ratios_LBD.shape[1])
    layers = tuple(massive_LD[:, d].nonzero().flatten().tolist())
    ratio, token = float(ratios_LBD[layer, sequence, d]), int(tokens_LBD[layer, sequence, d])
    return Dimension(d, layers, float(values_LBD[:, :, d].max()), ratio, layer, sequence, token)


@contextmanager
def _forward_hooks(model: nn.Module, hooks: Sequence[tuple[nn.Module, Callable]]) -> Iterator[None]:
    """Evaluation mode with forward hooks; afterwards the hooks are removed and each submodule has its previous mode."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        with parameters.evaluation_mode(model):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _row_or_column_indices(name: str, shape: Sequence[int], dimensions: np.ndarray, hidden_size: int) -> np.ndarray:
    """Flat indices, ascending, of rows (matrix that writes the residual stream) or columns (matrix that reads it)."""
    kind = parameters.group_names(name)[0]
    if kind not in _WRITERS | _READERS:
        raise LangcoreError(f"{name}: unknown whether it reads or writes the residual stream; not a LLaMA-like layer")
    num_rows, num_columns = shape
    if hidden_size != (num_rows if kind in _WRITERS else num_columns):
        raise LangcoreError(
            f"{name} has shape {tuple(shape)}, the outliers are of a model with {hidden_size} dimensions"
        )
    if kind in _WRITERS:
        return (dimensions[:, None] * num_columns + np.arange(num_columns)).reshape(-1)
    return (np.arange(num_rows)[:, None] * num_columns + dimensions).reshape(-1)
