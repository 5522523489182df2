"""What noise in the text did, what the monitor caught of it, and where the weights moved."""

from collections.abc import Mapping, Sequence
from functools import partial

from lightning_langcore.reports.blocks import (
    Block,
    Cells,
    Column,
    Style,
    Text,
    cell,
    number_columns,
    table,
    text_column,
)
from lightning_langcore.reports.cells import (
    MASKED,
    monitor_counts,
    monitor_shares,
    recovery_level,
    recovery_text,
)
from lightning_langcore.reports.pictures import picture_if_any
from lightning_langcore.reports.sections.sweeps import CellText, swept
from lightning_langcore.results import trajectories
from lightning_langcore.results.conditions import Condition, labels
from lightning_langcore.results.effects import Series, clean_partners, spread_of, sweep
from lightning_langcore.results.number_format import ABSENT, count, number, range_text, share, times
from lightning_langcore.results.record import Results

_MOST_PLACES = 5  # rows, columns and weights of norms, for each condition
_MONITOR_CAPTION = (
    "Added up over seeds. Tagged are the documents that noise was put into, caught those of them that were in a"
    " flagged step; a false alarm is a flagged step without any."
)
_PHASES_CAPTION = "Perplexity over the base's: before the noise / at worst during it / at the end, with the most noise."
_UNKNOWN = " / ".join([ABSENT] * len(trajectories.Phases._fields))

Sweep = Mapping[Condition, Series]


def noise(runs: Sequence[Results]) -> list[Block]:
    """Pictures and tables of runs with noise, beside those without."""
    found = sweep(runs, "noise.rate")
    if not found:
        return []
    from lightning_langcore.plots.trajectories import noise_trajectories

    between = next(filter(None, map(trajectories.shares, _runs(found))), None)

    def worst(own: Sequence[Results]) -> str:
        return range_text(spread_of(own, partial(_phase, name="during", between=between)), times)

    clean = clean_partners(runs)
    level = recovery_level([run for run in _runs(found) if trajectories.shares(run)], clean)
    more: dict[str, CellText] = {
        "worst during the noise": worst,
        f"documents until back within 1 % of {level}": partial(recovery_text, clean=clean),
    }
    return [
        *swept(runs, "noise.rate", "share with noise", more),
        *picture_if_any(lambda file: noise_trajectories(runs, file), "perplexity while noise comes and goes"),
        *_monitors(found),
        *_by_language(found),
        *_moved(found),
    ]


def _runs(found: Sweep) -> list[Results]:
    return [run for series in found.values() for own in series.values() for run in own]


def _phase(
    run: Results,
    name: str,
    between: tuple[float, float] | None = None,
    languages: Sequence[str] | None = None,
) -> float | None:
    """One of the :class:`~lightning_langcore.results.trajectories.Phases`, nats per token above the base."""
    found = trajectories.phases(run, trajectories.shares(run) or between, languages)
    return getattr(found, name) if found else None


def _monitors(found: Sweep) -> list[Block]:
    named = labels(found)
    masked = monitor_counts(_runs(found))["masked_rows"] > 0
    names = {"steps": "steps", "tagged": "tagged", "caught": "caught", "flagged": "steps flagged"}
    names |= {"skipped": "steps skipped"} | ({"masked_rows": "rows masked"} if masked else {})
    rows = []
    for condition, series in found.items():
        for value, own in series.items():
            counts = monitor_counts(own)
            if counts["steps"]:
                numbers = [count(counts[name]) for name in names]
                rows.append([named[condition], share(value), *numbers, *monitor_shares(counts)])
    if not rows:
        return []
    heads = ["share with noise", *names.values(), "recall", "precision", "false alarms per clean step"]
    columns = [text_column("region and text"), *number_columns(heads)]
    caption = f"{_MONITOR_CAPTION} {MASKED}" if masked else _MONITOR_CAPTION
    return [table(columns, rows, title="What the monitor caught", caption=caption)]


def _by_language(found: Sweep) -> list[Block]:
    """Before, at worst during, and after the most noise, language by language."""
    most = {label: max(found[condition]) for condition, label in labels(found).items()}
    groups = [found[condition][most[label]] for condition, label in labels(found).items()]
    languages = dict.fromkeys(row["lang"] for own in groups for run in own for row in run.perplexity)
    rows: list[Cells] = [[Text(lang, Style.STRONG), *(_phases_text(own, lang) for own in groups)] for lang in languages]
    if all(text == _UNKNOWN for _, *texts in rows for text in texts):
        return []
    columns = [text_column("lang"), *(Column(cell(label, share(value))) for label, value in most.items())]
    return [table(columns, rows, title="Before, during and after", caption=_PHASES_CAPTION)]


def _phases_text(runs: Sequence[Results], lang: str) -> str:
    phases = (spread_of(runs, partial(_phase, name=name, languages=[lang])) for name in trajectories.Phases._fields)
    return " / ".join(times(value.mean) if value else ABSENT for value in phases)


def _moved(found: Sweep) -> list[Block]:
    """What moved most with the most noise, beside the same without noise where there are such runs."""
    named = labels(found)
    rows: list[Cells] = [
        [named[condition], share(value), *cells]
        for condition, series in found.items()
        for value in dict.fromkeys((min(series), max(series)))
        for cells in _places(series[value])
    ]
    if not rows:
        return []
    columns = [
        text_column("region and text"),
        *number_columns(("share with noise",)),
        *map(text_column, ("parameter", "row or column")),
        *number_columns(("mean relative change", "over the parameter's", "named in")),
    ]
    title = "The rows, columns and weights of norms that moved most, over the mean of their own parameter"
    return [table(columns, rows, title=title)]


def _places(runs: Sequence[Results]) -> list[Cells]:
    """Cells for the rows and columns that most seeds name, then for those furthest beyond their parameter's mean."""
    own = [run for run in runs if run.moved]
    found: dict[tuple[str, str, int], list[Mapping[str, float]]] = {}
    for run in own:
        for moved in run.moved:
            found.setdefault((moved["name"], moved["axis"], moved["index"]), []).append(moved)
    means = {
        place: [sum(one.get(key) or 0.0 for one in some) / len(some) for key in ("ratio", "relative")]
        for place, some in found.items()
    }
    ordered = sorted(found, key=lambda place: (-len(found[place]), *(-mean for mean in means[place]), place))
    cells: list[Cells] = []
    for name, axis, index in ordered[:_MOST_PLACES]:
        ratio, relative = means[name, axis, index]
        far = [share(relative), number(ratio or None)]
        seeds = f"{len(found[name, axis, index])} of {len(own)}"
        cells.append([Text(name, Style.CODE), f"{axis} {count(index)}", *far, seeds])
    return cells
