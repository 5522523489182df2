"""What training on a text did, in words: the cells of tables, and one plain sentence for each section of a report.

The sentences give numbers and take no side, so that they are true whichever way a comparison comes out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from lightning_langcore.reports.cells import back_text, compared_with, monitored
from lightning_langcore.results import trajectories
from lightning_langcore.results.conditions import Condition, acted, labels, mixed_in
from lightning_langcore.results.effects import (
    Series,
    adapted,
    change,
    clean_partners,
    gain,
    loss,
    noise_kind,
    on_conversations,
    spread_of,
    sweep,
    tradeoffs,
)
from lightning_langcore.results.number_format import number, share, times
from lightning_langcore.results.record import Results

_SUBJECTS = {
    "others": "the other languages' perplexity",
    "target": "the perplexity of the languages trained on",
    "answers": "the perplexity of held-out answers",
}
_CONVERSATION_SUBJECTS = {
    "answers": "the perplexity of held-out answers",
    "target": "that of general text",
    "others": "that of general text in other languages",
}


class _Line(NamedTuple):
    told: list[tuple[str, dict[float, str]]]  # what ends, up to the numbers, and its ratios by the setting's value
    series: Series


class _TradeOff(NamedTuple):
    label: str
    gained: float
    lost: float
    free: bool  # nothing was done to protect the others


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
        found = _tradeoffs(own)
        if not found:
            continue
        least = min(found, key=lambda one: one.lost)
        free = next((one for one in found if one.free and one is not least), None)
        start = f"{free.label} gains {_bits(free.gained)} and costs the others {_bits(free.lost)}; " if free else ""
        end = f"it costs them least with {least.label}, {_bits(least.lost)} for a gain of {_bits(least.gained)}"
        made.append(f"Adapting to {target}, in bits per byte: {start}{end}.")
    return made


def _tradeoffs(runs: Sequence[Results]) -> list[_TradeOff]:
    lines = tradeoffs(runs)
    named = labels(lines)
    found = []
    for condition, series in lines.items():
        for fraction, own in series.items():
            gained, lost = spread_of(own, gain), spread_of(own, loss)
            label = named[condition] + (f" at {share(fraction)}" if fraction else "")
            if gained and lost:
                found.append(_TradeOff(label, gained.mean, lost.mean, not condition.frozen and condition.data is None))
    return found


def _bits(value: float) -> str:
    return number(value).replace("-", "−")


def _mix(line: _Line) -> str:
    name = f" {next(mixed_in(own[0]) for value, own in line.series.items() if value)} text"
    amounts = {0.0: "without", 1.0: "with as much"}

    def words(values: Sequence[float]) -> list[str]:
        parts = [amounts.get(value, f"with {value:g} times as much") for value in values]
        return [parts[0] + name, *parts[1:]]

    return f"{_ends(line, words)}."


def _epochs(line: _Line) -> str:
    most = max(line.series)
    best = spread_of(line.series[most], trajectories.best_epoch)
    best_epoch = f"; of {most:g} epochs, validation is best after {number(best.mean)}" if best else ""
    return f"{_ends(line, _epoch_words)}{best_epoch}."


def _epoch_words(values: Sequence[float]) -> list[str]:
    return [f"after {value:g} epoch{'s' if value != 1 else ''}" for value in values]


def _noise(line: _Line) -> str:
    most = max(line.series)
    kind = noise_kind(line.series[most][0])
    counts = monitored([run for own in line.series.values() for run in own if trajectories.shares(run)])
    watch = ""
    if "recall" in counts:
        watch = f"; the monitors caught {share(counts['recall'])} of {counts['tagged']:,} documents with noise"
        watch += f" and flagged, falsely, {counts['false_alarms']:,} of {counts['clean_steps']:,} clean steps"
    return f"{_ends(line, partial(_noise_words, kind=kind))}{_trajectory(line)}{watch}."


def _noise_words(values: Sequence[float], kind: str) -> list[str]:
    noisy = [value for value in values if value]
    parts = [f"in {share(value)}" if value else "without noise" for value in values]
    if noisy:
        parts[-len(noisy)] = f"with {kind} noise {parts[-len(noisy)]}"
        parts[-1] += " of the documents"
    return parts


def _trajectory(line: _Line) -> str:
    """What the most noise did while it lasted, and when the run was back, beside the clean runs of the line if any."""
    most = max(line.series)
    own = line.series[most]
    worst = spread_of(own, lambda run: found.during if (found := trajectories.phases(run)) else None)
    told = [f"is at worst {times(worst.mean)} times the base's"] if worst else []
    clean = clean_partners([run for some in line.series.values() for run in some])
    text, level = back_text(own, clean), compared_with(own, clean)
    words = {
        "never": f"does not come back to within 1 % of {level}",
        "did not leave": f"did not leave {level} by more than 1 %",
    }
    if text:
        told.append(words.get(text, f"is back within 1 % of {level} {text} documents after the noise"))
    return f"; with {share(most)}, all languages' {' and '.join(told)}" if told else ""


def _lines(runs: Sequence[Results], key: str) -> list[_Line]:
    """The lines to tell of: those where nothing is frozen or skipped, else the first."""
    lines = sweep(runs, key)
    named = labels(lines)
    bare = [
        condition
        for condition in named
        if not condition.frozen and not any(acted(run) for own in lines[condition].values() for run in own)
    ]
    return [line for condition in bare or [*named][:1] if (line := _line(named, condition, lines[condition]))]


def _line(named: Mapping[Condition, str], condition: Condition, series: Series) -> _Line | None:
    """Of the first group that was scored, after conversations of all groups; ``None`` where there is none."""
    all_conversations = all(on_conversations(run) for own in series.values() for run in own)
    told: list[tuple[str, dict[float, str]]] = []
    for group, subject in (_CONVERSATION_SUBJECTS if all_conversations else _SUBJECTS).items():
        found = {value: spread_of(own, partial(change, group=group)) for value, own in series.items()}
        ratios = {value: times(ratio.mean) for value, ratio in found.items() if ratio}
        if ratios:
            start = "" if told or len(named) == 1 else f"{named[condition]}: "
            told.append((f"{start}{subject if told else subject.replace('that', 'the perplexity')} ends at", ratios))
    return _Line(told if all_conversations else told[:1], series) if told else None


def _ends(line: _Line, words: Callable[[Sequence[float]], list[str]]) -> str:
    """What each group ends at. ``words`` says the setting's values."""
    return "; ".join(f"{start} {_listed(ratios.values(), words([*ratios]))}" for start, ratios in line.told)


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
