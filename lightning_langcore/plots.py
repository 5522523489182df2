"""Pictures of runs: recovery curves, damage bars, and where a region lies. Each function writes one file, atomically.

Colour tells the kind of region (Okabe and Ito's palette, safe for colour-blind readers), line style frozen or free.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lightning_langcore.arms import Arm, Point, Spread, labels, points, spread
from lightning_langcore.files import atomic_path
from lightning_langcore.results import Results

COLOURS = {"core": "#D55E00", "random": "#0072B2", "peripheral": "#009E73", "file": "#CC79A7", "none": "#000000"}
_OTHER = "#E69F00"
_GREY = "#8C8C8C"
_MARKERS = "osD^vPX"
_LARGEST = 690.0  # nats; exp of more leaves the range of a float
_MATRICES = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}


def recovery_curves(runs: Sequence[Results], path: Path | str) -> None:
    """Test perplexity against training documents, one panel a language, from the damaged model at 0 to the last step.

    Solid lines: the region is frozen; dashed: it is free. Over several seeds the line is the geometric mean of the
    seeds that reached the milestone and the band their range. The grey line is the intact base. A value that is not
    finite is an infinity sign at the upper edge.

    Raises:
        ValueError: no run has test rows after step 0.
    """
    found = points(runs)
    arms = {point.arm for point in found if point.stage in ("training", "final")}
    if not arms:
        raise ValueError("recovery_curves: no run has test rows of stage training or final")
    found = [point for point in found if point.arm in arms]
    named = labels(arms)
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
    _perplexity_axis(grid[0, 0], found, margin=1.25)
    figure.supxlabel("training documents", fontsize=11)
    figure.supylabel("test perplexity (log)", fontsize=11)
    handles = [Line2D([], [], **_style(arm, named), label=label) for arm, label in named.items()]
    if any(point.stage == "base" for point in found):
        handles.append(Line2D([], [], color=_GREY, linewidth=1, label="intact base"))
    fits = max(1, int(size[0] / (0.75 + 0.07 * max(len(label) for label in named.values()))))
    wide = len(handles) if len(handles) <= min(4, fits) else min(math.ceil(len(handles) / 2), fits)
    style = {"frameon": False, "fontsize": 10, "handlelength": 3.2}
    figure.legend(handles=handles, loc="outside upper center", ncols=wide, **style)
    _save(figure, path)


def _columns(num_panels: int) -> int:
    """Few empty places and a shape a little wider than high: 8 panels are 4 x 2, 30 are 6 x 5."""
    if num_panels <= 3:
        return num_panels
    rows = {columns: math.ceil(num_panels / columns) for columns in range(2, 7)}
    return min(rows, key=lambda columns: columns * rows[columns] + 1.5 * abs(columns - 1.4 * rows[columns]))


def _recovery_panel(axes: Axes, found: Sequence[Point], named: dict[Arm, str]) -> None:
    for model in {point.arm.model for point in found}:
        base = spread(point for point in found if point.stage == "base" and point.arm.model == model)
        if base and base.mean < _LARGEST:
            axes.axhline(math.exp(base.mean), color=_GREY, linewidth=1, zorder=1)
    for arm in reversed(named):
        own = [point for point in found if point.arm == arm]
        start = "perturbed" if any(point.stage == "perturbed" for point in own) else "base"
        curve = milestones(point for point in own if point.stage in (start, "training", "final"))
        style = _style(arm, named)
        x = [samples for samples, _ in curve]
        axes.plot(x, [_perplexity(value.mean) for _, value in curve], **style, zorder=3)
        if any(value.num_seeds > 1 for _, value in curve):
            low, high = ([_perplexity(getattr(value, end)) for _, value in curve] for end in ("low", "high"))
            axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0, zorder=2)
        for samples, value in curve:
            if value.mean >= _LARGEST:
                place: dict[str, Any] = {
                    "xycoords": ("data", "axes fraction"),
                    "ha": "center",
                    "va": "top",
                    "fontsize": 12,
                }
                axes.annotate("∞", (samples, 0.99), color=style["color"], **place)
    axes.grid(True, color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def milestones(found: Iterable[Point]) -> list[tuple[float, Spread]]:
    """(documents, spread over seeds) of one arm in one language, ascending.

    A milestone fires at the first step that reaches it, so the counts of different seeds may differ a little: counts
    of different seeds within 10 % are one milestone, drawn at their mean.
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


def _style(arm: Arm, named: Mapping[Arm, str]) -> dict[str, Any]:
    peers = [other for other in named if other[:2] == arm[:2]]
    return {
        "color": COLOURS.get(arm.kind, _OTHER),
        "linestyle": (0, (4, 2)) if arm.frozen is False else "-",
        "linewidth": 1.8,
        "marker": _MARKERS[peers.index(arm) % len(_MARKERS)],
        "markersize": 4,
    }


def _perplexity(nats: float) -> float:
    """Perplexity to draw; NaN, which leaves a gap, where it is too large."""
    return math.exp(nats) if nats < _LARGEST else math.nan


