"""What happened while a run trained: its course against the base, when it recovers from noise, when it is best."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from lightning_langcore.results.effects import setting
from lightning_langcore.results.record import Results

_RECOVERED = math.log1p(0.01)  # nats above what a run is compared with

Trajectory = list[tuple[int, float]]
"""Documents, and nats per token above the base, mean over languages; ascending."""


def split_of(run: Results, wanted: Sequence[str]) -> str | None:
    """The first of the splits that was scored during training, else at its end."""
    for stage in ("training", "final"):
        scored = {row["split"] for row in run.perplexity if row["stage"] == stage}
        found = next((split for split in wanted if split in scored), None)
        if found:
            return found
    return None


def trajectory(run: Results, split: str | None, languages: Iterable[str] | None = None) -> Trajectory:
    """Nats per token minus the base's at each milestone, mean over the languages that have a finite base.

    Args:
        run: its rows of stage base, training and final.
        split: of the rows.
        languages: those that count; by default all.
    """
    rows = [row for row in run.perplexity if row["split"] == split and row["stage"] != "perturbed"]
    if languages is not None:
        rows = [row for row in rows if row["lang"] in set(languages)]
    base = {row["lang"]: row["nats_per_token"] for row in rows if row["stage"] == "base" and "nats_per_token" in row}
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["lang"] in base:
            above = row.get("nats_per_token", math.inf) - base[row["lang"]]
            found.setdefault(row["samples"], []).append(above)
    return [(samples, math.fsum(found[samples]) / len(found[samples])) for samples in sorted(found)]


def noise_trajectory(run: Results, languages: Iterable[str] | None = None) -> Trajectory:
    """The course in text: of the test split where it was scored during training, else of the validation split."""
    return trajectory(run, split_of(run, ("test", "validation")), languages)


def shares(run: Results) -> tuple[float, float] | None:
    """Between which shares of the run noise was put in; ``None`` without noise."""
    noise = (run.data or {}).get("noise") or {}
    first, last = noise.get("window") or (0.0, 1.0)
    return (first, last) if noise.get("rate") else None


def window(run: Results, between: tuple[float, float] | None = None) -> tuple[float, float] | None:
    """The documents between which noise was put in, as far as the run came.

    ``None``: there is no noise, the run ended before it, or nothing is known of how long it was to be.

    Args:
        run: with ``course`` in its ``data``, else with rows of stage final.
        between: the shares of the run; by default its own. So a run without noise can be read like one with noise.
    """
    between, places = between or shares(run), _places(run)
    if between is None or places is None or between[0] >= places[-1][1]:
        return None
    by_share = [(read, samples) for samples, read in places]
    return _between(by_share, between[0]), _between(by_share, between[1])


def _between(points: Sequence[tuple[float, float]], place: float) -> float:
    """Linear interpolation of ascending points; the ends' values beyond them."""
    xs, ys = zip(*points, strict=True)
    return float(np.interp(place, xs, ys))


def _places(run: Results) -> Trajectory | None:
    """Documents, and the share of the planned run's tokens that was read with them; ascending, from the start on.

    Noise makes documents longer, so one is no fixed multiple of the other, unless ``data`` has no ``course``.
    """
    measured = sorted((point["samples"], point["share"]) for point in (run.data or {}).get("course") or [])
    length = max((row["samples"] for row in run.perplexity if row["stage"] == "final"), default=0)
    places = [point for point in measured or [(length, 1.0)] if point[0]]
    return [(0, 0.0), *places] if places else None


class Phases(NamedTuple):
    """Nats per token above the base: at the last milestone before the noise, the worst inside, and at the end.

    The intact base is no milestone: training itself moves away from it.
    """

    before: float | None
    during: float | None
    after: float


def phases(
    run: Results, between: tuple[float, float] | None = None, languages: Iterable[str] | None = None
) -> Phases | None:
    """The course of a run with noise in three numbers; ``None`` where there is no noise or nothing was scored.

    Args:
        run: with rows of stage base.
        between: see :func:`window`.
        languages: those that count; by default all.
    """
    limits, found = window(run, between), noise_trajectory(run, languages)
    if limits is None or not found:
        return None
    before = [above for samples, above in found if 0 < samples <= limits[0]]
    inside = [above for samples, above in found if limits[0] < samples <= limits[1]]
    return Phases(before[-1] if before else None, max(inside, default=None), found[-1][1])


def time_to_recover(run: Results, clean: Results | None = None) -> float | None:
    """Documents from the end of the noise to the first milestone that is back where the run would be without it.

    Back is: the mean over languages of the log perplexity is at most 1 % of perplexity above that of ``clean`` when the
    same share of the run was read, between its milestones by linear interpolation; without ``clean`` above that of the
    last milestone before the noise. So it can't be told finer than milestones lie.

    Returns:
        0: it was measured inside the noise and never was further above, there or later, so it did not leave. Infinite:
        not back within the run. ``None``: no noise, or no milestone to compare with, or none behind the noise.

    Args:
        run: with noise.
        clean: the same run without noise, see :func:`~lightning_langcore.results.effects.clean_partners`.
    """
    limits = window(run)
    found = _above_the_level(run) if clean is None else _above_clean(run, clean)
    behind = [point for point in found if limits and point[0] > limits[1]]
    if limits is None or not behind:
        return None
    inside = [above for samples, above in found if limits[0] < samples <= limits[1]]
    if inside and all(above <= _RECOVERED for above in (*inside, *(above for _, above in behind))):
        return 0.0
    return next((samples - limits[1] for samples, above in behind if above <= _RECOVERED), math.inf)


def _above_the_level(run: Results) -> Trajectory:
    """The course minus what it was before the noise; empty where that was not measured."""
    levels = phases(run)
    if levels is None or levels.before is None:
        return []
    return [(samples, above - levels.before) for samples, above in noise_trajectory(run)]


def _above_clean(run: Results, clean: Results) -> Trajectory:
    """The course minus the clean run's at the same share of the run, as far as both came."""
    own, other, found = _places(run), _places(clean), noise_trajectory(clean)
    if own is None or other is None or not found:
        return []
    level = [(_between(other, samples), above) for samples, above in found]  # by share
    difference = []
    for samples, above in noise_trajectory(run):
        share = _between(own, samples)
        if share <= level[-1][0] + 1e-9:
            difference.append((samples, above - _between(level, share)))
    return difference


def validation(run: Results) -> Trajectory:
    """The course in held-out answers where there are some, else in the target's validation text."""
    split = split_of(run, ("validation_answers", "validation"))
    target = (run.data or {}).get("target") or None
    return trajectory(run, split, target if split == "validation" else None)


def best_epoch(run: Results) -> float | None:
    """Epochs after which validation is best; ``None`` where nothing was scored during training."""
    found = validation(run)
    if len(found) < 3:
        return None
    best = min(found, key=lambda point: point[1])
    return best[0] / found[-1][0] * setting(run, "epochs")
