"""The result of a training as a function of a setting of its text: ratio of the mix, epochs, share of noise.

Colours are kinds of regions, line styles frozen or free, markers the other settings of conditions, as in the recovery
curves.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lightning_langcore.plots.axes import (
    Curve,
    NothingToDrawError,
    add_legend,
    draw_curve,
    drawable,
    plain,
    ratio_axis,
    setting_axis,
)
from lightning_langcore.plots.recovery import condition_style
from lightning_langcore.plots.style import GREY, percent, save, tidy
from lightning_langcore.results import trajectories
from lightning_langcore.results.conditions import Condition, Spread, labels
from lightning_langcore.results.effects import (
    Series,
    change,
    drift,
    on_conversations,
    setting,
    spread_of,
    sweep,
    target_name,
)
from lightning_langcore.results.record import Results

SETTINGS = {
    "ratio": "general tokens to one of the target",
    "epochs": "epochs",
    "noise.rate": "share of the documents with noise",
}
_TITLES = {"target": "trained on", "others": "other languages", "answers": "held-out answers"}
_CONVERSATION_TITLES = {"answers": "held-out answers", "target": "general text", "others": "general text, others"}
_PARTS = {"region": "inside the region", "rest": "all other weights"}

Measure = Callable[[Results], float | None]


def response_curves(runs: Sequence[Results], key: str, path: Path | str) -> None:
    """Ratio of final to base perplexity against a setting of the text, one line per condition; above 1 is a loss.

    One panel shows the languages that were trained on by name, and one all other languages. After fine-tuning on
    conversations the first panel shows held-out answers, and the others show general text. With noise, one more panel
    shows the worst milestone during the noise, over all languages. Each value is a geometric mean over languages and
    seeds; the band is the range over seeds. A ratio that is not finite is an infinity sign at the upper edge.

    Args:
        runs: the runs; those without the setting are left out.
        key: ``ratio``, ``epochs`` or ``noise.rate``.
        path: the PNG file.

    Raises:
        NothingToDrawError: no run changed the setting.

    Example:
        >>> from lightning_langcore.plots import response_curves
        >>> from lightning_langcore.results.record import Results
        >>> same = {"split": "test", "seed": 0, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
        >>> part = {"source": "zh", "language": "zh", "kind": "text", "tokens": 900}
        >>> runs = [Results("run", experiment="sft_epochs", seed=0, model={"name": "tiny"}) for _ in range(2)]
        >>> for number, run in enumerate(runs):
        ...     run.status = "completed"
        ...     run.data = {"target": ["zh"], "parts": [part], "epochs": 1.0 + number}
        ...     for stage, samples in [("base", 0), ("training", 300), ("final", 900)]:
        ...         for lang, change in [("zh", -0.001), ("en", 0.0005 * number)]:
        ...             row = {"stage": stage, "samples": samples, "lang": lang}
        ...             run.add(same | row | {"nats_per_token": 3 + change * samples})
        >>> response_curves(runs, "epochs", "response.png")
    """
    swept = [run for series in sweep(runs, key).values() for own in series.values() for run in own]
    titles = dict(_CONVERSATION_TITLES if swept and all(map(on_conversations, swept)) else _TITLES)
    name = target_name(swept)
    titles["target"] += f" ({name})" if name else ""
    measures: dict[str, Measure] = {titles[group]: partial(change, group=group) for group in titles}
    if key == "noise.rate":
        between = next(filter(None, map(trajectories.shares, swept)), None)
        measures["all, worst during the noise"] = partial(_worst, between=between)

    def finish_axes(axes: Axes, values: Iterable[Spread]) -> None:
        ratio_axis(axes, values)

    _draw(runs, key, measures, drawable, finish_axes, "test perplexity, final / base (log)", path)


def drift_curves(runs: Sequence[Results], key: str, path: Path | str) -> None:
    """Mean relative change of weights inside and outside the region against a setting of the text, by condition.

    Args:
        runs: the runs; those without the setting are left out.
        key: ``ratio``, ``epochs`` or ``noise.rate``.
        path: the file; its suffix gives the format.

    Raises:
        NothingToDrawError: no run changed the setting and measured the drift of the weights.

    Example:
        >>> from lightning_langcore.plots import drift_curves
        >>> from lightning_langcore.results.record import Results
        >>> same = {"split": "test", "seed": 0, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
        >>> part = {"source": "zh", "language": "zh", "kind": "text", "tokens": 900}
        >>> runs = [Results("run", experiment="sft_epochs", seed=0, model={"name": "tiny"}) for _ in range(2)]
        >>> for number, run in enumerate(runs):
        ...     run.status = "completed"
        ...     run.data = {"target": ["zh"], "parts": [part], "epochs": 1.0 + number}
        ...     for stage, samples in [("base", 0), ("training", 300), ("final", 900)]:
        ...         for lang, change in [("zh", -0.001), ("en", 0.0005 * number)]:
        ...             row = {"stage": stage, "samples": samples, "lang": lang}
        ...             run.add(same | row | {"nats_per_token": 3 + change * samples})
        ...     run.drift = [{"samples": 900, "region": 0.0, "rest": 0.1 * number}]
        >>> drift_curves(runs, "epochs", "drift.png")
    """

    def finish_axes(axes: Axes, values: Iterable[Spread]) -> None:
        axes.set_ylim(0, 1.08 * max((value.high for value in values), default=0) or 1)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))

    measures: dict[str, Measure] = {title: partial(drift, where=where) for where, title in _PARTS.items()}
    _draw(runs, key, measures, plain, finish_axes, "mean relative change of a weight", path)


def _worst(run: Results, between: tuple[float, float] | None) -> float | None:
    found = trajectories.phases(run, trajectories.shares(run) or between)
    return found.during if found else None


def _draw(
    runs: Sequence[Results],
    key: str,
    measures: Mapping[str, Measure],
    height: Callable[[float], float],
    finish_axes: Callable[[Axes, Iterable[Spread]], None],
    label: str,
    path: Path | str,
) -> None:
    """Draw a panel for each measure that some run has, all with the same axes."""
    lines = sweep(runs, key)
    panels: dict[str, dict[Condition, Curve]] = {}
    for title, measured in measures.items():
        curves = {condition: _curve(series, key, measured) for condition, series in lines.items()}
        if any(curves.values()):
            panels[title] = {condition: curve for condition, curve in curves.items() if curve}
    if not panels:
        raise NothingToDrawError(f"no run changed the setting {key} of its text and measured what that did")
    named = labels(lines)
    figure = Figure(figsize=(1.2 + 3.5 * max(len(panels), 1.5), 4.1), layout="constrained")
    grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, curves) in zip(grid, panels.items(), strict=True):
        for condition in reversed([condition for condition in named if condition in curves]):
            draw_curve(axes, curves[condition], condition_style(condition, named), height)
        axes.set_title(title, fontsize=11, fontweight="bold", pad=6)
        tidy(axes)
    values = [value for curves in panels.values() for curve in curves.values() for _, value in curve]
    for axes in grid:
        finish_axes(axes, values)
    ticks = [value for series in lines.values() for value in series]
    setting_axis(grid[0], ticks, key)
    figure.supxlabel(SETTINGS[key], fontsize=11)
    figure.supylabel(label, fontsize=11)
    shown = [condition for condition in named if any(condition in curves for curves in panels.values())]
    handles = [Line2D([], [], **condition_style(condition, named), label=named[condition]) for condition in shown]
    if height is drawable:
        handles.append(Line2D([], [], color=GREY, linewidth=1, label="intact base"))
    add_legend(figure, handles)
    save(figure, path)


def _curve(series: Series, key: str, measured: Measure) -> Curve:
    curve: list[tuple[float, Spread]] = []
    for own in series.values():
        value = spread_of(own, measured)
        if value is not None:
            places: list[Any] = [setting(run, key) for run in own]
            curve.append((sum(places) / len(places), value))
    return curve
