"""Checks of the region's settings before anything is read, for regions from text and from models on disk."""

from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig

from lightning_langcore.importance.selectors import GRANULARITIES, SCOPES, check_fraction
from lightning_langcore.jobs.config.region_kinds import check_variant, score_names
from lightning_langcore.jobs.config.validators import is_finite, is_text, listed, one_of, positive, raise_together
from lightning_langcore.regions.perturbation import METHODS
from lightning_langcore.utils.errors import LangcoreError


def check_region(cfg: DictConfig, languages: Sequence[str] | None) -> None:
    """Check the node ``region`` and the job's settings of regions.

    Args:
        cfg: the whole configuration.
        languages: the languages with statistics; ``None``: not known yet, or not needed.

    Raises:
        LangcoreError: one line for each invalid or unsupported setting.
    """
    node = cfg.region
    checks: list[Callable[[], Any]] = [
        lambda: check_fraction(node.fraction),
        lambda: one_of("region.score", node.score, score_names()),
        lambda: one_of("region.granularity", node.granularity, GRANULARITIES),
        lambda: one_of("region.scope", node.scope, SCOPES),
        lambda: positive("region.memory", node.memory),
        lambda: _patterns(cfg),
    ]
    if node.score in score_names():
        checks.append(lambda: _kind(cfg, languages))
    if cfg.job.name == "locate":
        checks.append(lambda: _locate(cfg, languages))
    if cfg.job.name == "perturb":
        checks.append(lambda: _grid(cfg, languages))
    raise_together(checks)


def _patterns(cfg: DictConfig) -> None:
    if cfg.region.parameters is not None:
        expected = "null, or a list of names or patterns, as ['*.self_attn.*']"
        listed("region.parameters", cfg.region.parameters, is_text, expected)


def _kind(cfg: DictConfig, languages: Sequence[str] | None) -> None:
    if cfg.region.kind != "file":
        check_variant("region.kind", cfg.region.kind, cfg, languages)
    elif cfg.job.name in ("locate", "perturb") and not _has_file(cfg):
        raise LangcoreError(
            f"region.kind=file has no meaning for job.name={cfg.job.name}: choose another region, as region=core"
        )


def _has_file(cfg: DictConfig) -> bool:
    return cfg.job.name == "perturb" and "file" in cfg.job.variants


def _locate(cfg: DictConfig, languages: Sequence[str] | None) -> None:
    one_of("job.source", cfg.job.source, ("text", "checkpoints"))
    if cfg.job.scores:
        listed("job.scores", cfg.job.scores, is_text, "a list of scores")
    for score in cfg.job.scores or []:
        one_of("job.scores", score, score_names())
    if cfg.job.union_thresholds:
        listed("job.union_thresholds", cfg.job.union_thresholds, is_finite, "a list of relative changes, as [0.01]")
    for name in cfg.region.families or {}:
        check_variant("region.families", f"family:{name}", cfg, languages)


def _grid(cfg: DictConfig, languages: Sequence[str] | None) -> None:
    job = cfg.job
    listed("job.variants", job.variants, is_text, "a list of regions, as [core, random]")
    listed("job.fractions", job.fractions, is_finite, "a list of shares of the candidates, as [0.01, 0.05]")
    listed("job.seeds", job.seeds, lambda seed: isinstance(seed, int), "a list of whole numbers")
    listed("job.perturbations", job.perturbations, _is_perturbation, _PERTURBATION)
    for variant in job.variants:
        if variant != "file":
            check_variant("job.variants", variant, cfg, languages)
        elif cfg.region.file is None:
            raise LangcoreError("job.variants=file needs a region file: name it with region.file=FILE")
    for fraction in job.fractions:
        check_fraction(fraction, "job.fractions")
    if cfg.perturbation.method != "none" or "core_guard" in (cfg.callbacks or {}):
        raise LangcoreError(
            "perturbation and callbacks.core_guard have no meaning for job.name=perturb, which trains nothing:"
            " set job.perturbations, which applies to the regions of job.variants"
        )


_PERTURBATION = (
    f"a list with method ({', '.join(METHODS)}) and, except for zero, a finite strength, as"
    " [{method: reinit, strength: 2.0}, {method: zero}]"
)


def _is_perturbation(node: Any) -> bool:
    if not hasattr(node, "keys") or node.get("method") not in METHODS:
        return False
    needed = {"method"} if node.method == "zero" else {"method", "strength"}
    return set(node.keys()) == needed and (node.method == "zero" or is_finite(node.strength))
