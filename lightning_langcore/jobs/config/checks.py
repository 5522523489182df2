"""Checks of the configuration before any work: all errors are reported together, each with its setting."""

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from omegaconf import DictConfig, OmegaConf
from transformers.utils import is_flash_attn_2_available, is_kernels_available

from lightning_langcore.data import Source
from lightning_langcore.data.datamodule import check_languages
from lightning_langcore.jobs.config.data import base_languages, check_text
from lightning_langcore.jobs.config.devices import accelerator, forks, is_sharded, num_devices, precision, strategy
from lightning_langcore.jobs.config.memory import WIDTHS
from lightning_langcore.jobs.config.region import check_region
from lightning_langcore.jobs.config.region_kinds import statistics
from lightning_langcore.jobs.config.validators import (
    is_finite,
    is_text,
    is_whole,
    listed,
    make,
    one_line,
    one_of,
    positive,
    raise_together,
)
from lightning_langcore.regions.perturbation import METHODS
from lightning_langcore.regions.region import Region
from lightning_langcore.utils.errors import LangcoreError

LOCATE_LANGUAGES = ("es", "ru", "ar", "zh", "ko", "vi")
MIN_LOCATE_LANGUAGES = 3
NO_PRECISIONS = {
    "16-true": "trains nonsense, because float16 loses small gradients and updates",
    "transformer-engine": "replaces the layers by its own, whose weights can't be addressed by name or frozen",
}
NO_OPTIMIZERS = {
    "LBFGS": "evaluates the model several times per step, which is not supported",
    "SparseAdam": "accepts sparse gradients only, and the gradients are dense",
}


def check(cfg: DictConfig, source: Source) -> None:
    """Check the whole configuration.

    Raises:
        LangcoreError: one line for each invalid or unsupported setting.
    """
    raise_together(
        [
            lambda: check_text(cfg, source),
            lambda: check_region(cfg, locate_languages(cfg, source) if needs_statistics(cfg) else None),
            lambda: _dimension(cfg) if cfg.job.name == "perturb_dimension" else None,
            lambda: check_training(cfg),
            lambda: check_machine(cfg),
            lambda: Region.load(cfg.region.file) if cfg.region.kind == "file" and needs_region(cfg) else None,
        ]
    )


def check_training(cfg: DictConfig) -> None:
    """The checks of a training that need neither its text nor its machine, as in ``langcore plan``.

    Raises:
        LangcoreError: one line for each invalid or unsupported setting.
    """
    raise_together(
        [
            lambda: one_of("perturbation.method", cfg.perturbation.method, ("none", *METHODS)),
            lambda: _length(cfg),
            lambda: _callbacks(cfg),
            lambda: _counts(cfg),
            lambda: _precision(cfg),
            lambda: _strategy(cfg),
            lambda: _attention(cfg),
            lambda: _optimizer(cfg) if cfg.job.name == "fit" else None,
        ]
    )


def needs_region(cfg: DictConfig) -> bool:
    """Whether the run uses the region."""
    callbacks = OmegaConf.to_container(cfg.callbacks, resolve=False) if cfg.callbacks else {}
    assert isinstance(callbacks, dict)
    in_callbacks = any(isinstance(node, dict) and node.get("region") == "${region.file}" for node in callbacks.values())
    in_fit = cfg.perturbation.method != "none" or in_callbacks
    return cfg.job.name == "locate" or (cfg.job.name == "fit" and in_fit)


def needs_statistics(cfg: DictConfig) -> bool:
    """Whether a region is located from the statistics of several languages."""
    if cfg.job.name == "perturb":
        return bool(statistics(cfg, [variant for variant in cfg.job.variants or [] if isinstance(variant, str)]))
    return needs_region(cfg) and bool(cfg.job.name == "locate" or statistics(cfg, [cfg.region.kind]))


def locate_languages(cfg: DictConfig, source: Source) -> list[str]:
    """The languages whose statistics are summed.

    Raises:
        LangcoreError: the data lacks a named language, or has fewer than three of the default languages.
    """
    languages = cfg.region.recipe.languages
    if languages is None:
        known = base_languages(cfg, source)
        languages = [language for language in LOCATE_LANGUAGES if language in known]
        if len(languages) < MIN_LOCATE_LANGUAGES:
            raise LangcoreError(
                f"region.recipe.languages: the base has only {languages} of {list(LOCATE_LANGUAGES)}, and a core needs"
                f" at least {MIN_LOCATE_LANGUAGES} languages: name some of {known}"
            )
    return check_languages("region.recipe.languages", languages, source)


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
            raise LangcoreError(
                f"callbacks.{name} has no _target_, so it would do nothing: set _target_ to its class, or remove it"
                f" with ~callbacks.{name}"
            )
        if str(node._target_).endswith("NoiseSensitivity") and "core_share" not in (node.get("signals") or []):
            make({**OmegaConf.to_container(node, resolve=True), "region": None})  # type: ignore[dict-item]


def _counts(cfg: DictConfig) -> None:
    raise_together(
        [
            *(lambda name=name: positive(f"data.{name}", cfg.data[name]) for name in ("batch_size", "block_size")),
            *(
                lambda name=name: positive(f"trainer.{name}", cfg.trainer.get(name, 1))
                for name in ("accumulate_grad_batches", "num_nodes")
            ),
            lambda: _devices(cfg),
        ]
    )


