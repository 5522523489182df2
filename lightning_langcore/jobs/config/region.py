"""Checks of the region's settings before anything is read, for regions from text and from models on disk."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lightning_langcore.callbacks import CoreGuard
from lightning_langcore.jobs.config.groups.job import LocateJob, PerturbJob
from lightning_langcore.jobs.config.region_kinds import check_variant, score_names
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.jobs.config.together import raise_together
from lightning_langcore.utils.errors import LangcoreError


def check_region(settings: Settings, languages: Sequence[str] | None) -> None:
    """Check the score and the kind of the region, and the job's settings of regions.

    Args:
        settings: the settings of the run.
        languages: the languages with statistics; ``None``: not known yet, or not needed.

    Raises:
        LangcoreError: one line for each invalid or unsupported setting.
    """
    job, region = settings.job, settings.region
    checks: list[Callable[[], Any]] = [lambda: _score("region.score", region.score)]
    if region.score in score_names():
        checks.append(lambda: _kind(settings, languages))
    if isinstance(job, LocateJob):
        checks += [partial(_score, "job.scores", score) for score in job.scores]
        families = [f"family:{name}" for name in region.families or {}]
        checks += [partial(check_variant, "region.families", family, region, languages) for family in families]
    if isinstance(job, PerturbJob):
        checks.append(lambda: _grid(settings, job, languages))
    raise_together(checks)


def _score(setting: str, score: str) -> None:
    if score not in score_names():
        raise LangcoreError(f"{setting}={score} is none of {', '.join(score_names())}")


def _kind(settings: Settings, languages: Sequence[str] | None) -> None:
    job, kind = settings.job, settings.region.kind
    if kind != "file":
        check_variant("region.kind", kind, settings.region, languages)
    elif isinstance(job, LocateJob) or (isinstance(job, PerturbJob) and "file" not in job.variants):
        raise LangcoreError(
            f"region.kind=file has no meaning for job.name={job.name}: choose another region, as region=core"
        )
    elif settings.region.file is None:
        raise LangcoreError("region.kind=file has no file: set it with region.file=FILE")


def _grid(settings: Settings, job: PerturbJob, languages: Sequence[str] | None) -> None:
    for variant in job.variants:
        if variant != "file":
            check_variant("job.variants", variant, settings.region, languages)
        elif settings.region.file is None:
            raise LangcoreError("job.variants=file needs a region file: name it with region.file=FILE")
    if settings.perturbation.method != "none" or settings.callbacks_of(CoreGuard):
        raise LangcoreError(
            "perturbation and callbacks.core_guard have no meaning for job.name=perturb, which trains nothing:"
            " set job.perturbations, which applies to the regions of job.variants"
        )
