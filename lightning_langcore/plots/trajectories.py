"""Trajectories of trainings relative to their base: during noise, and over several epochs.

One panel per condition, with one line per value of the setting, from light to dark; runs without noise are grey.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lightning_langcore.plots.axes import Curve, NothingToDrawError, add_legend, draw_curve, plain, setting_text
from lightning_langcore.plots.recovery import milestones
from lightning_langcore.plots.style import COLOURS, GREY, PALE, colours, save, short, tidy
from lightning_langcore.results import trajectories
from lightning_langcore.results.conditions import Condition, Point, labels
from lightning_langcore.results.effects import clean_partners, responds, setting, spread_of, sweep
from lightning_langcore.results.record import Results

_MARKERS = "osD^vPX"


class _Ring(NamedTuple):
    """A marked point of a curve: the value of the setting, and x."""

    value: float
    x: float


class _Panel(NamedTuple):
    """The curves of a condition by the setting's value, the points to mark, and the noise window in documents."""

    curves: Mapping[float, Curve]
    rings: list[_Ring]
    noise: tuple[float, float] | None = None


def noise_trajectories(runs: Sequence[Results], path: Path | str) -> None:
    """Log perplexity above the base, mean over languages, against training documents; the noise window is shaded.

    A ring marks the recovery, the mean over the seeds that needed one: perplexity is within 1 % of that of the clean
    run, or, without a clean run, of its value before the noise; see
    :func:`~lightning_langcore.results.trajectories.time_to_recover`. There is no ring if a seed does not recover. The
    band is the range over seeds.

    Args:
        runs: the runs, as :func:`lightning_langcore.results.record.load_runs` reads them.
        path: the file; its suffix gives the format.

    Raises:
        NothingToDrawError: no run with noise was evaluated after its first step.

    Example:
        >>> from lightning_langcore.plots import noise_trajectories
        >>> from lightning_langcore.results.record import Results
        >>> same = {"split": "test", "seed": 0, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
        >>> part = {"source": "zh", "language": "zh", "kind": "text", "tokens": 900}
        >>> runs = [Results("run", experiment="noise", seed=0, model={"name": "tiny"}) for _ in range(2)]
        >>> for number, run in enumerate(runs):
        ...     run.status = "completed"
        ...     noise = {"kind": "repeat", "rate": 0.1 * number, "window": [0.2, 0.5]}
        ...     run.data = {"target": ["zh"], "parts": [part], "noise": noise}
        ...     for stage, samples in [("base", 0), ("training", 300), ("final", 900)]:
        ...         for lang, change in [("zh", -0.001), ("en", 0.0005 * number)]:
        ...             row = {"stage": stage, "samples": samples, "lang": lang}
        ...             run.add(same | row | {"nats_per_token": 3 + change * samples})
        >>> noise_trajectories(runs, "noise.png")
    """
    panels = {}
    recovery = partial(_recovery, clean=clean_partners([run for run in runs if responds(run)]))
    for condition, series in sweep(runs, "noise.rate").items():
        curves = {value: _joined(own, condition, trajectories.noise_trajectory) for value, own in series.items()}
        noisy = [run for own in series.values() for run in own if trajectories.window(run)]
        between = [trajectories.window(run) or (0.0, 0.0) for run in noisy]
        noise = (min(first for first, _ in between), max(last for _, last in between)) if between else None
        recoveries = {value: spread_of(own, recovery) for value, own in series.items() if value}
        rings = [_Ring(value, place.mean) for value, place in recoveries.items() if place and math.isfinite(place.high)]
        panels[condition] = _Panel({value: curve for value, curve in curves.items() if curve}, rings, noise)
    if not any(panel.curves for panel in panels.values()):
        raise NothingToDrawError("noise_trajectories: no run with noise was evaluated after its first step")
    texts = {0.0: "no noise"}
    _draw(panels, "noise.rate", texts, ("training documents", "back within 1 %"), path)


def _recovery(run: Results, clean: Mapping[int, Results]) -> float | None:
    """Documents at which the run has recovered; infinity: never; ``None``: no need to recover, or not known."""
    between, needed = trajectories.window(run), trajectories.time_to_recover(run, clean.get(id(run)))
    return between[1] + needed if between and needed else None