def _devices(cfg: DictConfig) -> None:
    devices = cfg.trainer.devices
    valid = devices == "auto" or (is_whole(devices) and devices > 0)
    if accelerator(cfg) == "cuda":
        parts = devices.split(",") if isinstance(devices, str) else devices if OmegaConf.is_list(devices) else []
        numbers = [str(number).strip() for number in parts if str(number).strip()]
        valid = valid or devices == -1 or (bool(numbers) and all(number.isdecimal() for number in numbers))
    if not valid:
        raise LangcoreError(
            f"trainer.devices={devices} must be a whole number of at least 1, or on GPUs a list of them"
        )


def _precision(cfg: DictConfig) -> None:
    setting, name = f"trainer.precision={cfg.trainer.get('precision')}", precision(cfg)
    if name not in WIDTHS:
        why = NO_PRECISIONS.get(name.partition("-float16")[0], f"is none of {', '.join(WIDTHS)}")
        raise LangcoreError(f"{setting} {why}: set trainer.precision=bf16-true or bf16-mixed")
    if name == "16-mixed" and accelerator(cfg) != "cuda":
        raise LangcoreError(
            f"{setting} needs a GPU, and with trainer.accelerator={cfg.trainer.accelerator} Lightning would use"
            " bf16-mixed on the CPU: set trainer.precision=bf16-mixed, or trainer.accelerator=gpu"
        )


def _strategy(cfg: DictConfig) -> None:
    name = strategy(cfg).lower()
    if "deepspeed" in name or "fsdp" in name:
        raise LangcoreError(
            f"trainer.strategy={cfg.trainer.strategy} holds weights in flat or private buffers, where single"
            " weights can't be frozen: use trainer=fsdp2"
        )
    if is_sharded(cfg) and str(cfg.optimizer.build._target_).startswith("bitsandbytes"):
        raise LangcoreError(
            f"optimizer.build._target_={cfg.optimizer.build._target_} does not support the shards of trainer=fsdp2:"
            " use optimizer=adamw, or trainer=gpu or ddp"
        )
    if cfg.job.name == "fit" and forks(cfg):
        raise LangcoreError(
            f"trainer.strategy={cfg.trainer.strategy} trains in processes whose results are lost to the main process:"
            " use trainer=ddp, or start the ranks with torchrun"
        )


def _optimizer(cfg: DictConfig) -> None:
    """Make the optimizer for two test weights, because ``functools.partial`` accepts any keyword without a check."""
    setting = f"optimizer.build._target_={cfg.optimizer.build._target_}"
    why = NO_OPTIMIZERS.get(str(cfg.optimizer.build._target_).rpartition(".")[2])
    if why is not None:
        raise LangcoreError(f"{setting} {why}: use optimizer=adamw or optimizer=sgd")
    build = make(cfg.optimizer.build)
    matrix, vector = (torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 2), (2,)))
    try:
        build([{"params": [matrix]}, {"params": [vector], "weight_decay": 0.0}])
    except (TypeError, ValueError, RuntimeError) as error:
        raise LangcoreError(
            f"{setting} can't be made with the other settings of optimizer.build ({one_line(error)}): change them,"
            " for example with ~optimizer.build.KEY and +optimizer.build.KEY=VALUE"
        ) from error


def _attention(cfg: DictConfig) -> None:
    name = str(cfg.model.attention)
    if name.startswith(("flash_attention", "flex_attention")) and accelerator(cfg) != "cuda":
        raise LangcoreError(f"model.attention={name} needs a GPU: use model.attention=sdpa, or trainer=gpu")


def check_machine(cfg: DictConfig) -> None:
    """Check that this machine has the configured devices and packages.

    Raises:
        LangcoreError: a device or package is missing.
    """
    name, known = str(cfg.trainer.accelerator), AcceleratorRegistry.available_accelerators()
    one_of("trainer.accelerator", name, ("auto", "gpu", *sorted(known)))
    kinds = known if name == "auto" else ("cuda", "mps") if name == "gpu" else (name,)
    if not any(AcceleratorRegistry[kind]["accelerator"].is_available() for kind in kinds):
        raise LangcoreError(
            f"trainer.accelerator={name}: this machine has none that PyTorch can use: use trainer=cpu, or check the"
            " driver and the build of PyTorch"
        )
    num_gpus = torch.cuda.device_count() if accelerator(cfg) == "cuda" else 0
    if num_gpus and num_devices(cfg) > num_gpus:
        raise LangcoreError(f"trainer.devices={cfg.trainer.devices}: this machine has {num_gpus} GPUs: request fewer")
    packages = is_flash_attn_2_available() or is_kernels_available()
    if cfg.model.attention == "flash_attention_2" and num_gpus and not packages:
        raise LangcoreError(
            "model.attention=flash_attention_2 needs the package flash-attn, which is not installed: pip install"
            " flash-attn, or use model.attention=sdpa"
        )


def _length(cfg: DictConfig) -> None:
    if "max_epochs" in cfg.trainer:
        raise LangcoreError(
            "trainer.max_epochs has no meaning here: set the length with data.num_tokens, and how often the text may be"
            " repeated with data.max_epochs"
        )
