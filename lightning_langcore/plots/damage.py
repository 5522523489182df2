"""Bars of the perplexity right after a perturbation, before any training.

Colours are kinds of regions. Hatched bars are regions without the outliers of the model (massive-activation dimensions
and super weights), or further regions of the same colour.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_langcore.plots.style import LARGEST, colours, perplexity_axis, root_kind, save, tidy
from lightning_langcore.results.conditions import Condition, Point, labels, points, spread
from lightning_langcore.results.record import Results
from lightning_langcore.utils.errors import LangcoreError

_WIDEST = 15.0  # inches; further languages go to the next row of the panel
_BAR = 0.085  # inches, the thinnest bar on which a hatch can be seen
_HATCHES = ("\\\\\\", "xxx", "...", "+++")

Bars = Mapping[str, Sequence[Point]]
Styles = Mapping[str, Mapping[str, Any]]


def damage_bars(runs: Sequence[Results], path: Path | str) -> None:
    """Test perplexity right after the perturbation: one group of bars per language, with base and each kind of region.

    One panel for each combination of model, fraction, method and strength, in several rows if there are too many
    languages for one. Thin lines are the range over seeds. A bar that is not finite reaches the upper edge and has an
    infinity sign.

    Args:
        runs: the runs, as :func:`lightning_langcore.results.record.load_runs` reads them.
        path: the file; its suffix gives the format.

    Raises:
        LangcoreError: no run has test rows of stage perturbed.

    Example:
        >>> from lightning_langcore.plots import damage_bars
        >>> from lightning_langcore.results.record import Results
        >>> same = {"lang": "en", "split": "test", "seed": 0, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
        >>> run = Results("run", experiment="recovery_frozen", seed=0, model={"name": "tiny"}, region={"kind": "core"})
        >>> for stage, samples, nats in [("base", 0, 2.5), ("perturbed", 0, 8.0), ("final", 900, 4.0)]:
        ...     run.add(same | {"stage": stage, "samples": samples, "nats_per_token": nats})
        >>> damage_bars([run], "damage.png")
    """
    panels = perturbed_points(points(runs))
    if not panels:
        raise LangcoreError("damage_bars: no run has test rows of stage perturbed")
    every = [point for bars in panels.values() for own in bars.values() for point in own]
    languages = list(dict.fromkeys(point.lang for point in every))
    group = _BAR * (max(len(bars) for bars in panels.values()) + 1.2)  # inches per language, with the gap
    chunks = _chunks(languages, max(1, int(_WIDEST / group)))
    width = max(6.4, 1.2 + group * len(chunks[0]))
    num_rows = len(panels) * len(chunks)
    figure = Figure(figsize=(width, 1.2 + (3.1 if num_rows < 3 else 2.2) * num_rows), layout="constrained")
    grid = figure.subplots(num_rows, 1, sharey=True, squeeze=False)[:, 0]
    styles = _styles(panels.values())
    handles: dict[str, Any] = {}
    for row, axes in enumerate(grid):
        panel, chunk = divmod(row, len(chunks))
        title, bars = list(panels.items())[panel]
        perplexity_axis(axes, every, margin=1.3, bottom=1.0)
        own = _damage_panel(axes, bars, styles, chunks[chunk], (width - 0.8) / (len(chunks[0]) + 0.2))
        handles |= own
        axes.set_xlim(-0.6, len(chunks[0]) - 0.4)
        if chunk == 0:
            axes.set_title(title, fontsize=11, loc="left", fontweight="bold", pad=12)
    figure.supylabel("test perplexity (log)", fontsize=11)
    figure.suptitle("right after the perturbation", fontsize=11)
    longest = max(len(label) for label in handles)
    columns = max(1, min(len(handles), int(width / (0.75 + 0.085 * longest))))
    style = {"frameon": False, "fontsize": 10, "handlelength": 2.4, "handleheight": 1.2}
    handles = {label: handles[label] for label in styles if label in handles}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=columns, **style)
    save(figure, path)


def _chunks(languages: Sequence[str], most: int) -> list[Sequence[str]]:
    """Split into as few parts as possible, of nearly equal length and at most ``most`` languages each."""
    size = math.ceil(len(languages) / math.ceil(len(languages) / most))
    return [languages[start : start + size] for start in range(0, len(languages), size)]


def _styles(panels: Iterable[Bars]) -> dict[str, dict[str, Any]]:
    """Colour and hatch of each label: the same in every panel."""
    kinds = {
        label: "base" if label == "base" else own[0].condition.kind
        for bars in panels
        for label, own in bars.items()
        if own
    }
    colour = colours(kinds.values())
    styles: dict[str, dict[str, Any]] = {}
    seen: dict[str, int] = {}
    for label, kind in kinds.items():
        if kind != root_kind(kind):
            hatch: str | None = "///"
        else:
            number = seen.get(colour[kind], 0)
            hatch = _HATCHES[(number - 1) % len(_HATCHES)] if number else None
            seen[colour[kind]] = number + 1
        styles[label] = {"color": colour[kind], "hatch": hatch}
    return styles


def _damage_panel(axes: Axes, bars: Bars, styles: Styles, languages: Sequence[str], inches: float) -> dict[str, Any]:
    """Draw one row of a panel, with ``inches`` per language; return the legend's handles by label."""
    handles: dict[str, Any] = {}
    width = 0.84 / len(bars)
    top = axes.get_ylim()[1]
    sign: dict[str, Any] = {
        "ha": "center",
        "va": "bottom",
        "fontsize": min(11.0, 72 * inches * width),
        "fontweight": "bold",
    }
    for position, (label, own) in enumerate(bars.items()):
        for place, lang in enumerate(languages):
            value = spread(point for point in own if point.lang == lang)
            if value is None:
                continue
            x = place + (position + 0.5) * width - 0.42
            height = math.exp(value.mean) if value.mean < LARGEST else top
            drawn = axes.bar(x, height, width * 0.92, edgecolor="white", linewidth=0, **styles[label])
            handles.setdefault(label, drawn)
            if value.mean >= LARGEST:
                axes.text(x, top, "∞", color=styles[label]["color"], **sign)
            elif value.low < value.high:
                ends = [math.exp(min(end, LARGEST)) for end in (value.low, value.high)]
                axes.plot([x, x], ends, color="black", linewidth=0.9)
    axes.set_xticks(range(len(languages)), languages)
    tidy(axes, grid="y")
    axes.tick_params(axis="x", length=0)
    return handles


def perturbed_points(found: Sequence[Point]) -> dict[str, dict[str, list[Point]]]:
    """Points of stages base and perturbed by setting (fraction, method, strength, model), then by kind of region.

    Runs with a frozen and with a free region are merged, because they are equal before the first step.

    Args:
        found: the points, as of :func:`lightning_langcore.results.conditions.points`.

    Example:
        >>> from lightning_langcore.plots import perturbed_points
        >>> from lightning_langcore.results.record import Results
        >>> same = {"lang": "en", "split": "test", "seed": 0, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
        >>> run = Results("run", experiment="recovery_frozen", seed=0, model={"name": "tiny"}, region={"kind": "core"})
        >>> for stage, samples, nats in [("base", 0, 2.5), ("perturbed", 0, 8.0), ("final", 900, 4.0)]:
        ...     run.add(same | {"stage": stage, "samples": samples, "nats_per_token": nats})
        >>> from lightning_langcore.results.conditions import points
        >>> [by_kind] = perturbed_points(points([run])).values()
        >>> {kind: [point.nats for point in found] for kind, found in by_kind.items()}
        {'base': [2.5], 'core': [8.0]}
    """
    merged = [point._replace(condition=point.condition._replace(frozen=None, data=None)) for point in found]
    panels: dict[Condition, list[Condition]] = {}
    for condition in {point.condition: None for point in merged if point.stage == "perturbed"}:
        panels.setdefault(condition._replace(kind="none", score=None), []).append(condition)
    table: dict[str, dict[str, list[Point]]] = {}
    for setting, title in labels(panels).items():
        conditions = panels[setting]
        base = [point for point in merged if point.stage == "base" and point.condition in conditions]
        rank = {"random": 0, "peripheral": 1, "core": 3}
        named = sorted(labels(conditions).items(), key=lambda item: rank.get(root_kind(item[0].kind), 2))
        bars = {"base": base} if base else {}
        for condition, label in named:
            bars[label] = [point for point in merged if point.stage == "perturbed" and point.condition == condition]
        table[title.removeprefix("no region").strip(" ()")] = bars
    return table
