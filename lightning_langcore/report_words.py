"""What training on a text did, in words: the cells of tables, and one plain sentence for each section of a report.

The sentences give numbers and take no side, so that they are true whichever way a comparison comes out.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from lightning_langcore import courses
from lightning_langcore.arms import Arm, Spread, acted, labels, mixed_in
from lightning_langcore.compare import exp, number, spread_text
from lightning_langcore.effects import (
    Series,
    adapted,
    change,
    drift,
    exchanges,
    gain,
    loss,
    noise_kind,
    spread_of,
    sweep,
    target_name,
)
from lightning_langcore.results import Results

_SUBJECTS = {
    "others": "the other languages' perplexity",
    "target": "the perplexity of the languages trained on",
    "answers": "the perplexity of held-out answers",
}


class _Line(NamedTuple):
    start: str  # of the sentence, up to the numbers
    ratios: dict[float, str]  # by the setting's value
    series: Series
    runs: Sequence[Results]  # all that are reported


class _Exchange(NamedTuple):
    label: str
    gained: float
    lost: float
    free: bool  # nothing was done to protect the others


def share(value: float) -> str:
    """0.0123 -> 1.23 %."""
    return f"{100 * value:.3g} %"


def range_text(value: Spread | None, text: Callable[[float], str]) -> str:
    """``1.2 % (1.1 %–1.3 %)``, the bracket only where seeds differ; empty without a value."""
    if value is None:
        return ""
    mean, low, high = (text(end) if math.isfinite(end) else "∞" for end in value[:3])
    return f"{mean} ({low}–{high})" if low != high else mean


def cells(runs: Sequence[Results]) -> dict[str, str]:
    """What every table of effects says of runs that differ in the seed; empty where they have no such measurement."""
    ratios = {"trained on": "target", "others": "others", "answers": "answers"}
    found = {name: spread_of(runs, partial(change, group=group)) for name, group in ratios.items()}
    made = {name: spread_text(value) if value else "" for name, value in found.items()}
    made["region moved"] = range_text(spread_of(runs, partial(drift, where="region")), share)
    made["rest moved"] = range_text(spread_of(runs, partial(drift, where="rest")), share)
    return made


def column_names(names: Iterable[str], runs: Iterable[Results]) -> list[str]:
    """The names of :func:`cells` with the languages that all the runs were trained on, where these are the same."""
    target = target_name(runs)
    return [f"{name} {target}" if target and name == "trained on" else name for name in names]


def back_text(runs: Iterable[Results]) -> str:
    """Documents to recover from noise: mean and range over seeds; ``never`` for those that did not within the run."""
    value = spread_of(runs, courses.time_to_recover)
    if value is None:
        return ""
    low, high = (f"{end:,.0f}" if math.isfinite(end) else "never" for end in (value.low, value.high))
    if low == high:
        return low
    return f"{value.mean:,.0f} ({low}–{high})" if math.isfinite(value.mean) else f"{low}–{high}"


def monitored(runs: Sequence[Results]) -> dict[str, float]:
    """What the monitor of some runs counted, added up: ``flagged``, ``tagged``, ``caught`` ... and the shares of them.

    Returns:
        ``recall``: caught of the tagged documents, ``precision``: of the flagged steps those that were no false alarm,
        ``false alarms``: of the steps without a tag; each only where there is something to divide by, and the first two
        only where something was tagged.
    """
    names = ("steps", "flagged", "skipped", "tagged", "caught", "clean_steps", "false_alarms")
    sums = {name: sum(int((run.monitor or {}).get(f"num_{name}") or 0) for run in runs) for name in names}
    shares = {
        "precision": (sums["flagged"] - sums["false_alarms"], sums["flagged"] if sums["tagged"] else 0),
        "recall": (sums["caught"], sums["tagged"]),
        "false alarms": (sums["false_alarms"], sums["clean_steps"]),
    }
    return {**sums, **{name: part / whole for name, (part, whole) in shares.items() if whole}}


def sentences(runs: Sequence[Results]) -> list[str]:
    """One for each line that was swept, each language adapted to, and the text: of training without damage."""
    ways = {"ratio": _mix, "epochs": _epochs, "noise.rate": _noise}
    told = [*_adapting(runs), *(way(line) for key, way in ways.items() for line in _lines(runs, key)), _read(runs)]
    return [sentence[0].upper() + sentence[1:] for sentence in told if sentence]


def _adapting(runs: Sequence[Results]) -> list[str]:
    """One sentence for each set of target languages: free training, and where the others lose least."""
    targets: dict[str, list[Results]] = {}
    for run in adapted(runs):
        targets.setdefault(" ".join((run.data or {}).get("target") or []), []).append(run)
    made = []
    for target, own in targets.items():
        found = _exchanges(own)
        if not found:
            continue
        least = min(found, key=lambda one: one.lost)
        free = next((one for one in found if one.free and one is not least), None)
        start = f"{free.label} gains {_bits(free.gained)} and costs the others {_bits(free.lost)}; " if free else ""
        end = f"it costs them least with {least.label}, {_bits(least.lost)} for a gain of {_bits(least.gained)}"
        made.append(f"Adapting to {target}, in bits per byte: {start}{end}.")
    return made


def _exchanges(runs: Sequence[Results]) -> list[_Exchange]:
    lines = exchanges(runs)
    named = labels(lines)
    found = []
    for arm, series in lines.items():
        for fraction, own in series.items():
            gained, lost = spread_of(own, gain), spread_of(own, loss)
            label = named[arm] + (f" at {share(fraction)}" if fraction else "")
            if gained and lost:
                found.append(_Exchange(label, gained.mean, lost.mean, not arm.frozen and arm.data is None))
    return found


def _bits(value: float) -> str:
    return number(value).replace("-", "−")


def _mix(line: _Line) -> str:
    name = f" {next(mixed_in(own[0]) for value, own in line.series.items() if value)} text"
    amounts = {0.0: "without", 1.0: "with as much"}
    parts = [amounts.get(value, f"with {value:g} times as much") for value in line.ratios]
    parts[0] += name
    return f"{line.start} {_listed(line.ratios.values(), parts)}."


def _epochs(line: _Line) -> str:
    parts = [f"after {value:g} epoch{'s' if value != 1 else ''}" for value in line.ratios]
    most = max(line.series)
    best = spread_of(line.series[most], courses.turn)
    turn = f"; of {most:g} epochs, validation is best after {number(best.mean)}" if best else ""
    return f"{line.start} {_listed(line.ratios.values(), parts)}{turn}."


def _noise(line: _Line) -> str:
    most = max(line.series)
    kind = noise_kind(line.series[most][0])
    noisy = [value for value in line.ratios if value]
    parts = [f"in {share(value)}" if value else "without noise" for value in line.ratios]
    if noisy:
        parts[-len(noisy)] = f"with {kind} noise {parts[-len(noisy)]}"
        parts[-1] += " of the documents"
    worst = spread_of(line.series[most], lambda run: found.during if (found := courses.phases(run)) else None)
    during = (
        f"; with {share(most)}, all languages' is at worst {number(exp(worst.mean))} times the base's" if worst else ""
    )
    counts = monitored([run for run in line.runs if courses.shares(run) and noise_kind(run) == kind])
    watch = ""
    if "recall" in counts:
        watch = f"; the monitors caught {share(counts['recall'])} of {counts['tagged']:,} documents with noise"
        watch += f" and flagged, falsely, {counts['false_alarms']:,} of {counts['clean_steps']:,} clean steps"
    return f"{line.start} {_listed(line.ratios.values(), parts)}{during}{watch}."


def _lines(runs: Sequence[Results], key: str) -> list[_Line]:
    """The lines to tell of: those where nothing is frozen or skipped, else the first."""
    lines = sweep(runs, key)
    named = labels(lines)
    bare = [
        arm for arm in named if not arm.frozen and not any(acted(run) for own in lines[arm].values() for run in own)
    ]
    return [line for arm in bare or [*named][:1] if (line := _line(runs, named, arm, lines[arm]))]


def _line(runs: Sequence[Results], named: Mapping[Arm, str], arm: Arm, series: Series) -> _Line | None:
    """Of the first group of languages that was scored; ``None`` where there is none."""
    for group, subject in _SUBJECTS.items():
        found = {value: spread_of(own, partial(change, group=group)) for value, own in series.items()}
        ratios = {value: number(exp(ratio.mean)) for value, ratio in found.items() if ratio}
        if ratios:
            start = "" if len(named) == 1 else f"{named[arm]}: "
            return _Line(f"{start}{subject} ends at", ratios, series, runs)
    return None


def _listed(ratios: Iterable[str], parts: Iterable[str]) -> str:
    """``1.81 times the base's without general text, 1.28 with as much and 1.05 with 5 times as much``."""
    first, *rest = (f"{ratio} {part}" for ratio, part in zip(ratios, parts, strict=True))
    first = first.replace(" ", " times the base's ", 1)
    return ", ".join([first, *rest[:-1]]) + (f" and {rest[-1]}" if rest else "")


def _read(runs: Sequence[Results]) -> str:
    known = [run.data for run in runs if run.data]
    sums = [sum(part.get("tokens") or 0 for part in data.get("parts") or []) for data in known]
    if not any(sums):
        return ""
    epochs = max(data.get("epochs") or 0.0 for data in known)
    words = {"num_filtered": "filtered out", "num_cut": "cut"}
    most = {word: max(data.get(name) or 0 for data in known) for name, word in words.items()}
    size = f"{min(sums):,}" if min(sums) == max(sums) else f"{min(sums):,} to {max(sums):,}"
    left = "".join(f"; up to {count:,} documents were {word}" for word, count in most.items() if count)
    return f"The runs read {size} tokens each, the target for up to {number(epochs)} epochs{left}."
