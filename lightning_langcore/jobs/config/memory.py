"""The memory plan of a run, made from its configuration before it begins; a training that can't fit is refused."""

import os
from dataclasses import replace

import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, SingleDeviceXLAStrategy

from lightning_langcore.callbacks import CoreGuard, MultilingualPerplexity, WeightDiff
from lightning_langcore.jobs.config.component import Component
from lightning_langcore.jobs.config.groups.job import FitJob
from lightning_langcore.jobs.config.model import config_of
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.models import loading
from lightning_langcore.models.parameters import candidates, named_shapes
from lightning_langcore.regions.region import Region
from lightning_langcore.training.memory.footprint import Guard, Model, Optimizer, Training
from lightning_langcore.training.memory.planner import GIB, plan
from lightning_langcore.utils.errors import LangcoreError

WIDTHS = {"64-true": 8, "32-true": None, "bf16-true": 2, "bf16-mixed": None, "16-mixed": None}
BNB = {"AdamW8bit": 2, "Adam8bit": 2, "PagedAdamW8bit": 2, "PagedAdam8bit": 2}
CHANGES_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")  # of Gemma 2, Cohere, Granite
BNB_MIN = 4096  # elements; bitsandbytes' default size from which tensors are quantized


class UnknownError(LangcoreError):
    """A setting whose memory can't be planned; the run itself may work."""


def check_fits(settings: Settings) -> None:
    """Refuse a training that can't fit, before anything is loaded. A run that can't be planned is not refused.

    Raises:
        LangcoreError: the training needs more memory than a device has (the message lists settings that need less), or
            the model's config can't be read.
    """
    memory = device_memory(settings)
    if not isinstance(settings.job, FitJob) or memory is None:
        return
    try:
        training = training_of(settings)
    except UnknownError:
        return
    refuse_too_large(training, memory, on_host=settings.trainer.device_type != "cuda")


def check_locates(settings: Settings, mixed: bool) -> None:
    """Refuse to locate by training if training all weights with AdamW does not fit on one device.

    Args:
        settings: the settings of the run.
        mixed: whether matrix products run in a lower precision (autocast).

    Raises:
        LangcoreError: the training needs more memory than a device has.
    """
    memory = device_memory(settings)
    training = Training(
        model_of(settings),
        Optimizer(2, has_counter=True),
        width=loading.DTYPES[settings.model.dtype].itemsize,
        autocast=mixed,
        batch_size=settings.region.recipe.batch_size,
        block_size=settings.data.block_size,
        attention=settings.model.attention,
    )
    need = plan(training).num_bytes
    if memory is not None and need > memory:
        raise LangcoreError(
            f"region.score={settings.region.score} trains all weights on one device to locate, which needs about"
            f" {need / GIB:.3g} GiB, but there are {memory / GIB:.3g}: choose region.score=taylor, fisher or wanda,"
            " which need no optimizer, or train on each language with trainer=fsdp2 and locate from the saved models"
            " with job.source=checkpoints"
        )


def refuse_too_large(training: Training, memory: float, on_host: bool) -> None:
    """Refuse a training that needs more memory than there is.

    Args:
        training: the planned training.
        memory: bytes available to one device, or to one process on a CPU.
        on_host: whether the device is the CPU, whose memory also holds what is planned for the host.

    Raises:
        LangcoreError: the training needs more; the message lists alternatives with the memory each would need.
    """

    def need(variant: Training) -> float:
        planned = plan(variant)
        return planned.num_bytes + (sum(planned.host.values()) if on_host else 0)

    if need(training) <= memory:
        return
    needs = {setting: need(other) for setting, other in ways_out(training, on_host).items()}
    less = {setting: size for setting, size in needs.items() if size < need(training)}
    alternatives = ", ".join(f"{setting} ({size / GIB:.3g})" for setting, size in less.items())
    smaller = f"choose a smaller model or {'a machine with more memory' if on_host else 'more devices (trainer=fsdp2)'}"
    if not less:
        way = smaller
    elif min(less.values()) > memory:
        way = f"none of these suffices: {alternatives}; {smaller}"
    else:
        way = f"choose one or more of {alternatives}"
    each = "" if training.strategy == "one" else f" on each of trainer.devices={training.num_devices}"
    raise LangcoreError(
        f"the training needs about {need(training) / GIB:.3g} GiB{each}, but there are {memory / GIB:.3g}: {way}"
    )


