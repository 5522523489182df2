"""The memory plan of a run, made from its configuration before it begins; a training that can't fit is refused."""

import os
from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from transformers import LlamaConfig, PreTrainedConfig

from lightning_langcore.jobs.config.data import SFT
from lightning_langcore.jobs.config.devices import accelerator, is_sharded, num_devices, precision, strategy
from lightning_langcore.jobs.config.validators import one_of
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


def check_fits(cfg: DictConfig) -> None:
    """Refuse a training that can't fit, before anything is loaded. A run that can't be planned is not refused.

    Raises:
        LangcoreError: the training needs more memory than a device has (the message lists settings that need less), or
            the model's config can't be read.
    """
    memory = device_memory(cfg)
    if cfg.job.name != "fit" or memory is None:
        return
    if cfg.model.path is not None:
        loading.check_folder(cfg.model.path)  # its errors name a missing folder or pickled weights
    try:
        training = training_of(cfg)
    except UnknownError:
        return
    refuse_too_large(training, memory, on_host=accelerator(cfg) != "cuda")


def check_locates(cfg: DictConfig, mixed: bool) -> None:
    """Refuse to locate by training if training all weights with AdamW does not fit on one device.

    Args:
        cfg: the whole configuration.
        mixed: whether matrix products run in a lower precision (autocast).

    Raises:
        LangcoreError: the training needs more memory than a device has.
    """
    memory = device_memory(cfg)
    training = Training(
        model_of(cfg), Optimizer(2, has_counter=True), width=loading.DTYPES[cfg.model.dtype].itemsize, autocast=mixed,
        batch_size=cfg.region.recipe.batch_size, block_size=cfg.data.block_size, attention=cfg.model.attention,
    )  # fmt: skip
    need = plan(training).num_bytes
    if memory is not None and need > memory:
        raise LangcoreError(
            f"region.score={cfg.region.score} trains all weights on one device to locate, which needs about"
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


def training_of(cfg: DictConfig) -> Training:
    """The parts of the configuration that determine the memory of the training.

    Raises:
        UnknownError: an optimizer or a strategy that can't be planned.
        LangcoreError: the model's config can't be read, or ``region.parameters`` matches no parameter.
    """
    width, autocast = _precision(cfg)
    kind, bucket_views = _strategy(cfg)
    model = model_of(cfg)
    guard, copies_start, scores = _callbacks(cfg, model)
    return Training(
        model,
        optimizer_of(cfg),
        width=width,
        autocast=autocast,
        batch_size=cfg.data.batch_size,
        block_size=cfg.data.block_size,
        attention=cfg.model.attention,
        masked=str(cfg.task._target_).endswith(SFT),
        checkpointing=bool(cfg.model.get("activation_checkpointing", False)),
        chunked_loss=bool(cfg.task.get("chunked_loss", False)),
        evaluates=scores,
        accumulates=(cfg.trainer.get("accumulate_grad_batches") or 1) > 1,
        guard=guard,
        copies_start=copies_start,
        strategy=kind,
        num_devices=num_devices(cfg) * int(cfg.trainer.get("num_nodes") or 1),
        bucket_views=bucket_views,
    )


def model_of(cfg: DictConfig) -> Model:
    """Shapes and widths of the configured model, from its config alone; no weights are read.

    Raises:
        LangcoreError: the config is missing or can't be read.
    """
    if cfg.model.path is None:
        fields: Any = OmegaConf.to_container(cfg.model.config, resolve=True)
        config: PreTrainedConfig = LlamaConfig(**fields, vocab_size=cfg.model.vocab_size)
    else:
        config = loading.load_config(cfg.model.path)
    shapes = named_shapes(loading.model_without_weights(config))
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


def optimizer_of(cfg: DictConfig) -> Optimizer:
    """The memory-relevant properties of the configured optimizer.

    Raises:
        UnknownError: an optimizer that can't be planned.
    """
    build = cfg.optimizer.build
    name = str(build._target_).rpartition(".")[2]
    if name in BNB:
        return Optimizer(BNB[name], min_8bit_size=build.get("min_8bit_size", BNB_MIN), paged=name.startswith("Paged"))
    loops = accelerator(cfg) != "cuda" and not build.get("foreach")
    one_by_one = bool(build.get("fused")) or loops
    if name in ("Adam", "AdamW"):
        num_states = 3 if build.get("amsgrad") else 2
        return Optimizer(num_states, has_counter=True, num_copies=0 if one_by_one else 1)
    if name == "SGD":
        decays = bool(build.get("weight_decay"))
        return Optimizer(1 if build.get("momentum") else 0, num_copies=0 if one_by_one or not decays else 1)
    known = ", ".join(("torch's Adam, AdamW, SGD", *(f"bitsandbytes' {known}" for known in BNB)))
    raise UnknownError(f"optimizer.build._target_={build._target_}: only {known} are planned")


def device_memory(cfg: DictConfig) -> float | None:
    """Bytes of one GPU, or one process's share of the host's memory; ``None``: a GPU is configured but not present."""
    if accelerator(cfg) == "cuda":
        return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / num_devices(cfg)


def _precision(cfg: DictConfig) -> tuple[int, bool]:
    """Bytes per weight, and whether matrix products run in a lower precision (autocast)."""
    one_of("model.dtype", cfg.model.dtype, tuple(loading.DTYPES))
    width = WIDTHS[precision(cfg)] or loading.DTYPES[cfg.model.dtype].itemsize
    return width, precision(cfg).endswith("mixed") and width > 2


def _strategy(cfg: DictConfig) -> tuple[str, bool]:
    """``one``, ``ddp`` or ``fsdp2``, and whether the gradients are views of DDP's buckets."""
    node, name = cfg.trainer.strategy, strategy(cfg)
    if is_sharded(cfg):
        return "fsdp2", False
    if name.startswith("ddp") or name.endswith("DDPStrategy") or (name == "auto" and num_devices(cfg) > 1):
        return "ddp", OmegaConf.is_dict(node) and bool(node.get("gradient_as_bucket_view"))
    if name == "auto" or name.endswith("SingleDeviceStrategy"):
        return "one", False
    raise UnknownError(f"trainer.strategy={name}: only one device, ddp and fsdp2 are planned")


def _callbacks(cfg: DictConfig, model: Model) -> tuple[Guard | None, bool, bool]:
    """The guard, whether a copy of the initial weights is kept, and whether languages are evaluated."""
    container: Any = OmegaConf.to_container(cfg.callbacks, resolve=False) if cfg.callbacks else {}
    nodes = [node for node in container.values() if isinstance(node, dict)]
    by_class = {str(node.get("_target_")).rpartition(".")[2]: node for node in nodes}
    guard = _guard(cfg, model) if "CoreGuard" in by_class else None
    # unperturbed initial weights are read from the base's file instead
    reference = by_class.get("WeightDiff", {"reference": ""}).get("reference")
    copies = cfg.perturbation.method != "none" and reference is None
    return guard, copies, "MultilingualPerplexity" in by_class


def _guard(cfg: DictConfig, model: Model) -> Guard:
    node = cfg.region
    if node.kind == "file":
        region = Region.load(node.file)
        return Guard(region.shapes, region.fraction, str(region.meta.get("granularity") or "element"))
    patterns = None if node.parameters is None else list(node.parameters)
    return Guard(candidates(model.shapes, patterns), node.fraction, node.granularity)