def _sample_axis(axes: Axes, samples: Sequence[int]) -> None:
    """Linear for evenly spaced milestones; else 0, then decades: most happens in the first documents."""
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
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _perplexity_axis(axes: Axes, found: Sequence[Point], margin: float = 1.0, bottom: float | None = None) -> None:
    values = [math.exp(point.nats) for point in found if point.nats < _LARGEST] or [1.0, 10.0]
    low, high = min(values) / margin if bottom is None else bottom, max(values) * margin
    if any(point.nats >= _LARGEST for point in found):  # room for the infinity signs
        high *= (high / low) ** 0.15
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    decades = math.log10(high / low)
    subs = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8 if decades >= 2.5 else 12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    """5, 200, 10k, 2.5M, 1e+12."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if size <= value < 1e9:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def damage_bars(runs: Sequence[Results], path: Path | str) -> None:
    """Test perplexity right after the perturbation, a group of bars a language: base and each kind of region.

    One panel for each combination of model, fraction, method and strength. Thin lines are the range over seeds; a bar
    that is not finite reaches the upper edge and carries an infinity sign.

    Raises:
        ValueError: no run has test rows of stage perturbed.
    """
    panels = damage(points(runs))
    if not panels:
        raise ValueError("damage_bars: no run has test rows of stage perturbed")
    languages = list(dict.fromkeys(point.lang for bars in panels.values() for own in bars.values() for point in own))
    num_bars = max(len(bars) for bars in panels.values())
    width = min(16.0, max(6.4, 1.5 + 0.16 * len(languages) * (num_bars + 1)))
    figure = Figure(figsize=(width, 0.8 + 3.2 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)
    handles: dict[str, Any] = {}
    for axes, (title, bars) in zip(grid.flat, panels.items(), strict=True):
        every = [point for own in panels.values() for group in own.values() for point in group]
        _perplexity_axis(axes, every, margin=1.3, bottom=1.0)
        handles |= _damage_panel(axes, bars, languages)
        axes.set_title(title, fontsize=11)
    figure.supylabel("test perplexity (log)", fontsize=11)
    figure.suptitle("right after the perturbation", fontsize=11)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(6, len(handles)), frameon=False)
    _save(figure, path)


def _damage_panel(axes: Axes, bars: Mapping[str, Sequence[Point]], languages: Sequence[str]) -> dict[str, Any]:
    """Draw one panel; return the legend's handles by label."""
    handles: dict[str, Any] = {}
    width = 0.84 / len(bars)
    top = axes.get_ylim()[1]
    seen: dict[str, int] = {}
    for position, (label, own) in enumerate(bars.items()):
        kind = label.split(" (")[0]
        seen[kind] = seen.get(kind, 0) + 1
        colour = _GREY if kind == "base" else COLOURS.get(kind, _OTHER)
        hatch = None if seen[kind] == 1 else "/\\x.+"[(seen[kind] - 2) % 5] * 3
        for place, lang in enumerate(languages):
            value = spread(point for point in own if point.lang == lang)
            if value is None:
                continue
            x = place + (position + 0.5) * width - 0.42
            height = math.exp(value.mean) if value.mean < _LARGEST else top
            drawn = axes.bar(x, height, width * 0.92, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
            handles.setdefault(label, drawn)
            if value.mean >= _LARGEST:
                axes.text(x, top, "∞", ha="center", va="top", color="white", fontweight="bold")
            elif value.low < value.high:
                ends = [math.exp(min(end, _LARGEST)) for end in (value.low, value.high)]
                axes.plot([x, x], ends, color="black", linewidth=0.9)
    axes.set_xticks(range(len(languages)), languages)
    axes.set_xlim(-0.6, len(languages) - 0.4)
    axes.grid(True, axis="y", color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    return handles


def damage(found: Sequence[Point]) -> dict[str, dict[str, list[Point]]]:
    """Setting (fraction, method, strength, model) -> base, random, peripheral, core ... -> points, perturbed ones only.

    Frozen or free makes no difference before the first step, so both kinds of run count.
    """
    merged = [point._replace(arm=point.arm._replace(frozen=None)) for point in found]
    panels: dict[Arm, list[Arm]] = {}
    for arm in {point.arm: None for point in merged if point.stage == "perturbed"}:
        panels.setdefault(arm._replace(kind="none", score=None), []).append(arm)
    table: dict[str, dict[str, list[Point]]] = {}
    for setting, title in labels(panels).items():
        arms = panels[setting]
        base = [point for point in merged if point.stage == "base" and point.arm in arms]
        rank = {"random": 0, "peripheral": 1, "core": 3}
        named = sorted(labels(arms).items(), key=lambda item: rank.get(item[0].kind, 2))
        bars = {"base": base} if base else {}
        for arm, label in named:
            bars[label] = [point for point in merged if point.stage == "perturbed" and point.arm == arm]
        table[title.removeprefix("no region").strip(" ()")] = bars
    return table


def region_heatmap(
    indices: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    path: Path | str,
    title: str = "",
    max_layers: int = 6,
) -> None:
    """Where a region lies: for each matrix of a layer the share of its weights that the region holds, cell by cell.

    Layers are rows, kinds of matrices columns; of more than ``max_layers`` layers, evenly spaced ones are shown, first
    and last included. Cells above the 99.5th percentile share the brightest colour. Memory: a few bytes per index and
    64 x 64 cells a matrix, never a dense mask.

    Args:
        indices: flat row-major indices by parameter name; a name in ``shapes`` without indices is empty.
        shapes: the shape of each candidate parameter; only matrices named ``...layers.N....weight`` are drawn.
        path: the PNG file.
        title: above the panels; what was left out is added to it.
        max_layers: at least 1.

    Raises:
        ValueError: indices of a parameter without a shape, or no matrix to draw.
    """
    unknown = [name for name in indices if name not in shapes]
    if unknown:
        raise ValueError(f"region_heatmap: no shape for {unknown[0]}")
    places = {name: place for name, shape in shapes.items() if len(shape) == 2 and (place := _place(name))}
    if not places:
        raise ValueError("region_heatmap: no matrix of a layer among the parameters")
    every = sorted({layer for layer, _ in places.values()})
    positions = np.linspace(0, len(every) - 1, min(max_layers, len(every))).round().astype(int)
    shown = [every[position] for position in np.unique(positions)]
    order = [*_MATRICES.values()]
    kinds = sorted({kind for _, kind in places.values()}, key=lambda k: (order.index(k) if k in order else 99, k))
    cells = {
        place: density(indices.get(name, np.empty(0, np.int64)), *shapes[name])
        for name, place in places.items()
        if place[0] in shown
    }
    sizes = {place: f"{shapes[name][0]} × {shapes[name][1]}" for name, place in places.items()}
    left_out = len(every) - len(shown)
    notes = [title, f"{len(shown)} of {len(every)} layers, evenly spaced" if left_out else ""]
    _draw_heatmap(cells, sizes, shown, kinds, "; ".join(note for note in notes if note), path)


def _draw_heatmap(
    cells: Mapping[tuple[int, str], np.ndarray],
    sizes: Mapping[tuple[int, str], str],
    layers: Sequence[int],
    kinds: Sequence[str],
    title: str,
    path: Path | str,
) -> None:
    values = np.concatenate([cell.ravel() for cell in cells.values()])
    top = float(np.quantile(values, 0.995)) or float(values.max()) or 1.0
    figure = Figure(figsize=(1.6 + 1.45 * len(kinds), 1.3 + 1.45 * len(layers)), layout="constrained")
    grid = figure.subplots(len(layers), len(kinds), squeeze=False)
    image = None
    for row, layer in enumerate(layers):
        for column, kind in enumerate(kinds):
            axes = grid[row, column]
            axes.set(xticks=[], yticks=[])
            if (layer, kind) in cells:
                picture = {"aspect": "auto", "interpolation": "nearest", "cmap": "viridis"}
                image = axes.imshow(cells[layer, kind], vmin=0.0, vmax=top, **picture)
            else:
                axes.set_frame_on(False)
            if row == 0:
                size = next(text for place, text in sizes.items() if place[1] == kind)
                axes.set_title(f"{kind}\n{size}", fontsize=10)
            if column == 0:
                axes.set_ylabel(f"layer {layer}", fontsize=10)
    figure.supxlabel("columns of the matrix (input dimension)", fontsize=10)
    figure.supylabel("rows of the matrix (output dimension)", fontsize=10)
    figure.suptitle(title, fontsize=12)
    assert image is not None
    bar = figure.colorbar(image, ax=grid, extend="max" if values.max() > top else "neither", aspect=30, pad=0.02)
    bar.set_label("share of weights in the region", fontsize=10)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    _save(figure, path)


def density(flat: np.ndarray, rows: int, columns: int, cells: int = 64) -> np.ndarray:
    """The share 0..1 of each cell's weights that are in ``flat``, at most ``cells`` x ``cells``.

    Small matrices get fewer cells, so that a cell holds 16 weights or more and its share is not mere chance.
    """
    down, across = (max(1, min(cells, size // 4)) for size in (rows, columns))
    row, column = np.divmod(np.asarray(flat), columns)
    cell = (row * down // rows) * across + column * across // columns
    held = np.bincount(cell, minlength=down * across).reshape(down, across)
    height = np.bincount(np.arange(rows) * down // rows, minlength=down)
    breadth = np.bincount(np.arange(columns) * across // columns, minlength=across)
    share: np.ndarray = held / np.outer(height, breadth)
    return share


def _place(name: str) -> tuple[int, str] | None:
    """``model.layers.3.self_attn.q_proj.weight`` -> (3, "q"); ``None`` outside the layers."""
    match = re.search(r"(?:^|\.)(?:layers|h)\.(\d+)\.(.+?)(?:\.weight)?$", name)
    return (int(match[1]), _MATRICES.get(match[2], match[2])) if match else None


def _save(figure: Figure, path: Path | str) -> None:
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