def ways_out(training: Training, on_host: bool = False) -> dict[str, Training]:
    """Settings that may need less memory, each alone, with the training that each makes.

    More devices are offered only where each device has its own memory, so not on a CPU.
    """
    small = replace(training.optimizer, num_states=2, has_counter=False, min_8bit_size=BNB_MIN, num_copies=0)
    ways = {
        "model.activation_checkpointing=true": replace(training, checkpointing=True),
        "task.chunked_loss=true": replace(training, chunked_loss=True),
        "trainer.precision=bf16-true": replace(training, width=2, autocast=False),
        "data.batch_size=1": replace(training, batch_size=1),
    }
    if training.strategy != "fsdp2":  # where 8-bit states are refused
        ways["optimizer=adamw8bit"] = replace(training, optimizer=small)
    ways["all of these"] = _all(training, small)
    if on_host:
        return ways
    sharded = 2 * training.num_devices if training.strategy == "fsdp2" else max(2, training.num_devices)
    ways[f"trainer=fsdp2 trainer.devices={sharded}"] = replace(training, strategy="fsdp2", num_devices=sharded)
    return ways


def _all(training: Training, small: Optimizer) -> Training:
    optimizer = training.optimizer if training.strategy == "fsdp2" else small
    lean = replace(training, checkpointing=True, chunked_loss=True, batch_size=1)
    return replace(lean, width=2, autocast=False, optimizer=optimizer)


def training_of(settings: Settings) -> Training:
    """The parts of the configuration that determine the memory of the training.

    Raises:
        UnknownError: an optimizer or a strategy that can't be planned.
        LangcoreError: the model's config can't be read, or ``region.parameters`` matches no parameter.
    """
    width, autocast = _precision(settings)
    kind, bucket_views = _strategy(settings)
    model = model_of(settings)
    guard, copies_start, scores = _callbacks(settings, model)
    return Training(
        model,
        optimizer_of(settings),
        width=width,
        autocast=autocast,
        batch_size=settings.data.batch_size,
        block_size=settings.data.block_size,
        attention=settings.model.attention,
        masked=settings.task.is_sft,
        checkpointing=settings.model.activation_checkpointing,
        chunked_loss=settings.task.chunked_loss,
        evaluates=scores,
        accumulates=settings.trainer.accumulate_grad_batches > 1,
        guard=guard,
        copies_start=copies_start,
        averages=bool(settings.callbacks_of(WeightAveraging)),
        strategy=kind,
        num_devices=settings.trainer.num_devices * settings.trainer.num_nodes,
        bucket_views=bucket_views,
    )


def model_of(settings: Settings) -> Model:
    """Shapes and widths of the configured model, from its config alone; no weights are read.

    Raises:
        LangcoreError: the config is missing or can't be read.
    """
    config = config_of(settings)
    shapes = named_shapes(loading.model_without_weights(config, attention="eager"))
    text = config.get_text_config()
    num_heads = text.num_attention_heads
    return Model(
        shapes,
        num_layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        num_heads=num_heads,
        num_kv_heads=getattr(text, "num_key_value_heads", None) or num_heads,
        head_size=getattr(text, "head_dim", None) or text.hidden_size // num_heads,
        vocabulary=text.vocab_size,
        changes_logits=any(getattr(text, name, None) not in (None, 1) for name in CHANGES_LOGITS),
    )


