"""A report on any set of runs: a table for the terminal, and one self-contained HTML page."""

import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from lightning_langcore import plots
from lightning_langcore.reports.config_diff import config_differences
from lightning_langcore.reports.console import of_single_weights, print_table, table
from lightning_langcore.reports.html import PAGE, html_table, image, picture
from lightning_langcore.reports.sections import sections, text_section
from lightning_langcore.reports.sentences import sentences
from lightning_langcore.results.conditions import Condition, Spread, points, points_by_run, spread
from lightning_langcore.results.cost_of_freezing import FreezingCost, cost_of_freezing, summary
from lightning_langcore.results.effects import adapted, responds, stopped, sweep
from lightning_langcore.results.number_format import exp, number, spread_text
from lightning_langcore.results.perplexity_table import lines
from lightning_langcore.results.record import Results, load_runs
from lightning_langcore.utils.atomic_files import write_text

__all__ = ["config_differences", "print_table", "table", "write_html"]

_MOST_ROWS = 60  # of a table that is open at once
_MAX_CONDITIONS = 6  # in one picture of every language


def write_html(runs: Sequence[Path | str | Results], path: Path | str, passed_over: Sequence[str] = ()) -> Path:
    """Write one self-contained page on ``runs``: no script, no file beside it, pictures inside.

    Args:
        runs: results, or folders that hold runs at or below them.
        path: the page; links to the run folders are relative to it.
        passed_over: a sentence for each run that could not be read.

    Raises:
        ValueError: there is no run in ``runs``, or none can be read.
    """
    path = Path(path)
    loaded = [run for run in runs if isinstance(run, Results)]
    folders = [run for run in runs if not isinstance(run, Results)]
    if folders:
        found, broken = load_runs(folders)
        loaded, passed_over = [*loaded, *found], [*passed_over, *broken]
    if not loaded:
        raise ValueError("report: no runs given")
    regional = [run for run in loaded if not of_single_weights(run)]
    intact = [run for run in regional if responds(run)]  # trained on a known text without damage
    others = [run for run in regional if not responds(run) and not stopped(run)]
    shown = [
        ("In short", _short_html(loaded, passed_over)),
        ("What was run", _runs_html(loaded, path.parent)),
        *sections(intact),
        ("Frozen against free", _lines_html(others) if others else ""),
        ("Language by language", _languages_html(intact)),
        ("The price of freezing", _costs_html(_with_cost(regional))),
        ("Recovery", _recovery_html(others)),
        ("Damage before training", _damage_html(regional)),
        ("Where regions lie, and what single languages and weights do", _regions_html(loaded)),
        ("The text that was read", text_section(loaded)),
        ("What differs in the configs", _differences_html(loaded)),
    ]
    body = "".join(f"<section><h2>{title}</h2>{content}</section>\n" for title, content in shown if content)
    experiments = ", ".join(dict.fromkeys(run.experiment for run in loaded))
    write_text(path, PAGE.substitute(title=escape(experiments), body=body))
    return path


def _runs_html(runs: Sequence[Results], start: Path) -> str:
    rows = []
    for position, run in enumerate(runs, 1):
        link = quote(os.path.relpath(run.folder, start).replace(os.sep, "/"))
        status = f'<b class="{"ok" if run.status == "completed" else "bad"}">{escape(str(run.status))}</b>'
        status += f'<div class="error">{escape(run.error)}</div>' if run.error else ""
        name = f'<a href="{escape(link)}/">{escape(run.folder.resolve().name)}</a>'
        cells = [str(position), name, escape(run.experiment), status, _region_text(run), _guard_text(run)]
        weights = run.model.get("num_weights")
        model = escape(str(run.model.get("name", "–"))) + (f"<br>{weights:,} weights" if weights else "")
        seconds = run.seconds.get("total")
        rows.append([*cells, model, str(run.seed), "–" if seconds is None else f"{seconds:,.0f}"])
    head = ["#", "folder", "experiment", "status", "region", "frozen", "model", "seed", "seconds"]
    return html_table(head, rows, "tttttttnn")


