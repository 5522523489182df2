"""One plain sentence for each comparison of runs that trained an intact model.

The sentences give numbers and take no side, so that they are true whichever way a comparison comes out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from lightning_langcore.reports.cells import monitor_counts, recovery_level, recovery_text
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
from lightning_langcore.results.number_format import count, number, share, times
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

ValueTexts = Callable[[Sequence[float]], list[str]]
"""How the values of a setting are written in a sentence."""


class _Ratios(NamedTuple):
    """Final perplexity over the base's along a setting.

    Attributes:
        subject: what ends at the ratios: ``the other languages' perplexity ends at``.
        texts: the ratio by value of the setting.
    """

    subject: str
    texts: dict[float, str]


class _Curve(NamedTuple):
    """What a setting did under one condition."""

    ratios: list[_Ratios]
    series: Series


class _TradeOff(NamedTuple):
    label: str
    gained: float  # bits per byte
    lost: float  # bits per byte
    is_plain: bool  # nothing is frozen, and the text holds nothing but the target


def sentences(runs: Sequence[Results]) -> list[str]:
    """One for each set of target languages, each setting that was varied, and the text.

    Args:
        runs: those that :func:`~lightning_langcore.results.effects.responds`.
    """
    settings = {"ratio": _mix, "epochs": _epochs, "noise.rate": _noise}
    found = _adaptations(runs)
    found += [write(curve) for key, write in settings.items() for curve in _curves(runs, key)]
    found.append(_training_text(runs))
    return [sentence[0].upper() + sentence[1:] for sentence in found if sentence]


def _adaptations(runs: Sequence[Results]) -> list[str]:
    """For each set of target languages: plain training, and where the others lose least."""
    targets: dict[str, list[Results]] = {}
    for run in adapted(runs):
        targets.setdefault(" ".join((run.data or {}).get("target") or []), []).append(run)
    made = []
    for target, own in targets.items():
        found = _tradeoffs(own)
        if not found:
            continue
        least = min(found, key=lambda one: one.lost)
        plain = next((one for one in found if one.is_plain and one is not least), None)
        start = f"{plain.label} gains {_bits(plain.gained)} and costs the others {_bits(plain.lost)}; " if plain else ""
        end = f"it costs them least with {least.label}, {_bits(least.lost)} for a gain of {_bits(least.gained)}"
        made.append(f"Adapting to {target}, in bits per byte: {start}{end}.")
    return made


def _tradeoffs(runs: Sequence[Results]) -> list[_TradeOff]:
    by_condition = tradeoffs(runs)
    named = labels(by_condition)
    found = []
    for condition, series in by_condition.items():
        for fraction, own in series.items():
            gained, lost = spread_of(own, gain), spread_of(own, loss)
            label = named[condition] + (f" at {share(fraction)}" if fraction else "")
            if gained and lost:
                is_plain = not condition.frozen and condition.data is None
                found.append(_TradeOff(label, gained.mean, lost.mean, is_plain))
    return found


def _bits(value: float) -> str:
    return number(value).replace("-", "−")


def _mix(curve: _Curve) -> str:
    name = f" {next(mixed_in(own[0]) for value, own in curve.series.items() if value)} text"
    amounts = {0.0: "without", 1.0: "with as much"}

    def texts(values: Sequence[float]) -> list[str]:
        first, *rest = (amounts.get(value, f"with {value:g} times as much") for value in values)
        return [first + name, *rest]

    return f"{_ends(curve, texts)}."


def _epochs(curve: _Curve) -> str:
    most = max(curve.series)
    best = spread_of(curve.series[most], trajectories.best_epoch)
    best_epoch = f"; of {most:g} epochs, validation is best after {number(best.mean)}" if best else ""
    return f"{_ends(curve, _epoch_texts)}{best_epoch}."


def _epoch_texts(values: Sequence[float]) -> list[str]:
    return [f"after {value:g} epoch{'s' if value != 1 else ''}" for value in values]


def _noise(curve: _Curve) -> str:
    most = max(curve.series)
    kind = noise_kind(curve.series[most][0])
    counts = monitor_counts([run for own in curve.series.values() for run in own if trajectories.shares(run)])
    monitors = ""
    if "recall" in counts:
        monitors = f"; the monitors caught {share(counts['recall'])} of {count(counts['tagged'])} documents with noise"
        monitors += f" and flagged, falsely, {count(counts['false_alarms'])} of {count(counts['clean_steps'])}"
        monitors += " clean steps"
    return f"{_ends(curve, partial(_noise_texts, kind=kind))}{_trajectory(curve)}{monitors}."


def _noise_texts(values: Sequence[float], kind: str) -> list[str]:
    noisy = [value for value in values if value]
    texts = [f"in {share(value)}" if value else "without noise" for value in values]
    if noisy:
        texts[-len(noisy)] = f"with {kind} noise {texts[-len(noisy)]}"
        texts[-1] += " of the documents"
    return texts


def _trajectory(curve: _Curve) -> str:
    """What the most noise did while it lasted, and when runs recovered from it."""
    most = max(curve.series)
    own = curve.series[most]
    worst = spread_of(own, lambda run: found.during if (found := trajectories.phases(run)) else None)
    parts = [f"is at worst {times(worst.mean)} times the base's"] if worst else []
    clean = clean_partners([run for some in curve.series.values() for run in some])
    text, level = recovery_text(own, clean), recovery_level(own, clean)
    without_time = {
        "never": f"does not come back to within 1 % of {level}",
        "did not leave": f"did not leave {level} by more than 1 %",
    }
    if text:
        parts.append(without_time.get(text, f"is back within 1 % of {level} {text} documents after the noise"))
    return f"; with {share(most)}, all languages' {' and '.join(parts)}" if parts else ""


def _curves(runs: Sequence[Results], key: str) -> list[_Curve]:
    """The conditions in which nothing is frozen or skipped, else the first."""
    found = sweep(runs, key)
    named = labels(found)
    bare = [
        condition
        for condition in named
        if not condition.frozen and not any(acted(run) for own in found[condition].values() for run in own)
    ]
    return [
        curve for condition in bare or [*named][:1] if (curve := _curve(named, condition, found[condition])) is not None
    ]


def _curve(named: Mapping[Condition, str], condition: Condition, series: Series) -> _Curve | None:
    """Of the first group of languages that was scored, after conversations of all; ``None`` where there is none."""
    all_conversations = all(on_conversations(run) for own in series.values() for run in own)
    found: list[_Ratios] = []
    for group, subject in (_CONVERSATION_SUBJECTS if all_conversations else _SUBJECTS).items():
        ratios = {value: spread_of(own, partial(change, group=group)) for value, own in series.items()}
        texts = {value: times(ratio.mean) for value, ratio in ratios.items() if ratio}
        if texts:
            start = "" if found or len(named) == 1 else f"{named[condition]}: "
            full = subject if found else subject.replace("that", "the perplexity")
            found.append(_Ratios(f"{start}{full} ends at", texts))
    return _Curve(found if all_conversations else found[:1], series) if found else None


def _ends(curve: _Curve, value_texts: ValueTexts) -> str:
    """What each group of languages ends at."""
    return "; ".join(f"{one.subject} {_listed(one.texts.values(), value_texts([*one.texts]))}" for one in curve.ratios)


def _listed(ratios: Iterable[str], value_texts: Iterable[str]) -> str:
    """``1.81 times the base's without general text, 1.28 with as much and 1.05 with 5 times as much``."""
    first, *rest = (f"{ratio} {text}" for ratio, text in zip(ratios, value_texts, strict=True))
    first = first.replace(" ", " times the base's ", 1)
    return ", ".join([first, *rest[:-1]]) + (f" and {rest[-1]}" if rest else "")


def _training_text(runs: Sequence[Results]) -> str:
    known = [run.data for run in runs if run.data]
    sums = [sum(part.get("tokens") or 0 for part in data.get("parts") or []) for data in known]
    if not any(sums):
        return ""
    epochs = max(data.get("epochs") or 0.0 for data in known)
    names = {"num_filtered": "filtered out", "num_cut": "cut"}
    most = {text: max(data.get(name) or 0 for data in known) for name, text in names.items()}
    size = count(min(sums)) if min(sums) == max(sums) else f"{count(min(sums))} to {count(max(sums))}"
    left_out = "".join(f"; up to {count(num)} documents were {text}" for text, num in most.items() if num)
    return f"The runs read {size} tokens each, the target for up to {number(epochs)} epochs{left_out}."
