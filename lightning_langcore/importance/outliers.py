"""Dimensions of the residual stream and single weights that carry huge activations, found by one forward pass.

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

EXPLAINED = 0.5
"""A super weight's own product is at least this share of the output spike."""

_WRITERS = frozenset({"o_proj", "down_proj"})
_READERS = frozenset({"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"})


@dataclass(frozen=True)
class Dimension:
    """A dimension of the residual stream; ``layer``, ``sequence`` and ``token`` say where its ratio is largest."""

    dimension: int
    layers: tuple[int, ...]  # where it is massive; empty if nowhere
    value: float  # largest |h|, all layers
    ratio: float  # largest |h| / median
    layer: int
    sequence: int
    token: int


@dataclass(frozen=True)
class SuperWeight:
    """A weight of a down projection where a spike of the input meets a spike of the output, at one token."""

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
    found: bool  # whether it meets the criterion


@dataclass(frozen=True)
class Outliers:
    """What :func:`find_outliers` found, and what came closest where it found nothing."""

    dimensions: tuple[Dimension, ...]  # the massive ones, largest ratio first
    ranking: tuple[Dimension, ...]  # the largest ratios, massive or not
    super_weights: tuple[SuperWeight, ...]  # those that meet the criterion, by layer
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
    r"""Find massive-activation dimensions and super weights.

    An activation :math:`h` of a decoder layer's output is massive if

    .. math:: |h| > \text{magnitude} \quad\text{and}\quad |h| \ge \text{ratio} \cdot \mathrm{median}(|H|)

    with :math:`H` the layer's output for that sequence alone: all its T x D values, so that the other sequences of
    a batch change nothing. A dimension is massive if one of its activations is, in at least one layer.

    A token of ``mlp.down_proj`` proposes the weight at the row of its largest \|output\| and the column of its largest
    \|input\|. The weight is a super weight if both are at least ``spike`` times the median absolute value of the
    sequence's outputs (T x D) and inputs (T x F), and its product alone makes half of the output:
    :math:`W_{rc} x_c / y_r \ge 0.5`. Each projection has one candidate: of the tokens that meet this, else of all,
    the one whose smaller spike is largest. A late layer that takes a massive activation away again may meet it too.

    Medians of an even number of values are the lower middle one; a ratio to a median of 0 is infinite. Compared in
    float32. Kept per layer: three (B, D) tensors. The model runs in eval mode and is left as it was. Under FSDP2 a rank
    sees its own ids: give all ranks the same.

    Args:
        model: any causal language model with its decoder layers in a ModuleList ``layers`` or ``h``.
        input_ids: (B, T) int64 on the model's device, without padding; with the begin token, which often carries
            the massive activations, where the model was trained with one.
        magnitude: a massive activation is larger.
        ratio: smallest multiple of the median.
        spike: smallest multiple of both medians for a super weight.
        num_ranked: dimensions in the ranking.

    Raises:
        ValueError: no such layers, or several lists of them; ids of another shape; a threshold that is not positive;
            a quantized down projection; a hidden state that is not finite; a layer that did not run.

    Example::

        outliers = find_outliers(model, tokenizer("Fudan University is located in", return_tensors="pt").input_ids)
        control = core - outlier_region(model, outliers)
    """
    if input_ids.ndim != 2 or not input_ids.numel():
        raise ValueError(f"input_ids must have the shape (B, T), both at least 1, not {tuple(input_ids.shape)}")
    if not all(value > 0 for value in (magnitude, ratio, spike, num_ranked)):
        raise ValueError(f"{magnitude=}, {ratio=}, {spike=} and {num_ranked=} must be positive")
    num_layers = len(_decoder_layers(model))
    largest: dict[int, Sequence[Tensor]] = {}
    weights: dict[int, SuperWeight] = {}
    with _watching(model, _hooks(model, spike, largest, weights)), torch.no_grad():
        model(input_ids)
    if len(largest) < num_layers:
        raise ValueError(f"the forward pass ran {len(largest)} of {num_layers} layers as modules of their own")
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
    """Everything in the layers' matrices that touches the outliers; what is left of a core without it is the control.

    Rows of the massive dimensions in the matrices that write the residual stream (``o_proj``, ``down_proj``), their
    columns in those that read it (``q_proj``, ``k_proj``, ``v_proj``, ``gate_proj``, ``up_proj``), and the super
    weights. No outliers make a region without weights.

    Args:
        module: the model, or anything that holds it.
        outliers: of this model.

    Raises:
        ValueError: a matrix of which it isn't known whether it reads or writes; outliers of another model.
    """
    shapes = parameters.candidates(parameters.named_shapes(module))
    dimensions = np.sort(np.array([found.dimension for found in outliers.dimensions], dtype=np.int64))
    touched = shapes.items() if outliers.dimensions else ()
    indices = {name: _lines(name, shape, dimensions, outliers.hidden_size) for name, shape in touched}
    for weight in outliers.super_weights:
        one = _flat_index(shapes, weight.name, (weight.row, weight.column))
        indices[weight.name] = np.union1d(indices.get(weight.name, np.empty(0, np.int64)), [one])
    super_weights = [f"{w.name}[{w.row},{w.column}]" for w in outliers.super_weights]
    about = {"kind": "outliers", "dimensions": dimensions.tolist(), "super_weights": super_weights}
    return Region.from_indices(module, {name: torch.from_numpy(idx) for name, idx in indices.items()}, about)


