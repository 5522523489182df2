"""Shared parts of plots of curves: lines with a band over seeds, axes for ratios and settings, and the legend."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator

from lightning_langcore.plots.style import GREY, LARGEST, percent, short
from lightning_langcore.results.conditions import Spread
from lightning_langcore.utils.errors import LangcoreError

Curve = Sequence[tuple[float, Spread]]


class NothingToDrawError(LangcoreError):
    """No run has the values that a plot shows.

    Example:
        >>> from lightning_langcore.plots import NothingToDrawError, tradeoff_curves
        >>> try:
        ...     tradeoff_curves([], "tradeoff.png")
        ... except NothingToDrawError as error:
        ...     print("left out:", error)
        left out: ...
    """


_CLOSE = 0.08  # least distance of two ticks, as a share of the axis, at which their labels do not touch


def drawable(nats: float) -> float:
    """Exp of nats; NaN, which leaves a gap, if it exceeds the range of a float."""
    return math.exp(nats) if nats < LARGEST else math.nan


def plain(value: float) -> float:
    """The value; NaN, which leaves a gap, if it is not finite."""
    return value if math.isfinite(value) else math.nan


def draw_curve(axes: Axes, curve: Curve, style: Mapping[str, Any], height: Callable[[float], float]) -> None:
    """Draw a line through the means, a band for the range over seeds, and an infinity sign where the height is NaN."""
    x = [place for place, _ in curve]
    axes.plot(x, [height(value.mean) for _, value in curve], **style, zorder=3)
    if any(value.num_seeds > 1 for _, value in curve):
        low, high = ([height(getattr(value, end)) for _, value in curve] for end in ("low", "high"))
        axes.fill_between(x, low, high, color=style["color"], alpha=0.16, linewidth=0, zorder=2)
        if len(curve) == 1:
            axes.plot(x * 2, [*low, *high], color=style["color"], linewidth=0.9, zorder=2)
    for place, value in curve:
        if math.isnan(height(value.mean)):
            where: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "top", "fontsize": 12}
            axes.annotate("∞", (place, 0.99), color=style["color"], **where)


def ratio_axis(axes: Axes, values: Iterable[Spread]) -> None:
    """Set a logarithmic y axis around 1, with a grey line at 1, where final and base are equal."""
    ends = [end for value in values for end in value[:3]]
    finite = [end for end in ends if end < LARGEST]
    low, high = min([*finite, -0.05]), max([*finite, 0.05])
    room = 0.06 if len(finite) == len(ends) else 0.16  # for the infinity signs
    low, high = math.exp(low - 0.06 * (high - low)), math.exp(high + room * (high - low))
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    if high / low < 2.5:
        axes.yaxis.set_major_locator(
            FixedLocator(list(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)))
        )
    else:
        subs = {12: (1.0, 1.5, 2.0, 3.0, 5.0, 7.0), 300: (1.0, 2.0, 5.0), math.inf: (1.0,)}
        axes.yaxis.set_major_locator(
            LogLocator(subs=next(s for top, s in subs.items() if high / low < top), numticks=12)
        )
    axes.yaxis.set_minor_locator(FixedLocator([]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(round(value, 6))))
    axes.axhline(1, color=GREY, linewidth=1, zorder=1)


def setting_text(value: float, key: str) -> str:
    """The text of a value of a setting: ``5 %``, ``3``, ``×5``."""
    return percent(value) if key == "noise.rate" else f"×{value:g}" if key == "ratio" and value else f"{value:g}"


def setting_axis(axes: Axes, values: Iterable[float], key: str) -> None:
    """Set an x axis with a tick at each value that has room; logarithmic above a factor of 12, with a place for 0."""
    ascending = sorted(set(values))
    positive = [value for value in ascending if value > 0]
    wide = bool(positive) and positive[-1] / positive[0] > 12
    scale: Callable[[float], float] = float
    if wide:
        first = positive[0]
        axes.set_xscale("symlog", linthresh=first, linscale=0.6)
        scale = lambda value: math.log10(value / first) + 0.6 if value > first else 0.6 * value / first  # noqa: E731
    span = scale(ascending[-1]) - scale(ascending[0])
    ticks: list[float] = []
    for value in reversed(ascending):
        if not ticks or scale(ticks[-1]) - scale(value) >= _CLOSE * span:
            ticks.append(value)
    axes.xaxis.set_major_locator(FixedLocator(ticks[::-1]))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: setting_text(round(value, 9), key)))
    low, high = ascending[0], ascending[-1]
    if wide:
        axes.set_xlim(low - 0.3 * first if low == 0 else low / 1.4, high * 1.6)
    else:
        edge = 0.07 * (high - low) or 0.5
        axes.set_xlim(low - edge, high + edge)


def add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Add a legend above the panels, in as many columns as fit; the figure grows by its height."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=1)
    fits = max(1, int(figure.get_figwidth() / (0.75 + 0.075 * longest)))
    rows = math.ceil(len(handles) / fits)
    figure.set_figheight(figure.get_figheight() + 0.21 * rows)
    style: dict[str, Any] = {"frameon": False, "fontsize": 10, "handlelength": 2.8}
    figure.legend(handles=handles, loc="outside upper center", ncols=math.ceil(len(handles) / rows), **style)