def validation_trajectories(runs: Sequence[Results], path: Path | str) -> None:
    """Log perplexity of held-out answers, else of validation text, above the base against epochs; rings mark the best.

    The mean over languages; the band is the range over seeds.

    Args:
        runs: the runs, as :func:`lightning_langcore.results.record.load_runs` reads them.
        path: the file; its suffix gives the format.

    Raises:
        NothingToDrawError: no run had several epochs and was evaluated on validation data.

    Example:
        >>> from lightning_langcore.plots import validation_trajectories
        >>> from lightning_langcore.results.record import Results
        >>> same = {"split": "validation", "seed": 0, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
        >>> part = {"source": "zh", "language": "zh", "kind": "text", "tokens": 900}
        >>> runs = [Results("run", experiment="noise", seed=0, model={"name": "tiny"}) for _ in range(2)]
        >>> for number, run in enumerate(runs):
        ...     run.status = "completed"
        ...     run.data = {"target": ["zh"], "parts": [part], "epochs": 3.0}
        ...     for stage, samples in [("base", 0), ("training", 300), ("final", 900)]:
        ...         for lang, change in [("zh", -0.001), ("en", 0.0005 * number)]:
        ...             row = {"stage": stage, "samples": samples, "lang": lang}
        ...             run.add(same | row | {"nats_per_token": 3 + change * samples})
        >>> validation_trajectories(runs[:1], "validation.png")
    """
    panels = {}
    for condition, series in sweep(runs, "epochs").items():
        curves, rings = {}, []
        for value, own in series.items():
            curve = _joined(own, condition, trajectories.validation)
            if len(curve) < 2 or not curve[-1][0]:
                continue
            scale = sum(setting(run, "epochs") for run in own) / len(own) / curve[-1][0]
            curves[value] = [(samples * scale, above) for samples, above in curve]
            best = min(curves[value], key=lambda point: point[1].mean)
            rings.append(_Ring(value, best[0]))
        panels[condition] = _Panel(curves, rings)
    if not any(panel.curves for panel in panels.values()):
        raise NothingToDrawError("validation_trajectories: no run had several epochs and a validation")
    _draw(panels, "epochs", {1.0: "1 epoch"}, ("epochs", "best"), path)


def _joined(
    runs: Sequence[Results], condition: Condition, measured: Callable[[Results], trajectories.Trajectory]
) -> Curve:
    """One curve over the seeds of a condition; their milestones may differ a little."""
    points = [
        Point(condition, run.seed, "training", samples, "", above) for run in runs for samples, above in measured(run)
    ]
    return milestones(points)


def _draw(
    panels: Mapping[Condition, _Panel], key: str, texts: Mapping[float, str], names: tuple[str, str], path: Path | str
) -> None:
    named = labels(panels)
    shown = {condition: panels[condition] for condition in named if panels[condition].curves}
    columns = min(3, len(shown)) if len(shown) != 4 else 2
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(1.0 + 3.9 * max(columns, 1.5), 0.9 + 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    values = sorted({value for panel in shown.values() for value in panel.curves})
    for axes, (condition, panel) in zip(grid.flat, shown.items(), strict=False):
        _panel(axes, panel, _styles(values, key, condition.kind))
        axes.set_title(named[condition], fontsize=10, fontweight="bold", pad=5, wrap=True)
    for position in range(len(shown), rows * columns):
        grid.flat[position].set_visible(False)
        grid.flat[position - columns].xaxis.set_tick_params(labelbottom=True)
    grid[0, 0].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    grid[0, 0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(round(value, 6))))
    figure.supxlabel(names[0], fontsize=11)
    figure.supylabel("log perplexity above the base\n(nats per token, mean over languages)", fontsize=10)
    kinds = list(dict.fromkeys(condition.kind for condition in shown))
    styles = _styles(values, key, kinds[0] if len(kinds) == 1 else "none")
    unit = " epochs" if key == "epochs" else ""
    handles = [
        Line2D([], [], **styles[value], label=texts.get(value, setting_text(value, key) + unit)) for value in values
    ]
    if any(panel.rings for panel in shown.values()):
        handles.append(Line2D([], [], **_RING, label=names[1]))
    if any(panel.noise for panel in shown.values()):
        handles.append(Line2D([], [], color=PALE, linewidth=8, label="noise"))
    add_legend(figure, handles)
    save(figure, path)


_RING: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 11,
    "markerfacecolor": "none",
    "markeredgecolor": COLOURS["base"],
    "markeredgewidth": 1.2,
}


def _styles(values: Sequence[float], key: str, kind: str) -> dict[float, dict[str, Any]]:
    """Line styles by value: shades of the kind's colour, darker for larger values; grey for no noise."""
    full = colours([kind])[kind]
    shades = LinearSegmentedColormap.from_list("doses", ["#FFFFFF", full])
    grown = [value for value in values if not (key == "noise.rate" and value == 0)]
    styles = {}
    for number, value in enumerate(values):
        place = grown.index(value) if value in grown else 0
        colour = to_hex(shades(0.4 + 0.6 * (place + 1) / len(grown))) if value in grown else GREY
        marker = _MARKERS[number % len(_MARKERS)]
        styles[value] = {"color": colour, "linewidth": 1.8, "marker": marker, "markersize": 3.5}
    return styles


def _panel(axes: Axes, panel: _Panel, styles: Mapping[float, Mapping[str, Any]]) -> None:
    if panel.noise:
        axes.axvspan(*panel.noise, color=PALE, linewidth=0, zorder=0)
    axes.axhline(0, color=GREY, linewidth=1, zorder=1)
    for value, curve in panel.curves.items():
        draw_curve(axes, curve, styles[value], plain)
    for ring in panel.rings:
        if ring.value in panel.curves:
            axes.plot([ring.x], [_height(panel.curves[ring.value], ring.x)], **_RING, zorder=4)
    tidy(axes)
    axes.tick_params(labelsize=9)


def _height(curve: Curve, x: float) -> float:
    """The height of the nearest point of the curve, because a ring marks a milestone."""
    return plain(min(curve, key=lambda point: abs(point[0] - x))[1].mean)
