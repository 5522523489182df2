"""Locating from models on disk, none of which is run: ``job.source=checkpoints``."""

from collections.abc import Sequence
from pathlib import Path

from lightning_langcore.importance.statistics import CheckpointChanges
from lightning_langcore.jobs.config.groups.job import LocateJob
from lightning_langcore.jobs.config.region import check_region
from lightning_langcore.jobs.config.region_kinds import OUTLIERS, OUTLIERS_KIND, Request, statistics
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.jobs.steps.prepare import identity
from lightning_langcore.jobs.steps.regions import Basis
from lightning_langcore.models import loading
from lightning_langcore.models.parameters import candidates
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.utils import artifact_cache
from lightning_langcore.utils.errors import LangcoreError

FORMAT = 1


def compared(settings: Settings, job: LocateJob) -> Basis:
    """The base and its change after training on each language, read tensor by tensor.

    Raises:
        LangcoreError: a folder is missing or belongs to another model, or the region needs statistics other than
            changes.
    """
    if not job.base or not job.trained:
        raise LangcoreError(
            "job.source=checkpoints compares models on disk: name them with job.base=FOLDER and"
            " '+job.trained={zh: FOLDER, ...}'"
        )
    region = settings.region
    check_region(settings, list(job.trained))
    for setting, variant in [("region.kind", region.kind), *(("job.scores", score) for score in job.scores)]:
        if variant == OUTLIERS_KIND or variant.endswith(OUTLIERS):
            raise LangcoreError(f"{setting}={variant} needs a model to run, and job.source=checkpoints runs none")
        missing = [s for s in statistics(region, [variant]) if s != "change"]
        if missing:
            raise LangcoreError(
                f"{setting}={variant} by region.score={region.score} needs passes over text, and"
                " job.source=checkpoints makes none: use weight_change, relative_change or magnitude"
            )
    base = _weights(job.base)
    trained = {language: _weights(folder) for language, folder in job.trained.items()}
    return Basis(base, CheckpointChanges(base, trained, candidates(base.shapes, region.parameters)), job.base)


def _weights(path: str) -> Weights:
    """The weights of a model; those of a file, or of an architecture that transformers does not know, as they are."""
    try:
        loading.load_config(path)
    except LangcoreError:
        return Weights(path)
    return loading.load_weights(path)


def work_folder(settings: Settings, job: LocateJob, requests: Sequence[Request]) -> Path:
    """The folder of intermediate results of this search; its name is a digest of everything that determines them."""
    assert job.base is not None
    assert job.trained is not None
    region = settings.composed["region"]
    recipe = {
        "format": FORMAT,
        "models": [identity(job.base), *([lang, identity(path)] for lang, path in job.trained.items())],
        "region": {key: region[key] for key in ("score", "granularity", "scope", "parameters", "families")},
        "requests": [list(request) for request in requests],
        "thresholds": job.union_thresholds,
    }
    return settings.artifacts / f"locating-{artifact_cache.key_of(recipe)}"
