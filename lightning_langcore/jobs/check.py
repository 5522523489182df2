"""What can be refused before any work is done: all errors at once, each with its setting."""

from omegaconf import DictConfig, OmegaConf

from lightning_langcore.data import Source
from lightning_langcore.data.datamodule import check_languages
from lightning_langcore.jobs.check_region import check_region
from lightning_langcore.jobs.settings import is_finite, is_sharded, is_text, listed, make, one_of, positive, together
from lightning_langcore.jobs.text import base_languages, check_text
from lightning_langcore.jobs.variants import statistics
from lightning_langcore.perturb import METHODS
from lightning_langcore.region import Region

LOCATE_LANGUAGES = ("es", "ru", "ar", "zh", "ko", "vi")
MIN_LOCATE_LANGUAGES = 3


def check(cfg: DictConfig, source: Source) -> None:
    """Look at the whole configuration.

    Raises:
        ValueError: one line for each setting that can't be honoured.
    """
    together(
        [
            lambda: check_text(cfg, source),
            lambda: check_region(cfg, locate_languages(cfg, source) if needs_evidence(cfg) else None),
            lambda: _dimension(cfg) if cfg.job.name == "dimension" else None,
            lambda: one_of("perturbation.method", cfg.perturbation.method, ("none", *METHODS)),
            lambda: _length(cfg),
            lambda: _callbacks(cfg),
            lambda: _strategy(cfg),
            lambda: make(cfg.optimizer.build) if cfg.job.name == "fit" else None,
            lambda: Region.load(cfg.region.file) if cfg.region.kind == "file" and needs_region(cfg) else None,
        ]
    )


def needs_region(cfg: DictConfig) -> bool:
    """Whether anything of the run touches the region."""
    callbacks = OmegaConf.to_container(cfg.callbacks, resolve=False) if cfg.callbacks else {}
    assert isinstance(callbacks, dict)
    asked = any(isinstance(node, dict) and node.get("region") == "${region.file}" for node in callbacks.values())
    fits = cfg.perturbation.method != "none" or asked
    return cfg.job.name == "locate" or (cfg.job.name == "fit" and fits)


def needs_evidence(cfg: DictConfig) -> bool:
    """Whether a region comes from what is recorded of several languages."""
    if cfg.job.name == "perturb":
        return bool(statistics(cfg, [variant for variant in cfg.job.variants or [] if isinstance(variant, str)]))
    return needs_region(cfg) and bool(cfg.job.name == "locate" or statistics(cfg, [cfg.region.kind]))


def locate_languages(cfg: DictConfig, source: Source) -> list[str]:
    """The languages whose changes are added up.

    Raises:
        ValueError: a named one is missing, or there are fewer than three.
    """
    wanted = cfg.region.recipe.languages
    if wanted is None:
        known = base_languages(cfg, source)
        wanted = [language for language in LOCATE_LANGUAGES if language in known]
        if len(wanted) < MIN_LOCATE_LANGUAGES:
            raise ValueError(
                f"region.recipe.languages: the base has only {wanted} of {list(LOCATE_LANGUAGES)}, and a core needs at"
                f" least {MIN_LOCATE_LANGUAGES} languages: name some of {known}"
            )
    return check_languages("region.recipe.languages", wanted, source)


def _dimension(cfg: DictConfig) -> None:
    for setting in ("num_dimensions", "num_weights", "num_new_tokens"):
        positive(f"job.{setting}", cfg.job[setting])
    if cfg.job.targets != "auto":
        listed("job.targets", cfg.job.targets, is_text, "auto, or a list of weights as NAME[INDEX]")
    if cfg.job.prompts is not None:
        listed("job.prompts", cfg.job.prompts, is_text, "null, or a list of texts")
    listed("job.norms", cfg.job.norms, is_text, "a list of names or patterns")
    for setting in ("set", "scale", "grid"):
        listed(f"job.{setting}", cfg.job[setting], is_finite, "a list of finite numbers")


def _callbacks(cfg: DictConfig) -> None:
    for name, node in (cfg.callbacks or {}).items():
        if not OmegaConf.is_dict(node) or not OmegaConf.select(node, "_target_"):
            raise ValueError(
                f"callbacks.{name} has no _target_, so it would do nothing: write its class there, or remove it with"
                f" ~callbacks.{name}"
            )
        if str(node._target_).endswith("NoiseSensitivity") and "core_share" not in (node.get("signals") or []):
            make({**OmegaConf.to_container(node, resolve=True), "region": None})  # type: ignore[dict-item]


def _strategy(cfg: DictConfig) -> None:
    node = cfg.trainer.strategy
    name = str(node._target_ if OmegaConf.is_dict(node) else node).lower().rpartition(".")[2]
    if "deepspeed" in name or "fsdp" in name:
        raise ValueError(
            f"trainer.strategy={node} holds weights in flat or private buffers, where single ones can't be kept: use"
            " trainer=fsdp2"
        )
    if is_sharded(cfg) and str(cfg.optimizer.build._target_).startswith("bitsandbytes"):
        raise ValueError(
            f"optimizer.build._target_={cfg.optimizer.build._target_} can't step the shards of trainer=fsdp2: use"
            " optimizer=adamw, or trainer=gpu or ddp"
        )
    if str(cfg.trainer.precision) == "16-mixed" and cfg.trainer.accelerator == "cpu":
        raise ValueError(
            "trainer.precision=16-mixed needs a GPU, and Lightning would take bf16-mixed on a CPU: say"
            " trainer.precision=bf16-mixed"
        )
    if cfg.job.name == "fit" and any(word in str(cfg.trainer.strategy) for word in ("spawn", "fork", "notebook")):
        raise ValueError(
            f"trainer.strategy={cfg.trainer.strategy} trains in processes whose results are lost to this one: use"
            " trainer=ddp, or start the ranks with torchrun"
        )


def _length(cfg: DictConfig) -> None:
    if "max_epochs" in cfg.trainer:
        raise ValueError(
            "trainer.max_epochs has no meaning here: data.num_tokens says how long, data.max_epochs how often the text"
            " may be repeated"
        )
