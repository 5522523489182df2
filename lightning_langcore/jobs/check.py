"""What can be refused before any work is done: all errors at once, each with its setting."""

import math
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_langcore.data import Source
from lightning_langcore.data.datamodule import check_languages
from lightning_langcore.jobs.variants import SCORE_NAMES, check_variant, statistics
from lightning_langcore.perturb import METHODS
from lightning_langcore.region import Region
from lightning_langcore.selectors import GRANULARITIES, SCOPES, check_fraction

LOCATE_LANGUAGES = ("es", "ru", "ar", "zh", "ko", "vi")
MIN_LOCATE_LANGUAGES = 3


def check(cfg: DictConfig, source: Source) -> None:
    """Look at the whole configuration.

    Raises:
        ValueError: one line for each setting that can't be honoured.
    """
    checks: list[Callable[[], Any]] = [
        lambda: check_languages("data.languages", cfg.data.languages, source),
        lambda: check_languages("data.eval_languages", cfg.data.eval_languages, source),
        lambda: locate_languages(cfg, source) if needs_evidence(cfg) else None,
        lambda: check_fraction(cfg.region.fraction),
        lambda: _one_of("region.score", cfg.region.score, SCORE_NAMES),
        lambda: _one_of("region.granularity", cfg.region.granularity, GRANULARITIES),
        lambda: _one_of("region.scope", cfg.region.scope, SCOPES),
        lambda: _kind(cfg, source),
        lambda: _grid(cfg, source) if cfg.job.name == "perturb" else None,
        lambda: _dimension(cfg) if cfg.job.name == "dimension" else None,
        lambda: _one_of("perturbation.method", cfg.perturbation.method, ("none", *METHODS)),
        lambda: _positive("data.num_tokens", cfg.data.num_tokens),
        lambda: _positive("data.block_size", cfg.data.block_size),
        lambda: _positive("data.batch_size", cfg.data.batch_size),
        lambda: _length(cfg),
        lambda: _callbacks(cfg),
        lambda: Region.load(cfg.region.file) if cfg.region.kind == "file" and needs_region(cfg) else None,
    ]
    errors = []
    for one in checks:
        try:
            one()
        except ValueError as error:
            errors.append(str(error))
    if errors:
        raise ValueError("\n".join(errors))


def needs_region(cfg: DictConfig) -> bool:
    """Whether anything of the run touches the region."""
    fits = cfg.perturbation.method != "none" or "core_guard" in (cfg.callbacks or {})
    return cfg.job.name == "locate" or (cfg.job.name == "fit" and fits)


def needs_evidence(cfg: DictConfig) -> bool:
    """Whether a region comes from what is recorded of several languages."""
    if cfg.job.name == "perturb":
        return bool(statistics(cfg, cfg.job.variants))
    return needs_region(cfg) and bool(cfg.job.name == "locate" or statistics(cfg, [cfg.region.kind]))


def locate_languages(cfg: DictConfig, source: Source) -> list[str]:
    """The languages whose changes are added up.

    Raises:
        ValueError: a named one is missing, or there are fewer than three.
    """
    wanted = cfg.region.recipe.languages
    if wanted is None:
        wanted = [language for language in LOCATE_LANGUAGES if language in source.languages]
        if len(wanted) < MIN_LOCATE_LANGUAGES:
            raise ValueError(
                f"region.recipe.languages: the data has only {wanted} of {list(LOCATE_LANGUAGES)}, and a core needs at"
                f" least {MIN_LOCATE_LANGUAGES} languages: name some of {source.languages}"
            )
    return check_languages("region.recipe.languages", wanted, source)


def _kind(cfg: DictConfig, source: Source) -> None:
    if cfg.region.kind == "file":
        if cfg.job.name == "locate":
            raise ValueError("region.kind=file is located already: choose another region, as region=core")
        return
    check_variant("region.kind", cfg.region.kind, cfg, locate_languages(cfg, source) if needs_evidence(cfg) else None)
    for score in cfg.job.get("scores", []):
        _one_of("job.scores", score, SCORE_NAMES)


def _grid(cfg: DictConfig, source: Source) -> None:
    known = locate_languages(cfg, source) if needs_evidence(cfg) else None
    for setting in ("variants", "fractions", "seeds", "perturbations"):
        values = cfg.job[setting]
        if not OmegaConf.is_list(values) or not values or any(values.count(value) > 1 for value in values):
            raise ValueError(f"job.{setting}={values} must be a list of at least one, each once")
    for variant in cfg.job.variants:
        check_variant("job.variants", variant, cfg, known)
    for fraction in cfg.job.fractions:
        check_fraction(fraction, "job.fractions")
    for node in cfg.job.perturbations:
        _one_of("job.perturbations.method", node.method, METHODS)


def _dimension(cfg: DictConfig) -> None:
    for setting in ("num_dimensions", "num_weights", "num_new_tokens"):
        _positive(f"job.{setting}", cfg.job[setting])
    if cfg.job.targets != "auto":
        _list("job.targets", cfg.job.targets, _is_text, "auto, or a list of weights as NAME[INDEX]")
    if cfg.job.prompts is not None:
        _list("job.prompts", cfg.job.prompts, _is_text, "null, or a list of texts")
    _list("job.norms", cfg.job.norms, _is_text, "a list of names or patterns")
    for setting in ("set", "scale", "grid"):
        _list(f"job.{setting}", cfg.job[setting], _is_finite, "a list of finite numbers")


def _list(setting: str, values: Any, fits: Callable[[Any], bool], what: str) -> None:
    if not OmegaConf.is_list(values) or not values or not all(map(fits, values)) or len(set(values)) < len(values):
        raise ValueError(f"{setting}={values} must be {what}, at least one and each once")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _callbacks(cfg: DictConfig) -> None:
    for name, node in (cfg.callbacks or {}).items():
        if not OmegaConf.is_dict(node) or not OmegaConf.select(node, "_target_"):
            raise ValueError(
                f"callbacks.{name} has no _target_, so it would do nothing: write its class there, or remove it with"
                f" ~callbacks.{name}"
            )


def _length(cfg: DictConfig) -> None:
    if "max_epochs" in cfg.trainer:
        raise ValueError(
            "trainer.max_epochs has no meaning here: data.num_tokens says how long, data.max_epochs how often the text"
            " may be repeated"
        )


def _one_of(setting: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{setting}={value} is none of {', '.join(known)}")


def _positive(setting: str, value: Any) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{setting}={value} must be a whole number of at least 1")
