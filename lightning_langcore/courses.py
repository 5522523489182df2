"""What happened while a run trained: its course against the base, when it recovers from noise, when it is best."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lightning_langcore.effects import setting
from lightning_langcore.results import Results

_RECOVERED = math.log1p(0.01)  # nats above where it was before

Course = list[tuple[int, float]]
"""Documents, and nats per token above the base, mean over languages; ascending."""


def split_of(run: Results, wanted: Sequence[str]) -> str | None:
    """The first of the splits that was scored during training, else at its end."""
    for stage in ("training", "final"):
        scored = {row["split"] for row in run.perplexity if row["stage"] == stage}
        found = next((split for split in wanted if split in scored), None)
        if found:
            return found
    return None


def course(run: Results, split: str | None, languages: Iterable[str] | None = None) -> Course:
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


def noise_course(run: Results, languages: Iterable[str] | None = None) -> Course:
    """The course in text: of the test split where it was scored during training, else of the validation split."""
    return course(run, split_of(run, ("test", "validation")), languages)


def shares(run: Results) -> tuple[float, float] | None:
    """Between which shares of the run noise was put in; ``None`` without noise."""
    noise = (run.data or {}).get("noise") or {}
    first, last = noise.get("window") or (0.0, 1.0)
    return (first, last) if noise.get("rate") else None


def window(run: Results, between: tuple[float, float] | None = None) -> tuple[float, float] | None:
    """The documents between which noise was put in; ``None`` without noise, or where the run's length is not known.

    Args:
        run: with rows of stage final.
        between: the shares of the run; by default its own. So a run without noise can be read like one with noise.
    """
    length = max((row["samples"] for row in run.perplexity if row["stage"] == "final"), default=0)
    between = between or shares(run)
    return (between[0] * length, between[1] * length) if between and length else None


class Phases(NamedTuple):
    """Nats per token above the base: at the last milestone before the noise, the worst inside, and at the end."""

    before: float
    during: float | None
    after: float


def phases(
    run: Results, between: tuple[float, float] | None = None, languages: Iterable[str] | None = None
) -> Phases | None:
    """The course of a run with noise in three numbers; ``None`` where there is no noise or no milestone before it.

    Args:
        run: with rows of stage base and final.
        between: see :func:`window`.
        languages: those that count; by default all.
    """
    limits, found = window(run, between), noise_course(run, languages)
    before = [above for samples, above in found if limits and samples <= limits[0]]
    if limits is None or not before:
        return None
    inside = [above for samples, above in found if limits[0] < samples <= limits[1]]
    return Phases(before[-1], max(inside, default=None), found[-1][1])


def time_to_recover(run: Results) -> float | None:
    """Documents from the end of the noise to the first milestone that is back where the run was before the noise.

    Back is: the mean over languages of the log perplexity is at most 1 % of perplexity above that of the last milestone
    before the noise. So it can't be told finer than milestones lie. Infinite: not within the run; ``None``: no noise,
    or no milestone before or after it.
    """
    between, found = window(run), noise_course(run)
    levels = phases(run)
    behind = [(samples, above) for samples, above in found if between and samples > between[1]]
    if between is None or levels is None or not behind:
        return None
    back = (samples - between[1] for samples, above in behind if above - levels.before <= _RECOVERED)
    return next(back, math.inf)


def validation(run: Results) -> Course:
    """The course in held-out answers where there are some, else in the target's validation text."""
    split = split_of(run, ("validation_answers", "validation"))
    target = (run.data or {}).get("target") or None
    return course(run, split, target if split == "validation" else None)


def turn(run: Results) -> float | None:
    """Epochs after which validation is best; ``None`` where nothing was scored during training."""
    found = validation(run)
    if len(found) < 3:
        return None
    best = min(found, key=lambda point: point[1])
    return best[0] / found[-1][0] * setting(run, "epochs")
