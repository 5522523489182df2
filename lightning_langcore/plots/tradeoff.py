"""The gain-loss trade-off: gain of the new languages against loss of the old ones.

Colours are kinds of regions, line styles frozen or free, markers the other settings of conditions.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from lightning_langcore.plots.axes import NothingToDrawError, add_legend
from lightning_langcore.plots.recovery import condition_style
from lightning_langcore.plots.style import GREY, percent, save, tidy
from lightning_langcore.results.conditions import Spread, labels
from lightning_langcore.results.effects import Series, adapted, gain, loss, spread_of, target_name, tradeoffs
from lightning_langcore.results.record import Results

_FONT = 8.5  # points

Place = tuple[float, Spread, Spread]


def tradeoff_curves(runs: Sequence[Results], path: Path | str) -> None:
    """Loss of the other languages against the gain of the trained ones, in bits per byte on the test split.

    One line per condition connects the fractions of its frozen region, which are written next to the points; conditions
    without a fraction are single points. Thin crosses are the range over seeds. Further right and further down is
    better. Values that are not finite are left out.

    Args:
        runs: the runs, as :func:`lightning_langcore.results.record.load_runs` reads them.
        path: the file; its suffix gives the format.

    Raises:
        NothingToDrawError: no run was trained on some of its languages and has finite bits per byte.

    Example:
        >>> from lightning_langcore.plots import tradeoff_curves
        >>> from lightning_langcore.results.record import Results
        >>> same = {"split": "test", "seed": 0, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
        >>> part = {"source": "zh", "language": "zh", "kind": "text", "tokens": 900}
        >>> runs = [Results("run", experiment="adapt_free", seed=0, model={"name": "tiny"}) for _ in range(2)]
        >>> for number, run in enumerate(runs):
        ...     run.status = "completed"
        ...     run.data = {"target": ["zh"], "parts": [part], "epochs": 1.0 + number}
        ...     for stage, samples in [("base", 0), ("training", 300), ("final", 900)]:
        ...         for lang, change in [("zh", -0.001), ("en", 0.0005 * number)]:
        ...             row = {"stage": stage, "samples": samples, "lang": lang}
        ...             run.add(same | row | {"nats_per_token": 3 + change * samples})
        >>> tradeoff_curves(runs, "tradeoff.png")
    """
    lines = {condition: _places(series) for condition, series in tradeoffs(runs).items()}
    lines = {condition: places for condition, places in lines.items() if places}
    if not lines:
        raise NothingToDrawError("tradeoff: no run was trained on some of its languages and has finite bits per byte")
    named = labels(lines)
    figure = Figure(figsize=(8.0, 5.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=GREY, linewidth=1, zorder=1)
    for condition in named:
        _line(axes, lines[condition], condition_style(condition, named))
    axes.margins(0.1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    tidy(axes)
    axes.set_xlabel(
        f"gain in {target_name(adapted(runs)) or 'the new language'} (bits per byte; right is better)", fontsize=11
    )
    axes.set_ylabel("mean loss of the other languages\n(bits per byte; down is better)", fontsize=11)
    handles = [
        Line2D([], [], **_single(condition_style(condition, named), lines[condition]), label=named[condition])
        for condition in named
    ]
    add_legend(figure, handles)
    figure.draw_without_rendering()  # fixes the position of the panel
    _write_fractions(
        axes, [(condition_style(condition, named)["color"], place) for condition in named for place in lines[condition]]
    )
    save(figure, path)


def _places(series: Series) -> list[Place]:
    """(fraction, gain, loss) by ascending fraction; values that are not finite are left out."""
    places = []
    for fraction, own in series.items():
        gained, lost = spread_of(own, gain), spread_of(own, loss)
        if gained and lost and all(map(math.isfinite, (*gained[:3], *lost[:3]))):
            places.append((fraction, gained, lost))
    return places


def _single(style: Mapping[str, Any], places: Sequence[Place]) -> dict[str, Any]:
    """The style of a condition; without a line if there is only one point."""
    return {**style, "linestyle": style["linestyle"] if len(places) > 1 else "none", "markersize": 6}


def _line(axes: Axes, places: Sequence[Place], style: Mapping[str, Any]) -> None:
    x, y = [gained.mean for _, gained, _ in places], [lost.mean for *_, lost in places]
    axes.plot(x, y, **_single(style, places), zorder=3)
    for _, gained, lost in places:
        thin: dict[str, Any] = {"color": style["color"], "linewidth": 0.8, "alpha": 0.7, "zorder": 2}
        axes.plot([gained.low, gained.high], [lost.mean] * 2, **thin)
        axes.plot([gained.mean] * 2, [lost.low, lost.high], **thin)


def _write_fractions(axes: Axes, places: Sequence[tuple[str, Place]]) -> None:
    """Write each fraction next to its point, on the side with the least overlap with points and other labels."""
    dots = [axes.transData.transform((gained.mean, lost.mean)) for _, (_, gained, lost) in places]
    scale = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    taken: list[Bbox] = [Bbox.from_bounds(x - 4 * scale, y - 4 * scale, 8 * scale, 8 * scale) for x, y in dots]
    for (colour, (fraction, gained, lost)), (x, y) in zip(places, dots, strict=True):
        if not fraction:
            continue
        label = percent(fraction)
        width, height = 0.62 * _FONT * len(label) * scale, 1.1 * _FONT * scale
        boxes = [
            (Bbox.from_bounds(x + right * scale - width / 2, y + up * scale - height / 2, width, height), right, up)
            for right, up in _sides(width / scale, height / scale)
        ]
        box, right, up = min(boxes, key=lambda one: sum(_common(one[0], other) for other in taken))
        taken.append(box)
        placement: dict[str, Any] = {
            "xytext": (right, up),
            "textcoords": "offset points",
            "ha": "center",
            "va": "center",
        }
        text = axes.annotate(label, (gained.mean, lost.mean), fontsize=_FONT, color=colour, zorder=5, **placement)
        text.set_path_effects([patheffects.withStroke(linewidth=2.5, foreground="white")])


def _sides(width: float, height: float) -> list[tuple[float, float]]:
    """Candidate offsets of a label's centre from its point, in points, nearest first."""
    sides = []
    for far in (1.0, 2.2, 3.4):
        right, up = width / 2 + 5 * far, height / 2 + 5 * far
        sides += [
            (-right, up),
            (right, -up),
            (-right, 0.0),
            (right, 0.0),
            (right, up),
            (-right, -up),
            (0, up),
            (0, -up),
        ]
    return sides


def _common(one: Bbox, other: Bbox) -> float:
    """Area of the intersection of two boxes."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(0.0, float(width)) * max(0.0, float(height))