def _repeats(runs: Sequence[Results]) -> list[str]:
    """A warning where runs that the tables call one arm and seed were in truth several."""
    owners: dict[tuple[Condition, int], set[int]] = {}
    for position, (run, found) in enumerate(zip(runs, points_by_run(runs), strict=True), 1):
        for point in [] if of_single_weights(run) else found:
            if point.stage != "base":
                owners.setdefault((point.condition, point.seed), set()).add(position)
    groups = dict.fromkeys(tuple(sorted(group)) for group in owners.values() if len(group) > 1)
    told = "; ".join(", ".join(f"#{position}" for position in group) for group in groups)
    note = "Runs with the same region, setting and seed are averaged, though their configs may differ in other ways"
    return [f"{note}: {told}."] if told else []


def _region_text(run: Results) -> str:
    region = run.region or {}
    what = [str(region[key]) for key in ("kind", "score") if key in region]
    size = [f"{100 * region['fraction']:g} %"] if "fraction" in region else []
    size += [f"{region['num_weights']:,} weights"] if "num_weights" in region else []
    return "<br>".join(escape(", ".join(parts)) for parts in (what, size) if parts) or "–"


def _guard_text(run: Results) -> str:
    if run.guard is None:
        return "–"
    drift = run.guard.get("max_abs_drift", math.inf)
    held = "not moved" if drift == 0 else f'<b class="bad">moved by up to {number(drift)}</b>'
    if run.status != "completed":
        held = "not known: unfinished" if math.isinf(drift) else f"{held} until it ended, unfinished"
    return f"{run.guard.get('num_frozen', 0):,} weights<br>{held}"


def _lines_html(runs: Sequence[Results]) -> str:
    found = lines(runs)
    if not found:
        return "<p>No test rows yet.</p>"
    if not any(line.final for line in found):
        return "<p>Nothing was trained.</p>" if any(line.perturbed for line in found) else ""
    rows, before = [], None
    intact = all(map(responds, runs))
    for line in found:
        perturbed = [] if intact else [spread_text(line.perturbed)]
        cells = (line.label, spread_text(line.base), *perturbed, line.final_text(), line.seeds)
        rows.append(["" if line.lang == before else f"<b>{escape(line.lang)}</b>", *map(escape, cells)])
        before = line.lang
    note = "<p>Test perplexity; over several seeds the geometric mean and the range.</p>"
    head = ["lang", "region", "base", *([] if intact else ["damaged"]), "final", "seeds"]
    made = html_table(head, rows, "tt" + "n" * (len(head) - 2))
    if intact and len(rows) > _MOST_ROWS:
        made = f"<details><summary>{len(rows)} rows</summary>{made}</details>"
    return note + made


def _languages_html(runs: Sequence[Results]) -> str:
    """Every language of runs that trained an intact model: a picture of few arms, and the table."""
    if not runs:
        return ""
    few = len({point.condition for point in points(runs)}) <= _MAX_CONDITIONS
    return (_recovery_html(runs) if few else "") + _lines_html(runs)


def _with_cost(runs: Sequence[Results]) -> list[Results]:
    """Without the runs whose gain and loss, or response to noise, say what freezing costs, and those that stopped."""
    noisy = (run for series in sweep(runs, "noise.rate").values() for own in series.values() for run in own)
    told = set(map(id, [*adapted(runs), *noisy, *filter(stopped, runs)]))
    return [run for run in runs if id(run) not in told]


def _groups(runs: Sequence[Results]) -> dict[str, list[FreezingCost]]:
    groups: dict[str, list[FreezingCost]] = {}
    for cost in cost_of_freezing(runs):
        groups.setdefault(cost.what, []).append(cost)
    return groups


def _short_html(runs: Sequence[Results], passed_over: Sequence[str]) -> str:
    """What a reader needs first: the comparisons in a sentence each, and what to be careful about."""
    unfinished = sum(run.status != "completed" for run in runs)
    moved = sum(_moved(run) for run in runs)
    warnings = [escape(sentence) for sentence in passed_over]
    warnings += [f"{unfinished} of {len(runs)} runs did not finish."] if unfinished else []
    if moved:
        warnings.append(f"In {moved} of {len(runs)} runs the frozen weights moved: these runs are no evidence.")
    warnings += _repeats(runs)
    intact = [run for run in runs if responds(run) and not of_single_weights(run)]
    said = [*sentences(intact), *(summary(group) for group in _groups(_with_cost(runs)).values())]
    told = "".join(f"<li>{escape(sentence)}</li>" for sentence in said)
    told += "".join(f"<li>{escape(note)}</li>" for note in dict.fromkeys(note for run in runs for note in run.notes))
    return "".join(f'<p class="warn">{warning}</p>' for warning in warnings) + (f"<ul>{told}</ul>" if told else "")


