"""The sections of a report on training without damage: adapting, mixing, epochs, noise, the text that was read."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path

from lightning_langcore import plots
from lightning_langcore.reports.cells import MASKED, back_text, cells, column_names, compared_with, monitored
from lightning_langcore.reports.html import html_table, picture
from lightning_langcore.results import trajectories
from lightning_langcore.results.conditions import Condition, data_labels, labels
from lightning_langcore.results.effects import Series, clean_partners, gain, loss, setting, spread_of, sweep, tradeoffs
from lightning_langcore.results.number_format import number, range_text, share, times
from lightning_langcore.results.record import Results

_MOST_LINES = 5  # of a matrix or norm, for each arm
_NOTE = "<p>Final test perplexity over the base's: a geometric mean over languages and seeds, and the range.</p>"

Extra = Callable[[Sequence[Results]], str]


def sections(runs: Sequence[Results]) -> list[tuple[str, str]]:
    """Title and HTML of each section; the HTML is empty where the runs have nothing for it."""
    return [
        ("Adapting: gain against loss", _adapting(runs)),
        ("What the mix did", _swept(runs, "ratio", "general to target", {"epochs": _epochs_text})),
        (
            "What epochs did",
            _swept(runs, "epochs", "epochs", {"validation best after": _best_epoch_text}) + _validation(runs),
        ),
        ("What noise did", _noise(runs)),
    ]


def _adapting(runs: Sequence[Results]) -> str:
    lines = tradeoffs(runs)
    if not lines:
        return ""
    named = labels(lines)
    rows = []
    for condition, series in lines.items():
        for fraction, own in series.items():
            size = share(fraction) if fraction else "–"
            values = (range_text(spread_of(own, measured), number) or "–" for measured in (gain, loss))
            rows.append([escape(named[condition]), size, *values, *_ratios(own), _seeds(own)])
    head = ["region and text", "fraction", "gain", "loss of the others", "ratio, new", "ratio, others", "seeds"]
    note = (
        "<p>Bits per byte on the test split: what the languages trained on gained, base minus final, and what others"
        " lost, final minus base, each the mean over languages; beside them the ratios of perplexity.</p>"
    )
    shown = _drawn(lambda file: plots.tradeoff_curves(runs, file), "gain against loss")
    return note + shown + html_table(head, rows, "tnnnnnn")


def _ratios(runs: Sequence[Results]) -> list[str]:
    found = cells(runs)
    return [found["trained on"] or "–", found["others"] or "–"]


def _seeds(runs: Sequence[Results]) -> str:
    return str(len({run.seed for run in runs}))


def _drawn(draw: Callable[[Path], None], what: str) -> str:
    try:
        return picture(draw, what)
    except plots.NothingToDrawError:
        return ""


def _swept(runs: Sequence[Results], key: str, name: str, extra: Mapping[str, Extra]) -> str:
    """Pictures of what a setting did to perplexity and to the weights, and a table."""
    lines = sweep(runs, key)
    if not lines:
        return ""
    shown = ""
    if any(len(series) > 1 for series in lines.values()):
        shown = _drawn(lambda file: plots.response_curves(runs, key, file), f"perplexity against {name}")
        shown += _drawn(lambda file: plots.drift_curves(runs, key, file), f"change of the weights against {name}")
    return _NOTE + shown + _table(lines, key, name, extra)


def _table(lines: Mapping[Condition, Series], key: str, name: str, extra: Mapping[str, Extra]) -> str:
    named = labels(lines)
    found = []
    for condition, series in lines.items():
        for value, own in series.items():
            told = cells(own) | {title: text(own) for title, text in extra.items()}
            size = share(value) if key == "noise.rate" else f"{value:g}"
            found.append((named[condition], size, told, _seeds(own)))
    shown = [title for title in found[0][2] if any(told[title] for _, _, told, _ in found)]
    rows, before = [], None
    for label, size, told, seeds in found:
        values = [told[title] or "–" for title in shown]
        rows.append(["" if label == before else f"<b>{escape(label)}</b>", *map(escape, (size, *values, seeds))])
        before = label
    heads = column_names(shown, _all(lines))
    return html_table(["region and text", name, *heads, "seeds"], rows, "t" + "n" * (len(shown) + 2))


def _epochs_text(runs: Sequence[Results]) -> str:
    return range_text(spread_of(runs, partial(setting, key="epochs")), number)


def _best_epoch_text(runs: Sequence[Results]) -> str:
    return range_text(spread_of(runs, trajectories.best_epoch), number)


def _validation(runs: Sequence[Results]) -> str:
    return _drawn(lambda file: plots.validation_trajectories(runs, file), "validation against epochs")


def _noise(runs: Sequence[Results]) -> str:
    lines = sweep(runs, "noise.rate")
    if not lines:
        return ""
    between = next(filter(None, (trajectories.shares(run) for run in _all(lines))), None)

    def worst(own: Sequence[Results]) -> str:
        value = spread_of(own, partial(_phase, phase="during", between=between))
        return range_text(value, times)

    noisy = [run for run in _all(lines) if trajectories.shares(run)]
    clean = clean_partners(runs)
    recovered = f"documents until back within 1 % of {compared_with(noisy, clean)}"
    extra: dict[str, Extra] = {"worst during the noise": worst, recovered: partial(back_text, clean=clean)}
    parts = [_swept(runs, "noise.rate", "share with noise", extra)]
    parts.append(_drawn(lambda file: plots.noise_trajectories(runs, file), "perplexity while noise comes and goes"))
    parts += [_monitors(lines), _by_language(lines), _moved(lines)]
    return "\n".join(parts)


def _all(lines: Mapping[Condition, Series]) -> list[Results]:
    return [run for series in lines.values() for own in series.values() for run in own]


def _phase(
    run: Results,
    phase: str,
    between: tuple[float, float] | None = None,
    languages: Sequence[str] | None = None,
) -> float | None:
    found = trajectories.phases(run, trajectories.shares(run) or between, languages)
    return getattr(found, phase) if found else None


def _monitors(lines: Mapping[Condition, Series]) -> str:
    named = labels(lines)
    masked = monitored(_all(lines))["masked_rows"] > 0
    told = ("steps", "tagged", "caught", "flagged", "skipped", *(["masked_rows"] if masked else []))
    rows = []
    for condition, series in lines.items():
        for value, own in series.items():
            counts = monitored(own)
            if counts["steps"]:
                numbers = [f"{counts[name]:,}" for name in told]
                shares = [
                    share(counts[name]) if name in counts else "–" for name in ("recall", "precision", "false alarms")
                ]
                rows.append([escape(named[condition]), share(value), *numbers, *shares])
    if not rows:
        return ""
    head = ["region and text", "share with noise", "steps", "tagged", "caught", "steps flagged", "steps skipped"]
    head += [*(["rows masked"] if masked else []), "recall", "precision", "false alarms per clean step"]
    note = (
        "<p>Added up over seeds. Tagged are the documents that noise was put into, caught those of them that were in a"
        " flagged step; a false alarm is a flagged step without any."
    )
    note += f" {MASKED}</p>" if masked else "</p>"
    return "<h3>What the monitor caught</h3>" + note + html_table(head, rows, "t" + "n" * (len(head) - 1))


def _by_language(lines: Mapping[Condition, Series]) -> str:
    """Before, at worst during, and after the most noise, language by language."""
    named = labels(lines)
    most = {named[condition]: (max(series), series[max(series)]) for condition, series in lines.items()}
    languages = dict.fromkeys(row["lang"] for _, own in most.values() for run in own for row in run.perplexity)
    rows = []
    for lang in languages:
        values = []
        for _, own in most.values():
            measured = (partial(_phase, phase=phase, languages=[lang]) for phase in trajectories.Phases._fields)
            three = (spread_of(own, one) for one in measured)
            values.append(" / ".join(times(value.mean) if value else "–" for value in three))
        rows.append([f"<b>{escape(lang)}</b>", *values])
    if not any(cell != "– / – / –" for row in rows for cell in row[1:]):
        return ""
    note = "<p>Perplexity over the base's: before the noise / at worst during it / at the end, with the most noise.</p>"
    head = ["lang", *(f"{escape(label)}<br>{share(value)}" for label, (value, _) in most.items())]
    return "<h3>Before, during and after</h3>" + note + html_table(head, rows, "t" + "n" * len(most))


def _moved(lines: Mapping[Condition, Series]) -> str:
    """The lines that moved most with the most noise, beside those without where there are some."""
    named = labels(lines)
    rows = []
    for condition, series in lines.items():
        for value in dict.fromkeys((min(series), max(series))):
            rows += [[escape(named[condition]), share(value), *cells] for cells in _lines_moved(series[value])]
    if not rows:
        return ""
    head = ["region and text", "share with noise", "parameter", "line", "mean relative change", "over the parameter's"]
    title = "<h3>The lines that moved most, over the mean of their own parameter</h3>"
    return title + html_table([*head, "named in"], rows, "tnttnnn")


def _lines_moved(runs: Sequence[Results]) -> list[list[str]]:
    """Named by most seeds first, then by how far beyond the mean of the parameter."""
    found: dict[tuple[str, str, int], list[Mapping[str, float]]] = {}
    own = [run for run in runs if run.moved]
    for run in own:
        for line in run.moved:
            found.setdefault((line["name"], line["axis"], line["index"]), []).append(line)
    means = {
        place: [sum(line.get(key) or 0.0 for line in some) / len(some) for key in ("ratio", "relative")]
        for place, some in found.items()
    }
    ordered = sorted(found, key=lambda place: (-len(found[place]), *(-mean for mean in means[place]), place))
    rows = []
    for name, axis, index in ordered[:_MOST_LINES]:
        ratio, relative = means[name, axis, index]
        far = [share(relative), number(ratio or None)]
        seeds = f"{len(found[name, axis, index])} of {len(own)}"
        rows.append([f"<code>{escape(name)}</code>", f"{axis} {index:,}", *far, seeds])
    return rows


def text_section(runs: Sequence[Results]) -> str:
    """The text that was read: a row for each source of each kind of run, means over the runs that share it."""
    groups: dict[tuple[str, str | None], list[Results]] = {}
    for run, label in zip(runs, data_labels(runs, without=("monitor",)), strict=True):
        if run.data:
            groups.setdefault((run.experiment, label), []).append(run)
    rows = []
    for (experiment, label), own in groups.items():
        sources: dict[tuple[str, str], list[Mapping[str, float]]] = {}
        languages: dict[tuple[str, str], dict[str, None]] = {}
        for run in own:
            for part in (run.data or {}).get("parts") or []:
                source = part.get("source", "–")
                named = source in ((run.data or {}).get("target") or [])
                place = ("target" if named else str(source), str(part.get("kind", "text")))
                sources.setdefault(place, []).append(part)
                languages.setdefault(place, {})[str(part.get("language", "–"))] = None
        left = [_mean_text([(run.data or {}).get(name) or 0 for run in own]) for name in ("num_filtered", "num_cut")]
        start = [f"<b>{escape(experiment)}</b>", escape(label or "plain"), str(len(own))]
        for place, parts in sources.items():
            sums = [f"{sum(part.get(name) or 0 for part in parts) / len(own):,.0f}" for name in ("tokens", "documents")]
            epochs = number(max(part.get("epochs") or 0.0 for part in parts))
            rows.append([*start, *map(escape, place), escape(" ".join(languages[place])), *sums, epochs, *left])
            start, left = [""] * 3, [""] * 2
    if not rows:
        return ""
    head = ["experiment", "text", "runs", "source", "kind", "languages", "tokens", "documents", "epochs"]
    note = "<p>Means over the runs; epochs: of the language that was read most often.</p>"
    return note + html_table([*head, "filtered out", "cut"], rows, "ttntttnnnnn")


def _mean_text(values: Collection[float]) -> str:
    return f"{sum(values) / len(values):,.4g}"
