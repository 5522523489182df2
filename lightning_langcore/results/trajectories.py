"""Trajectories of runs: loss curves relative to the base, recovery from noise, and the best epoch."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from lightning_langcore.results.effects import setting
from lightning_langcore.results.record import Results

_RECOVERED = math.log1p(0.01)  # nats above the reference: 1 % of perplexity

Trajectory = list[tuple[int, float]]
"""Ascending pairs of documents and nats per token above the base, mean over languages."""


def split_of(run: Results, splits: Sequence[str]) -> str | None:
    """The first of the splits that was evaluated during training, else at the end of training; ``None``: none."""
    for stage in ("training", "final"):
        evaluated = {row["split"] for row in run.perplexity if row["stage"] == stage}
        found = next((split for split in splits if split in evaluated), None)
        if found:
            return found
    return None


def trajectory(run: Results, split: str | None, languages: Iterable[str] | None = None) -> Trajectory:
    """Nats per token minus those of the base at each milestone, mean over the languages with a finite base.

    Args:
        run: a run with rows of stage base, and training or final.
        split: the split of the rows.
        languages: languages to average over; by default all.
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
    """The trajectory on the test split if it was evaluated during training, else on the validation split."""
    return trajectory(run, split_of(run, ("test", "validation")), languages)


def shares(run: Results) -> tuple[float, float] | None:
    """The window of the noise as two shares of the run; ``None`` without noise."""
    noise = (run.data or {}).get("noise") or {}
    first, last = noise.get("window") or (0.0, 1.0)
    return (first, last) if noise.get("rate") else None


def window(run: Results, between: tuple[float, float] | None = None) -> tuple[float, float] | None:
    """The window of the noise in documents, cut at the end of the run.

    ``None``: there is no noise, the run ended before it, or the planned length of the run is not known.

    Args:
        run: a run with ``course`` in its ``data``, or with rows of stage final.
        between: two shares of the run, by default of its own noise; given for a run without noise that is compared with
            one with noise.
    """
    between, places = between or shares(run), _places(run)
    if between is None or places is None or between[0] >= places[-1][1]:
        return None
    by_share = [(read, samples) for samples, read in places]
    return _between(by_share, between[0]), _between(by_share, between[1])


def _between(points: Sequence[tuple[float, float]], place: float) -> float:
    """Linear interpolation of ascending points, constant beyond the first and last."""
    xs, ys = zip(*points, strict=True)
    return float(np.interp(place, xs, ys))


def _places(run: Results) -> Trajectory | None:
    """Ascending pairs of documents and the share of the planned run's tokens that was read, from (0, 0) on.

    Noise makes documents longer, so the two are not proportional. Without ``course`` in ``data`` they are taken to be.
    """
    measured = sorted((point["samples"], point["share"]) for point in (run.data or {}).get("course") or [])
    length = max((row["samples"] for row in run.perplexity if row["stage"] == "final"), default=0)
    places = [point for point in measured or [(length, 1.0)] if point[0]]
    return [(0, 0.0), *places] if places else None


class Phases(NamedTuple):
    """Nats per token above the base: at the last milestone before the noise, the maximum during it, and at the end.

    The base itself does not count as a milestone before the noise, because training without noise also moves away from
    it.
    """

    before: float | None
    during: float | None
    after: float


def phases(
    run: Results, between: tuple[float, float] | None = None, languages: Iterable[str] | None = None
) -> Phases | None:
    """The trajectory of a run with noise in three numbers; ``None`` without noise or without evaluations.

    Args:
        run: a run with rows of stage base.
        between: see :func:`window`.
        languages: languages to average over; by default all.
    """
    limits, found = window(run, between), noise_trajectory(run, languages)
    if limits is None or not found:
        return None
    before = [above for samples, above in found if 0 < samples <= limits[0]]
    inside = [above for samples, above in found if limits[0] < samples <= limits[1]]
    return Phases(before[-1] if before else None, max(inside, default=None), found[-1][1])


def time_to_recover(run: Results, clean: Results | None = None) -> float | None:
    """Documents from the end of the noise to the first milestone at which the run has recovered.

    A run has recovered when its perplexity (exp of the mean of log perplexity over languages) is at most 1 % above the
    reference. The reference is ``clean`` at the same share of the run, interpolated linearly between its milestones;
    without ``clean``, the last milestone of the run before the noise. The resolution is the distance of milestones.

    Returns:
        0 if the run has milestones during the noise and was never more than 1 % above the reference, during the noise
        or later; infinity if it did not recover; ``None`` if there is no noise, no reference, or no milestone after the
        noise.

    Args:
        run: a run with noise.
        clean: the same run without noise, see :func:`~lightning_langcore.results.effects.clean_partners`.
    """
    limits = window(run)
    found = _above_level(run) if clean is None else _above_clean(run, clean)
    later = [point for point in found if limits and point[0] > limits[1]]
    if limits is None or not later:
        return None
    inside = [above for samples, above in found if limits[0] < samples <= limits[1]]
    if inside and all(above <= _RECOVERED for above in (*inside, *(above for _, above in later))):
        return 0.0
    return next((samples - limits[1] for samples, above in later if above <= _RECOVERED), math.inf)


def _above_level(run: Results) -> Trajectory:
    """The trajectory minus its value before the noise; empty if that was not measured."""
    levels = phases(run)
    if levels is None or levels.before is None:
        return []
    return [(samples, above - levels.before) for samples, above in noise_trajectory(run)]


def _above_clean(run: Results, clean: Results) -> Trajectory:
    """The trajectory minus that of the clean run at the same share of the run, up to the shorter of the two."""
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
    """The trajectory on held-out answers if there are any, else on the validation text of the target languages."""
    split = split_of(run, ("validation_answers", "validation"))
    target = (run.data or {}).get("target") or None
    return trajectory(run, split, target if split == "validation" else None)


def best_epoch(run: Results) -> float | None:
    """The number of epochs with the lowest validation loss; ``None`` with fewer than three evaluations."""
    found = validation(run)
    if len(found) < 3:
        return None
    best = min(found, key=lambda point: point[1])
    return best[0] / found[-1][0] * setting(run, "epochs")
