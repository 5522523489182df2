"""The grid of matrices in plots of regions: layers are rows, kinds of matrices are columns."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from lightning_langcore.utils.errors import LangcoreError

_MATRICES = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}


_EXPERT = re.compile(r"(^|\.)experts\.(\d+)\.(.+)$")


class Places(NamedTuple):
    """The matrices of a model as a table.

    Attributes:
        names: parameter name by (layer, kind).
        layers: every layer, ascending.
        kinds: those of q, k, v, o, gate, up, down that occur, then others. Of many experts the first and the last are
            shown, in columns that name them.
    """

    names: dict[tuple[int, str], str]
    layers: list[int]
    kinds: list[str]


def places(names: Iterable[str], plot: str) -> Places:
    """Arrange the parameters of layers as a table; other parameters are left out.

    Args:
        names: names of parameters.
        plot: name of the plot, with which the message begins.

    Raises:
        LangcoreError: no parameter belongs to a layer.
    """
    names = list(names)
    experts = sorted({int(match[2]) for name in names if (match := _EXPERT.search(name))})
    found = {place: name for name in names if (place := _place(name, experts))}
    if not found:
        raise LangcoreError(f"{plot}: no matrix of a layer among the parameters")
    order = [*_MATRICES.values()]
    kinds = sorted({kind for _, kind in found}, key=lambda k: (order.index(k) if k in order else 99, k))
    return Places(found, sorted({layer for layer, _ in found}), kinds)


def matrices(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The names of parameters with two dimensions."""
    return [name for name, shape in shapes.items() if len(shape) == 2]


def refuse_unknown(names: Iterable[str], shapes: Mapping[str, tuple[int, ...]], plot: str) -> None:
    """Refuse parameters whose shape is not known.

    Args:
        names: names of parameters.
        shapes: the known shapes.
        plot: name of the plot, with which the message begins.

    Raises:
        LangcoreError: a shape is missing; the message names the first such parameter.
    """
    unknown = [name for name in names if name not in shapes]
    if unknown:
        raise LangcoreError(f"{plot}: no shape for {unknown[0]}")


def evenly(layers: list[int], at_most: int, title: str) -> tuple[list[int], str]:
    """Up to ``at_most`` evenly spaced layers with first and last, and the title with the number of layers shown."""
    positions = np.linspace(0, len(layers) - 1, min(at_most, len(layers))).round().astype(int)
    shown = [layers[position] for position in np.unique(positions)]
    notes = [title]
    if len(shown) < len(layers):
        notes.append(f"{len(shown)} of {len(layers)} layers, evenly spaced")
    return shown, "; ".join(note for note in notes if note)


def _place(name: str, experts: list[int]) -> tuple[int, str] | None:
    """``model.layers.3.self_attn.q_proj.weight`` -> (3, "q"); ``None`` outside the layers and for inner experts."""
    match = re.search(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.(.+?)(?:\.weight)?$", name)
    if match is None:
        return None
    expert = _EXPERT.search(name)
    if expert is None:
        return int(match[1]), _MATRICES.get(match[2], match[2])
    number = int(expert[2])
    if number not in (experts[0], experts[-1]):
        return None
    return int(match[1]), f"{expert[3].removesuffix('.weight')}\nexpert {number} of {len(experts)}"
