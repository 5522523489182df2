"""Shared style of the plots: colours by kind of region, a perplexity axis, and writing a figure atomically.

The palette is that of Okabe and Ito, for colour-blind readers. Monolingual regions are shades of one purple; their
distance to the other colours was checked under simulated deuteranopia, protanopia and tritanopia.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lightning_langcore.results.conditions import Point
from lightning_langcore.utils.atomic_files import atomic_path

COLOURS = {
    "core": "#D55E00",
    "random": "#0072B2",
    "peripheral": "#009E73",
    "magnitude": "#56B4E9",
    "file": "#E69F00",  # also every kind that is not in this table
    "none": "#000000",
    "base": "#404040",
}
GREY = "#8C8C8C"
PALE = "#E5E5E5"
LARGEST = 690.0  # nats; exp of more exceeds the range of a float
_MONOLINGUAL = LinearSegmentedColormap.from_list("monolingual", ["#F3C9DF", "#B4649A", "#5A1A48"])


def root_kind(kind: str) -> str:
    """``core-outliers`` -> ``core``: the kind of the region from which outliers were removed."""
    return kind.removesuffix("-outliers")


def colours(kinds: Iterable[str]) -> dict[str, str]:
    """A colour for each kind of region in one plot; ``mono:zh``, ``mono:ar`` ... run from light to dark purple."""
    kinds = list(dict.fromkeys(kinds))
    mono = sorted({root_kind(kind) for kind in kinds if kind.startswith("mono:")})
    shades = {name: to_hex(_MONOLINGUAL((place + 0.5) / len(mono))) for place, name in enumerate(mono)}
    known = COLOURS | shades
    return {kind: known.get(root_kind(kind), COLOURS["file"]) for kind in kinds}


def tidy(axes: Axes, grid: str = "both") -> None:
    """Draw pale grid lines behind the data (``both``, ``x`` or ``y``), and remove the upper and right frame."""
    axes.grid(True, axis=grid, color=PALE, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def perplexity_axis(axes: Axes, found: Sequence[Point], margin: float = 1.0, bottom: float | None = None) -> None:
    """Set a logarithmic y axis with few, round ticks that covers every finite perplexity.

    Args:
        axes: the panel.
        found: the points of the panel, or of the panels that share its axis.
        margin: factor below the minimum and above the maximum perplexity.
        bottom: the lower end; ``None``: from the minimum perplexity.
    """
    values = [math.exp(point.nats) for point in found if point.nats < LARGEST] or [1.0, 10.0]
    low, high = min(values) / margin if bottom is None else bottom, max(values) * margin
    if any(point.nats >= LARGEST for point in found):  # room for the infinity signs
        high *= (high / low) ** 0.15
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    decades = math.log10(high / low)
    subs = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8 if decades >= 2.5 else 12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def short(value: float) -> str:
    """5, 200, 10k, 2.5M, 1e+12."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if size <= value < 1e9:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def percent(value: float) -> str:
    """0.01 -> 1 %, 0.125 -> 12.5 %: three significant digits."""
    return f"{100 * value:.3g} %"


def save(figure: Figure, path: Path | str) -> None:
    """Write the figure atomically; the suffix of the path gives the format."""
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