def _decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The one list of layers; lists inside its layers don't count."""
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        named = isinstance(module, nn.ModuleList) and len(module) and name.rpartition(".")[2] in {"layers", "h"}
        if named and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    if len(found) != 1:
        has = f"{len(found)} lists of decoder layers named `layers` or `h` ({', '.join(found) or 'none'})"
        raise ValueError(f"{type(model).__name__} has {has} instead of one: pass the causal language model itself")
    return next(iter(found.values()))


def _hooks(
    model: nn.Module, spike: float, largest: dict[int, Sequence[Tensor]], weights: dict[int, SuperWeight]
) -> list[tuple[nn.Module, Callable]]:
    """Modules and the forward hooks that fill ``largest`` and ``weights``, by layer."""
    names = {id(parameter): name for name, parameter in parameters.saved_parameters(model).items()}
    hooks: list[tuple[nn.Module, Callable]] = []
    for layer, module in enumerate(_decoder_layers(model)):
        hooks.append((module, partial(_see_layer, largest, layer)))
        for inner_name, inner in module.named_modules():
            weight = getattr(inner, "weight", None)
            if parameters.canonical_name(inner_name) == "mlp.down_proj" and isinstance(weight, nn.Parameter):
                parameters.refuse_quantized(names[id(weight)], weight, "find_outliers")
                hooks.append((inner, partial(_see_projection, weights, layer, names[id(weight)], spike)))
    return hooks


def _see_layer(largest: dict[int, Sequence[Tensor]], layer: int, *call: Any) -> None:
    """Keep three (B, D) tensors: the largest |h|, its ratio to the sequence's median, its position."""
    output = call[-1]
    magnitudes_BTD = (output[0] if isinstance(output, tuple) else output).float().abs()
    values_BD, tokens_BD = magnitudes_BTD.max(1)
    if not values_BD.isfinite().all():
        raise ValueError(f"the output of layer {layer} is not finite: load the model in bfloat16 or float32")
    largest[layer] = (values_BD.cpu(), _over_median(values_BD, magnitudes_BTD).cpu(), tokens_BD.cpu())


def _see_projection(weights: dict[int, SuperWeight], layer: int, name: str, spike: float, *call: Any) -> None:
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
def _watching(model: nn.Module, hooks: Sequence[tuple[nn.Module, Callable]]) -> Iterator[None]:
    """Eval mode with forward hooks; afterwards no hook is left and each submodule is in the mode it was in."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        with parameters.evaluation_mode(model):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _lines(name: str, shape: Sequence[int], dimensions: np.ndarray, hidden_size: int) -> np.ndarray:
    """Flat indices, ascending, of a writer's rows or a reader's columns."""
    kind = parameters.group_names(name)[0]
    if kind not in _WRITERS | _READERS:
        raise ValueError(f"{name}: unknown whether it reads or writes the residual stream; not a LLaMA-like layer")
    num_rows, num_columns = shape
    if hidden_size != (num_rows if kind in _WRITERS else num_columns):
        raise ValueError(f"{name} has shape {tuple(shape)}, the outliers are of a model with {hidden_size} dimensions")
    if kind in _WRITERS:
        return (dimensions[:, None] * num_columns + np.arange(num_columns)).reshape(-1)
    return (np.arange(num_rows)[:, None] * num_columns + dimensions).reshape(-1)
