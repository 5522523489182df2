"""Locating from models on disk, none of which is run: ``job.source=checkpoints``."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lightning_langcore.importance.statistics import CheckpointChanges
from lightning_langcore.jobs.config.region import check_region
from lightning_langcore.jobs.config.region_kinds import OUTLIERS, OUTLIERS_KIND, Request, statistics
from lightning_langcore.jobs.steps.prepare import identity
from lightning_langcore.jobs.steps.regions import Basis
from lightning_langcore.models.parameters import candidates
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.utils import artifact_cache
from lightning_langcore.utils.errors import LangcoreError

FORMAT = 1


def compared(cfg: DictConfig) -> Basis:
    """The base and its change after training on each language, read tensor by tensor.

    Raises:
        LangcoreError: a folder is missing or belongs to another model, or the region needs statistics other than
            changes.
    """
    if not cfg.job.base or not cfg.job.trained:
        raise LangcoreError(
            "job.source=checkpoints compares models on disk: name them with job.base=FOLDER and"
            " '+job.trained={zh: FOLDER, ...}'"
        )
    if not OmegaConf.is_dict(cfg.job.trained):
        raise LangcoreError(f"job.trained={cfg.job.trained} must map languages to folders, as {{zh: FOLDER}}")
    check_region(cfg, list(cfg.job.trained))
    for setting, variant in [("region.kind", cfg.region.kind), *(("job.scores", score) for score in cfg.job.scores)]:
        if variant == OUTLIERS_KIND or variant.endswith(OUTLIERS):
            raise LangcoreError(f"{setting}={variant} needs a model to run, and job.source=checkpoints runs none")
        missing = [s for s in statistics(cfg, [variant]) if s != "change"]
        if missing:
            raise LangcoreError(
                f"{setting}={variant} by region.score={cfg.region.score} needs passes over text, and"
                " job.source=checkpoints makes none: use weight_change, relative_change or magnitude"
            )
    base = Weights(cfg.job.base)
    trained = {language: Weights(folder) for language, folder in cfg.job.trained.items()}
    patterns = None if cfg.region.parameters is None else list(cfg.region.parameters)
    return Basis(base, CheckpointChanges(base, trained, candidates(base.shapes, patterns)), str(cfg.job.base))


def work_folder(cfg: DictConfig, requests: Sequence[Request]) -> Path:
    """The folder of intermediate results of this search; its name is a digest of everything that determines them."""
    region = OmegaConf.to_container(cfg.region, resolve=True)
    assert isinstance(region, dict)
    recipe = {
        "format": FORMAT,
        "models": [identity(cfg.job.base), *([lang, identity(path)] for lang, path in cfg.job.trained.items())],
        "region": {key: region[key] for key in ("score", "granularity", "scope", "parameters", "families")},
        "requests": [list(request) for request in requests],
        "thresholds": list(cfg.job.union_thresholds),
    }
    return Path(cfg.paths.artifacts) / f"locating-{artifact_cache.key_of(recipe)}"
