"""Perplexity against the value that one weight is set to: one line per weight, and the intact base."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_langcore.plots.style import COLOURS, GREY, LARGEST, perplexity_axis, save, tidy
from lightning_langcore.results.conditions import Point, points
from lightning_langcore.results.record import Results
from lightning_langcore.utils.errors import LangcoreError

_COLUMNS = 3
_MARKERS = "osD^vPX"


class _Panel(NamedTuple):
    """One parameter: the points of each of its weights by index, one per value, and the intact base."""

    lines: dict[str, list[Point]]
    base: Point | None


def dimension_grid(runs: Sequence[Results], path: Path | str, roles: Mapping[str, str] | None = None) -> None:
    """Test perplexity against the value that a weight is set to: one panel per parameter, one line per weight.

    Perplexities are geometric means over languages and seeds. The grey line is the intact base; a value that is not
    finite is an infinity sign at the upper edge.

    Args:
        runs: runs with rows of method ``set`` for single weights, as ``model.layers.1.input_layernorm.weight[2100]``.
        path: the PNG file.
        roles: role of each variant for the legend; ``control`` is blue, every other role is orange.

    Raises:
        LangcoreError: no run has such rows.

    Example:
        >>> from lightning_langcore.plots import dimension_grid
        >>> from lightning_langcore.results.record import Results
        >>> same = {"samples": 0, "lang": "en", "split": "test", "seed": 0}
        >>> same |= {"bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
        >>> run = Results("run", experiment="perturb_dimension", seed=0, model={"name": "tiny"})
        >>> run.add(same | {"stage": "base", "nats_per_token": 2.5})
        >>> for value, nats in [(0.0, 6.0), (2.0, 3.0)]:
        ...     changed = {"variant": "model.norm.weight[21]", "method": "set", "strength": value}
        ...     run.add(same | changed | {"stage": "perturbed", "nats_per_token": nats})
        >>> dimension_grid([run], "dimension.png", {"model.norm.weight[21]": "massive"})
    """
    panels = _panels(points(runs))
    if not panels:
        raise LangcoreError("dimension_grid: no run has test rows of a weight that was set to a value")
    columns = 2 if len(panels) == 4 else min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(max(6.0, 3.6 * columns), 0.8 + 3.0 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    drawn = [point for panel in panels.values() for own in panel.lines.values() for point in own]
    drawn += [panel.base for panel in panels.values() if panel.base]
    perplexity_axis(grid[0, 0], drawn, margin=1.25)
    values = [point.condition.strength for point in drawn if point.condition.strength is not None]
    edge = 0.05 * (max(values) - min(values)) or 0.5
    grid[0, 0].set_xlim(min(values) - edge, max(values) + edge)  # a line without finite values does not set the limits
    models = {model for model, _ in panels}
    for axes, ((model, name), panel) in zip(grid.flat, panels.items(), strict=False):
        own = {place: (roles or {}).get(f"{name}{place}", "") for place in panel.lines}
        _draw(axes, panel, own)
        short = name.removeprefix("model.").removesuffix(".weight")
        axes.set_title(short if len(models) == 1 else f"{model}: {short}", fontsize=10, fontweight="bold")
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid.flat[len(panels) - columns : len(panels)]:
        axes.xaxis.set_tick_params(labelbottom=True)
    figure.supxlabel("the weight is set to", fontsize=11)
    figure.supylabel("test perplexity, geometric mean (log)", fontsize=11)
    save(figure, path)


def _panels(found: Iterable[Point]) -> dict[tuple[str | None, str], _Panel]:
    """Panels by (model, parameter), in the order of the runs."""
    groups: dict[tuple[str | None, str], dict[str, dict[float, list[Point]]]] = {}
    base: dict[tuple[str | None, str], list[Point]] = {}
    for point in found:
        condition = point.condition
        name, bracket, place = condition.kind.partition("[")
        if not bracket or condition.method != "set" or condition.strength is None:
            continue
        key = (condition.model, name)
        if point.stage == "base":
            base.setdefault(key, []).append(point)
        elif point.stage == "perturbed":
            groups.setdefault(key, {}).setdefault(bracket + place, {}).setdefault(condition.strength, []).append(point)
    panels = {}
    for key, places in groups.items():
        lines = {place: [_mean(values[value]) for value in sorted(values)] for place, values in places.items()}
        panels[key] = _Panel(lines, _mean(base[key]) if key in base else None)
    return panels


def _mean(own: Sequence[Point]) -> Point:
    return own[0]._replace(nats=math.fsum(point.nats for point in own) / len(own))


def _draw(axes: Axes, panel: _Panel, roles: Mapping[str, str]) -> None:
    if panel.base and panel.base.nats < LARGEST:
        axes.axhline(math.exp(panel.base.nats), color=GREY, linewidth=1, zorder=1, label="intact base")
    for number, (place, own) in enumerate(panel.lines.items()):
        colour = COLOURS["random" if roles[place] == "control" else "core"]
        values = [point.condition.strength for point in own]
        heights = [math.exp(point.nats) if point.nats < LARGEST else math.nan for point in own]
        label = f"{place} {roles[place]}".rstrip()
        style = {"color": colour, "marker": _MARKERS[number % len(_MARKERS)], "markersize": 4, "linewidth": 1.6}
        axes.plot(values, heights, label=label, zorder=3, **style)  # type: ignore[arg-type]
        for point in own:
            if point.nats >= LARGEST:
                at = (point.condition.strength, 0.99)
                place_of = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "top", "fontsize": 12}
                axes.annotate("∞", at, color=colour, **place_of)  # type: ignore[arg-type]
    tidy(axes)
    axes.tick_params(labelsize=9)
    axes.legend(frameon=False, fontsize=8, loc="best")
