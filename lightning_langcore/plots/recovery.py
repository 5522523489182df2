"""Recovery curves: perplexity while a perturbed model is trained.

Colours are kinds of regions, line styles frozen or free, markers the other settings of conditions.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from lightning_langcore.plots.style import GREY, LARGEST, colours, perplexity_axis, save, short, tidy
from lightning_langcore.results.conditions import Condition, Point, Spread, labels, points, spread
from lightning_langcore.results.record import Results
from lightning_langcore.utils.errors import LangcoreError

_MARKERS = "osD^vPX"


def recovery_curves(runs: Sequence[Results], path: Path | str) -> None:
    """Test perplexity against training documents, one panel per language, from the perturbed model to the last step.

    Solid lines: the region is frozen; dashed lines: it is free. With several seeds, the line is the geometric mean of
    the seeds that reached the milestone, and the band is their range. The grey line is the intact base. A value that is
    not finite is an infinity sign at the upper edge.

    Args:
        runs: the runs, as :func:`lightning_langcore.results.record.load_runs` reads them.
        path: the file; its suffix gives the format.

    Raises:
        LangcoreError: no run has test rows after step 0.

    Example:
        >>> from lightning_langcore.plots import recovery_curves
        >>> from lightning_langcore.results.record import Results
        >>> same = {"lang": "en", "split": "test", "seed": 0, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
        >>> run = Results("run", experiment="recovery_frozen", seed=0, model={"name": "tiny"}, region={"kind": "core"})
        >>> for stage, samples, nats in [("base", 0, 2.5), ("perturbed", 0, 8.0), ("final", 900, 4.0)]:
        ...     run.add(same | {"stage": stage, "samples": samples, "nats_per_token": nats})
        >>> recovery_curves([run], "recovery.png")
    """
    found = points(runs)
    conditions = {point.condition for point in found if point.stage in ("training", "final")}
    if not conditions:
        raise LangcoreError("recovery_curves: no run has test rows of stage training or final")
    found = [point for point in found if point.condition in conditions]
    named = labels(conditions)
    languages = list(dict.fromkeys(point.lang for point in found))
    columns = _columns(len(languages))
    rows = math.ceil(len(languages) / columns)
    size = (8.4, 5.0) if len(languages) == 1 else (1.2 + 2.3 * columns, 1.2 + 1.9 * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, lang in zip(grid.flat, languages, strict=False):
        _recovery_panel(axes, [point for point in found if point.lang == lang], named)
        axes.set_title(lang, fontsize=11, fontweight="bold", pad=4)
    for position in range(len(languages), rows * columns):
        grid.flat[position].set_visible(False)
        grid.flat[position - columns].xaxis.set_tick_params(labelbottom=True)
    _sample_axis(grid[0, 0], [point.samples for point in found])
    perplexity_axis(grid[0, 0], found, margin=1.25)
    figure.supxlabel("training documents", fontsize=11)
    figure.supylabel("test perplexity (log)", fontsize=11)
    handles = [Line2D([], [], **condition_style(condition, named), label=label) for condition, label in named.items()]
    if any(point.stage == "base" for point in found):
        handles.append(Line2D([], [], color=GREY, linewidth=1, label="intact base"))
    fits = max(1, int(size[0] / (0.75 + 0.07 * max(len(label) for label in named.values()))))
    wide = len(handles) if len(handles) <= min(4, fits) else min(math.ceil(len(handles) / 2), fits)
    style = {"frameon": False, "fontsize": 10, "handlelength": 3.2}
    figure.legend(handles=handles, loc="outside upper center", ncols=wide, **style)
    save(figure, path)


def _columns(num_panels: int) -> int:
    """Number of columns, for few empty panels and a figure wider than high: 8 panels are 4 x 2, 30 are 6 x 5."""
    if num_panels <= 3:
        return num_panels
    rows = {columns: math.ceil(num_panels / columns) for columns in range(2, 7)}
    return min(rows, key=lambda columns: columns * rows[columns] + 1.5 * abs(columns - 1.4 * rows[columns]))


def _recovery_panel(axes: Axes, found: Sequence[Point], named: dict[Condition, str]) -> None:
    for model in {point.condition.model for point in found}:
        base = spread(point for point in found if point.stage == "base" and point.condition.model == model)
        if base and base.mean < LARGEST:
            axes.axhline(math.exp(base.mean), color=GREY, linewidth=1, zorder=1)
    for condition in reversed(named):
        own = [point for point in found if point.condition == condition]
        start = "perturbed" if any(point.stage == "perturbed" for point in own) else "base"
        curve = milestones(point for point in own if point.stage in (start, "training", "final"))
        style = condition_style(condition, named)
        x = [samples for samples, _ in curve]
        axes.plot(x, [_perplexity(value.mean) for _, value in curve], **style, zorder=3)
        if any(value.num_seeds > 1 for _, value in curve):
            low, high = ([_perplexity(getattr(value, end)) for _, value in curve] for end in ("low", "high"))
            axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0, zorder=2)
        for samples, value in curve:
            if value.mean >= LARGEST:
                place: dict[str, Any] = {
                    "xycoords": ("data", "axes fraction"),
                    "ha": "center",
                    "va": "top",
                    "fontsize": 12,
                }
                axes.annotate("∞", (samples, 0.99), color=style["color"], **place)
    tidy(axes)
    axes.tick_params(labelsize=9)


def milestones(found: Iterable[Point]) -> list[tuple[float, Spread]]:
    """Ascending (documents, spread over seeds) of one condition in one language.

    A milestone is evaluated after the first step that reaches it, so that its documents may differ a little between
    seeds: documents of different seeds within 10 % are one milestone, drawn at their mean.

    Args:
        found: the points of one condition in one language.

    Returns:
        Documents, and the nats per token as mean and range over seeds.

    Example:
        >>> from lightning_langcore.plots import milestones
        >>> from lightning_langcore.results.conditions import Condition, Point
        >>> core = Condition("core", True, None, 0.05, "reinit", 2.0, "tiny")
        >>> found = [Point(core, seed, "training", 1000 + 20 * seed, "en", 3.0 + seed) for seed in (0, 1)]
        >>> milestones(found)
        [(1010.0, Spread(mean=3.5, low=3.0, high=4.0, num_seeds=2))]
    """
    groups: list[list[Point]] = []
    for point in sorted(found, key=lambda point: point.samples):
        near = groups and point.samples <= 1.1 * groups[-1][0].samples
        if near and all(other.seed != point.seed or other.samples == point.samples for other in groups[-1]):
            groups[-1].append(point)
        else:
            groups.append([point])
    means = (sum(point.samples for point in group) / len(group) for group in groups)
    return [(mean, value) for mean, group in zip(means, groups, strict=True) if (value := spread(group))]


def condition_style(condition: Condition, named: Mapping[Condition, str]) -> dict[str, Any]:
    """Colour, line style and marker of a condition; ``named`` holds all conditions of the plot."""
    colour = colours(other.kind for other in named)
    peers = [
        other for other in named if colour[other.kind] == colour[condition.kind] and other.frozen == condition.frozen
    ]
    return {
        "color": colour[condition.kind],
        "linestyle": (0, (4, 2)) if condition.frozen is False else "-",
        "linewidth": 1.8,
        "marker": _MARKERS[peers.index(condition) % len(_MARKERS)],
        "markersize": 4,
    }


def _perplexity(nats: float) -> float:
    """Perplexity to draw; NaN, which leaves a gap, if it exceeds the range of a float."""
    return math.exp(nats) if nats < LARGEST else math.nan


def _sample_axis(axes: Axes, samples: Sequence[int]) -> None:
    """Set a linear axis for milestones within a factor of 12, else a logarithmic one with a place for 0."""
    positive = sorted({count for count in samples if count > 0})
    if positive[-1] / positive[0] <= 12:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
        axes.set_xlim(-0.04 * positive[-1], 1.04 * positive[-1])
    else:
        first = float(positive[0])
        axes.set_xscale("symlog", linthresh=first, linscale=0.6)
        decades = [10.0**power for power in range(16) if first <= 10**power <= positive[-1] * 1.01]
        axes.xaxis.set_major_locator(FixedLocator([0.0, *decades]))
        axes.xaxis.set_minor_locator(FixedLocator([]))
        axes.set_xlim(-0.12 * first, positive[-1] * 1.4)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