def _moved(run: Results) -> bool:
    """Whether guarded weights did; a completed run that has no number for it had one that was not finite."""
    unknown = math.inf if run.status == "completed" else 0.0
    return run.guard is not None and run.guard.get("max_abs_drift", unknown) != 0


def _costs_html(runs: Sequence[Results]) -> str:
    groups = _groups(runs)
    if not groups and not any(point.stage in ("training", "final") for point in points(runs)):
        return ""
    if not groups and all(map(responds, runs)):
        return ""
    if not groups:
        return "<p>Nothing to compare yet: that takes a frozen and a free run, completed, of one region and seed.</p>"
    parts = ["<p>Ratio of the final test perplexities at equal seeds: 1 is no difference, above 1 freezing costs.</p>"]
    head = ["lang", "ratio", "range", "nats", "reading"]
    for what, group in groups.items():
        rows = []
        for cost in group:
            ends = f"{number(exp(cost.low))}–{number(exp(cost.high))}" if len(cost.nats) > 1 else "–"
            nats = f"{cost.mean:+.3f}" if math.isfinite(cost.mean) else number(cost.mean)
            cells = (cost.lang, number(cost.ratio), ends, nats, cost.reading())
            rows.append([escape(cell) for cell in cells])
        parts.append(f"<h3>{escape(what)}</h3>" + html_table(head, rows, "tnnnt"))
    return "\n".join(parts)


def _recovery_html(runs: Sequence[Results]) -> str:
    if not any(point.stage in ("training", "final") for point in points(runs)):
        return ""
    return picture(lambda file: plots.recovery_curves(runs, file), "recovery curves")


def _damage_html(runs: Sequence[Results]) -> str:
    parts = []
    for title, bars in plots.perturbed_points(points(runs)).items():
        languages = dict.fromkeys(point.lang for own in bars.values() for point in own)
        rows = []
        for lang in languages:
            values = {label: spread(point for point in own if point.lang == lang) for label, own in bars.items()}
            base = values.get("base")
            cells = [
                escape(spread_text(value)) + (f"<br>{_times(value, base)}" if label != "base" else "")
                for label, value in values.items()
            ]
            rows.append([f"<b>{escape(lang)}</b>", *cells])
        heading = f"<h3>{escape(title)}</h3>" if title else ""
        parts.append(heading + html_table(["lang", *map(escape, bars)], rows, "t" + "n" * len(bars)))
    if not parts:
        return ""
    bars_picture = picture(lambda file: plots.damage_bars(runs, file), "damage bars")
    note = "<p>Test perplexity right after the perturbation, and how many times the base's.</p>"
    return note + bars_picture + "".join(parts)


def _times(value: Spread | None, base: Spread | None) -> str:
    if value is None or base is None or math.isinf(base.mean):
        return ""
    return f"<small>× {number(exp(value.mean - base.mean))}</small>"


_PICTURES = ("region", "{kind}", "{kind}_lines", "{kind}_concentration", "overlap_*", "monolingual_*", "dimensions")


def _regions_html(runs: Sequence[Results]) -> str:
    """What the first run of each kind of region has drawn of where it lies and what it shares."""
    seen: dict[str, str] = {}
    for run in runs:
        kind = str((run.region or {}).get("kind", run.experiment))
        names = [pattern.format(kind=kind) for pattern in _PICTURES]
        files = [file for name in names for file in sorted((run.folder / "plots").glob(f"{name}.png"))]
        if kind not in seen and files:
            pictures = (image(file.read_bytes(), f"{kind}: {file.stem}") for file in dict.fromkeys(files))
            seen[kind] = f"<h3>{escape(kind)}</h3>" + "".join(pictures)
    return "".join(seen.values())


def _differences_html(runs: Sequence[Results]) -> str:
    found = config_differences([run.folder for run in runs])
    if not found:
        return ""
    rows = [[f"<code>{escape(key)}</code>", *map(escape, values)] for key, values in found.items()]
    return html_table(["key", *(f"#{position}" for position in range(1, len(runs) + 1))], rows, "t" * (len(runs) + 1))
