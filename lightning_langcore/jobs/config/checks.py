"""Checks of several settings together, and of settings against text and machine, before any work."""

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from transformers.utils import is_flash_attn_2_available, is_kernels_available

from lightning_langcore.callbacks import NoiseSensitivity
from lightning_langcore.data import Source
from lightning_langcore.data.datamodule import check_languages
from lightning_langcore.jobs.config import training_loop
from lightning_langcore.jobs.config.component import REGION_FILE, one_line
from lightning_langcore.jobs.config.data import base_languages, check_text
from lightning_langcore.jobs.config.groups.job import FitJob, LocateJob, PerturbJob
from lightning_langcore.jobs.config.memory import WIDTHS, is_bitsandbytes
from lightning_langcore.jobs.config.region import check_region
from lightning_langcore.jobs.config.region_kinds import statistics
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.jobs.config.together import raise_together
from lightning_langcore.regions.region import Region
from lightning_langcore.training.schedules import make_schedule
from lightning_langcore.utils.errors import LangcoreError

LOCATE_LANGUAGES = ("es", "ru", "ar", "zh", "ko", "vi")
MIN_LOCATE_LANGUAGES = 3
_SOME_STEPS = 1000
NO_PRECISIONS = {
    "16-true": "trains nonsense, because float16 loses small gradients and updates",
    "transformer-engine": "replaces the layers by its own, whose weights can't be addressed by name or frozen",
}
NO_OPTIMIZERS: dict[type, str] = {
    torch.optim.LBFGS: "evaluates the model several times per step, which is not supported",
    torch.optim.SparseAdam: "accepts sparse gradients only, and the gradients are dense",
}


def check(settings: Settings, source: Source) -> None:
    """Check the settings of a run together and against its text.

    Raises:
        LangcoreError: one line for each invalid or unsupported setting.
    """
    uses_file = settings.region.kind == "file" and needs_region(settings)
    raise_together(
        [
            lambda: check_text(settings, source),
            lambda: check_region(settings, locate_languages(settings, source) if needs_statistics(settings) else None),
            lambda: check_training(settings),
            lambda: _objective(settings, source),
            lambda: check_machine(settings),
            lambda: Region.load(str(settings.region.file)) if uses_file else None,
        ]
    )


def check_training(settings: Settings) -> None:
    """The checks of a training that need neither its text nor its machine, as in ``langcore plan``.

    Raises:
        LangcoreError: one line for each invalid or unsupported setting.
    """
    components = [*settings.callbacks.values(), *settings.logger.values(), settings.task.module]
    components.append(settings.trainer.trainer)
    raise_together(
        [
            *training_loop.checks(settings),
            *(component.check_arguments for component in components),
            lambda: _monitors(settings),
            lambda: _devices(settings),
            lambda: _precision(settings),
            lambda: _strategy(settings),
            lambda: _attention(settings),
            lambda: _schedule(settings),
            lambda: _optimizer(settings) if isinstance(settings.job, FitJob) else None,
        ]
    )


def needs_region(settings: Settings) -> bool:
    """Whether the run uses the region."""
    in_callbacks = any(node.arguments.get("region") == REGION_FILE for node in settings.callbacks.values())
    in_fit = settings.perturbation.method != "none" or in_callbacks
    return isinstance(settings.job, LocateJob) or (isinstance(settings.job, FitJob) and in_fit)


def needs_statistics(settings: Settings) -> bool:
    """Whether a region is located from the statistics of several languages."""
    job = settings.job
    if isinstance(job, PerturbJob):
        return bool(statistics(settings.region, job.variants))
    return needs_region(settings) and (
        isinstance(job, LocateJob) or bool(statistics(settings.region, [settings.region.kind]))
    )


def locate_languages(settings: Settings, source: Source) -> list[str]:
    """The languages whose statistics are summed.

    Raises:
        LangcoreError: the data lacks a named language, or has fewer than three of the default languages.
    """
    languages = settings.region.recipe.languages
    if languages is None:
        known = base_languages(settings, source)
        languages = [language for language in LOCATE_LANGUAGES if language in known]
        if len(languages) < MIN_LOCATE_LANGUAGES:
            raise LangcoreError(
                f"region.recipe.languages: the base has only {languages} of {list(LOCATE_LANGUAGES)}, and a core needs"
                f" at least {MIN_LOCATE_LANGUAGES} languages: name some of {known}"
            )
    return check_languages("region.recipe.languages", languages, source)


def _objective(settings: Settings, source: Source) -> None:
    if not isinstance(settings.job, FitJob):
        return
    name = settings.job.objective
    _, split, *language = name.split("/")
    if split.endswith("_answers") and settings.data.conversations is None:
        raise LangcoreError(f"job.objective={name} needs conversations, as of task=sft: use validation or test")
    known = settings.data.eval_languages or source.languages
    if language and not split.endswith("_answers") and language[0] not in known:
        raise LangcoreError(f"job.objective={name}: {language[0]!r} is not evaluated, only {', '.join(known)}")


def _monitors(settings: Settings) -> None:
    for node in settings.callbacks_of(NoiseSensitivity):
        if "core_share" not in (node.arguments.get("signals") or []):
            node.make(region=None)


