"""The union table: the share of each parameter's weights that change by more than a threshold in some language."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from lightning_langcore.results import number_format
from lightning_langcore.utils import tables

MOST_ROWS = 40
"""Number of parameters up to which the terminal shows each; of more, it shows kinds and some layers."""
_MOST_LAYERS = 5
_LAYER = re.compile(r"layers\.(\d+)\.")


class UnionTable(NamedTuple):
    """The table of one base model.

    Args:
        thresholds: relative changes.
        shares: parameter -> share (0..1) of its weights that change by more than each threshold.
        shapes: parameter -> its shape.
    """

    thresholds: Sequence[float]
    shares: Mapping[str, Sequence[float]]
    shapes: Mapping[str, tuple[int, ...]]

    def names(self) -> list[str]:
        """The parameters, layer 2 before layer 10."""
        return sorted(self.shares, key=_natural)

    def write(self, path: Path) -> None:
        """Write every parameter as CSV."""
        rows = ([name, *(f"{share:.6f}" for share in self.shares[name])] for name in self.names())
        tables.write_csv(path, ["parameter", *(f"changed_more_than_{t:g}" for t in self.thresholds)], rows)

    def rows(self) -> list[tuple[str, list[float]]]:
        """Label and shares of what the terminal shows: each parameter, or of many all of a kind, then some layers."""
        names = self.names()
        if len(names) <= MOST_ROWS:
            return [(name.removeprefix("model."), list(self.shares[name])) for name in names]
        kinds: dict[str, list[str]] = {}
        layers: dict[int, list[str]] = {}
        for name in names:
            found = _LAYER.search(name)
            kinds.setdefault(name[found.end() :] if found else name.removeprefix("model."), []).append(name)
            if found:
                layers.setdefault(int(found[1]), []).append(name)
        rows = [(f"{kind} ({len(own)})" if len(own) > 1 else kind, self._mean(own)) for kind, own in kinds.items()]
        return rows + [(f"layer {layer}", self._mean(layers[layer])) for layer in _evenly(sorted(layers))]

    def print(self, languages: Sequence[str], path: Path) -> None:
        """Print the table, and where the whole table is if not every parameter is shown."""
        title = f"Weights that change by more than a threshold in at least one of {', '.join(languages)}"
        shown = Table(title=title)
        shown.add_column("parameter", no_wrap=True)
        for threshold in self.thresholds:
            shown.add_column(number_format.share(threshold), justify="right")
        for label, shares in self.rows():
            # three decimals as in the talk's table: 99.952 % and 100 % are different findings
            shown.add_row(label, *(f"{share:.3%}".replace("%", " %") for share in shares))
        tables.console().print(shown)
        if len(self.shares) > MOST_ROWS:
            tables.console().print(f"each of the {len(self.shares)} parameters: {path}", soft_wrap=True)

    def _mean(self, names: Sequence[str]) -> list[float]:
        """The shares of all weights of several parameters together."""
        sizes = [math.prod(self.shapes[name]) for name in names]
        columns = zip(*(self.shares[name] for name in names), strict=True)
        return [math.fsum(map(math.prod, zip(sizes, column, strict=True))) / sum(sizes) for column in columns]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in name.split(".")]


def _evenly(layers: list[int]) -> list[int]:
    if len(layers) <= _MOST_LAYERS:
        return layers
    return [layers[round(i * (len(layers) - 1) / (_MOST_LAYERS - 1))] for i in range(_MOST_LAYERS)]