def optimizer_of(settings: Settings) -> Optimizer:
    """The memory-relevant properties of the configured optimizer.

    Raises:
        UnknownError: an optimizer that can't be planned.
    """
    build, given = settings.optimizer.build, settings.optimizer.build.arguments
    own = [c.__name__ for c in _ancestors(build) if c.__name__ in BNB and is_bitsandbytes(build)]
    if own:
        paged = own[0].startswith("Paged")
        return Optimizer(BNB[own[0]], min_8bit_size=given.get("min_8bit_size", BNB_MIN), paged=paged)
    loops = settings.trainer.device_type != "cuda" and not given.get("foreach")
    one_by_one = bool(given.get("fused")) or loops
    if build.is_a(torch.optim.Adam):  # and AdamW, which is a subclass
        num_states = 3 if given.get("amsgrad") else 2
        return Optimizer(num_states, has_counter=True, num_copies=0 if one_by_one else 1)
    if build.is_a(torch.optim.SGD):
        decays = bool(given.get("weight_decay"))
        return Optimizer(1 if given.get("momentum") else 0, num_copies=0 if one_by_one or not decays else 1)
    known = ", ".join(("torch's Adam, AdamW, SGD", *(f"bitsandbytes' {known}" for known in BNB)))
    raise UnknownError(f"optimizer.build._target_={build.target}: only {known} are planned")


def is_bitsandbytes(build: Component) -> bool:
    """Whether the optimizer is one of bitsandbytes, or a subclass of one."""
    return any(ancestor.__module__.partition(".")[0] == "bitsandbytes" for ancestor in _ancestors(build))


def _ancestors(build: Component) -> list[type]:
    return list(build.resolved.__mro__) if isinstance(build.resolved, type) else []


def device_memory(settings: Settings) -> float | None:
    """Bytes of one GPU, or one process's share of the host's memory; ``None``: a GPU is configured but not present."""
    if settings.trainer.device_type == "cuda":
        return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / settings.trainer.num_devices


def _precision(settings: Settings) -> tuple[int, bool]:
    """Bytes per weight, and whether matrix products run in a lower precision (autocast)."""
    name = settings.trainer.full_precision
    width = WIDTHS[name] or loading.DTYPES[settings.model.dtype].itemsize
    return width, name.endswith("mixed") and width > 2


def _strategy(settings: Settings) -> tuple[str, bool]:
    """``one``, ``ddp`` or ``fsdp2``, and whether the gradients are views of DDP's buckets."""
    trainer = settings.trainer
    name, node = trainer.strategy_name, trainer.strategy
    if trainer.is_sharded:
        return "fsdp2", False
    if trainer.is_strategy(DDPStrategy) or (name == "auto" and trainer.num_devices > 1):
        return "ddp", isinstance(node, dict) and bool(node.get("gradient_as_bucket_view"))
    if name == "auto" or (
        trainer.is_strategy(SingleDeviceStrategy) and not trainer.is_strategy(SingleDeviceXLAStrategy)
    ):
        return "one", False
    raise UnknownError(f"trainer.strategy={name}: only one device, ddp and fsdp2 are planned")


def _callbacks(settings: Settings, model: Model) -> tuple[Guard | None, bool, bool]:
    """The guard, whether a copy of the initial weights is kept, and whether languages are evaluated."""
    guard = _guard(settings, model) if settings.callbacks_of(CoreGuard) else None
    # unperturbed initial weights are read from the base's file instead
    diffs = settings.callbacks_of(WeightDiff)
    copies = settings.perturbation.method != "none" and any(d.arguments.get("reference") is None for d in diffs)
    return guard, copies, bool(settings.callbacks_of(MultilingualPerplexity))


def _guard(settings: Settings, model: Model) -> Guard:
    node = settings.region
    if node.kind == "file":
        region = Region.load(str(node.file))
        return Guard(region.shapes, region.fraction, str(region.meta.get("granularity") or "element"))
    return Guard(candidates(model.shapes, node.parameters), node.fraction, node.granularity)