def _devices(settings: Settings) -> None:
    devices = settings.trainer.devices
    valid = devices == "auto" or (isinstance(devices, int) and not isinstance(devices, bool) and devices > 0)
    if settings.trainer.device_type == "cuda":
        parts = devices.split(",") if isinstance(devices, str) else devices if isinstance(devices, list) else []
        numbers = [str(number).strip() for number in parts if str(number).strip()]
        valid = valid or devices == -1 or (bool(numbers) and all(number.isdecimal() for number in numbers))
    if not valid:
        raise LangcoreError(
            f"trainer.devices={devices} must be a whole number of at least 1, or on GPUs a list of them"
        )


def _precision(settings: Settings) -> None:
    trainer = settings.trainer
    setting, name = f"trainer.precision={trainer.precision}", trainer.full_precision
    if name not in WIDTHS:
        why = NO_PRECISIONS.get(name.partition("-float16")[0], f"is none of {', '.join(WIDTHS)}")
        raise LangcoreError(f"{setting} {why}: set trainer.precision=bf16-true or bf16-mixed")
    if name == "16-mixed" and trainer.device_type != "cuda":
        raise LangcoreError(
            f"{setting} needs a GPU, and with trainer.accelerator={trainer.accelerator} Lightning would use"
            " bf16-mixed on the CPU: set trainer.precision=bf16-mixed, or trainer.accelerator=gpu"
        )


def _strategy(settings: Settings) -> None:
    trainer = settings.trainer
    if trainer.is_flat:
        raise LangcoreError(
            f"trainer.strategy={trainer.strategy} holds weights in flat or private buffers, where single"
            " weights can't be frozen: use trainer=fsdp2"
        )
    if trainer.is_sharded and is_bitsandbytes(settings.optimizer.build):
        raise LangcoreError(
            f"optimizer.build._target_={settings.optimizer.build.target} does not support the shards of trainer=fsdp2:"
            " use optimizer=adamw, or trainer=gpu or ddp"
        )
    if isinstance(settings.job, FitJob) and trainer.forks:
        raise LangcoreError(
            f"trainer.strategy={trainer.strategy} trains in processes whose results are lost to the main process:"
            " use trainer=ddp, or start the ranks with torchrun"
        )


def _optimizer(settings: Settings) -> None:
    """Make the optimizer for two test weights, because ``functools.partial`` accepts any keyword without a check."""
    build = settings.optimizer.build
    setting = f"optimizer.build._target_={build.target}"
    for unsupported, why in NO_OPTIMIZERS.items():
        if build.is_a(unsupported):
            raise LangcoreError(f"{setting} {why}: use optimizer=adamw or optimizer=sgd")
    make = build.make()
    matrix, vector = (torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 2), (2,)))
    try:
        make([{"params": [matrix]}, {"params": [vector], "weight_decay": 0.0}])
    except (TypeError, ValueError, RuntimeError) as error:
        raise LangcoreError(
            f"{setting} can't be made with the other settings of optimizer.build ({one_line(error)}): change them,"
            " for example with ~optimizer.build.KEY and +optimizer.build.KEY=VALUE"
        ) from error


def _schedule(settings: Settings) -> None:
    """Make the schedule of a test weight for a training of some length."""
    own = settings.optimizer
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=own.lr)
    make_schedule(own.schedule, optimizer, own.num_warmup_steps, _SOME_STEPS, own.schedule_kwargs)


def _attention(settings: Settings) -> None:
    name = settings.model.attention
    if name.startswith(("flash_attention", "flex_attention")) and settings.trainer.device_type != "cuda":
        raise LangcoreError(f"model.attention={name} needs a GPU: use model.attention=sdpa, or trainer=gpu")


def check_machine(settings: Settings) -> None:
    """Check that this machine has the configured devices and packages.

    Raises:
        LangcoreError: a device or package is missing.
    """
    trainer, known = settings.trainer, AcceleratorRegistry.available_accelerators()
    choices = ("auto", "gpu", *sorted(known))
    if trainer.accelerator not in choices:
        raise LangcoreError(f"trainer.accelerator={trainer.accelerator} is none of {', '.join(choices)}")
    by_name = {"auto": tuple(known), "gpu": ("cuda", "mps")}
    kinds = by_name.get(trainer.accelerator, (trainer.accelerator,))
    if not any(AcceleratorRegistry[kind]["accelerator"].is_available() for kind in kinds):
        raise LangcoreError(
            f"trainer.accelerator={trainer.accelerator}: this machine has none that PyTorch can use: use trainer=cpu,"
            " or check the driver and the build of PyTorch"
        )
    num_gpus = torch.cuda.device_count() if trainer.device_type == "cuda" else 0
    if num_gpus and trainer.num_devices > num_gpus:
        raise LangcoreError(f"trainer.devices={trainer.devices}: this machine has {num_gpus} GPUs: request fewer")
    packages = is_flash_attn_2_available() or is_kernels_available()
    if settings.model.attention == "flash_attention_2" and num_gpus and not packages:
        raise LangcoreError(
            "model.attention=flash_attention_2 needs the package flash-attn, which is not installed: pip install"
            " flash-attn, or use model.attention=sdpa"
        )
