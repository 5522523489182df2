"""The groups ``task``, ``optimizer``, ``trainer`` and ``paths``."""

from functools import cached_property
from typing import Annotated, Any

import torch
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, StrategyRegistry
from pydantic import Field

from lightning_langcore.jobs.config.component import Component
from lightning_langcore.jobs.config.groups.base import (
    Count,
    CountOrZero,
    Expected,
    Flag,
    Group,
    Made,
    NotNegative,
    Text,
)
from lightning_langcore.training.modules import SupervisedFineTuning
from lightning_langcore.training.schedules import SCHEDULES

FULL_PRECISION = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
_FORKING = ("spawn", "fork")
"""Starts of the names of the ways in which a strategy makes the other ranks from this process."""


class Task(Group):
    """The LightningModule and its loss; further settings are arguments of its class."""

    module: Annotated[Component, Expected("a class in _target_ with its arguments")] = Field(
        description="the class in _target_ with its arguments"
    )
    chunked_loss: Flag = Field(
        False,
        description="true: compute the loss for 512 positions at a time, without all logits in memory; equal up to"
        " rounding",
    )
    compile: Flag = Field(
        False,
        description="true: run the training step through torch.compile; the first step takes a minute or more; equal up"
        " to rounding",
    )

    @cached_property
    def is_sft(self) -> bool:
        """Whether the module learns from conversations."""
        return self.module.is_a(SupervisedFineTuning)


class OptimizerSettings(Group):
    """The optimizer and its schedule."""

    lr: NotNegative = Field(description="peak learning rate")
    weight_decay: NotNegative = Field(description="weight decay on matrices, but not on norms")
    schedule: Text = Field(description=f"a name of transformers.get_scheduler: {', '.join(SCHEDULES)}")
    num_warmup_steps: CountOrZero = Field(description="optimizer steps of linear warm-up")
    schedule_kwargs: Annotated[dict[str, Any], Expected("arguments of the schedule, as {num_decay_steps: 20}")] = Field(
        description="further arguments of the schedule, as {num_decay_steps: 20} for warmup_stable_decay"
    )
    build: Made = Field(
        description="the optimizer's class and arguments, as a partial; called with the parameter groups"
    )


class TrainerSettings(Group):
    """Lightning's Trainer; further settings are its arguments."""

    trainer: Annotated[Component, Expected("a class in _target_ with its arguments")] = Field(
        description="the class in _target_ with its arguments"
    )
    accelerator: Text = Field("auto", description="cpu, gpu or auto")
    devices: Annotated[Any, Expected("a whole number of at least 1, or on GPUs a list of them")] = Field(
        "auto", description="number of processes, each with its own device; on GPUs also a list of their numbers"
    )
    num_nodes: Count = Field(1, description="number of nodes, each with as many devices")
    strategy: Annotated[Any, Expected("a name, or a class in _target_ with its arguments")] = Field(
        "auto", description="auto, ddp, or a class in _target_ with its arguments (trainer=fsdp2)"
    )
    precision: Annotated[Any, Expected("a name of a precision")] = Field(
        "32-true", description="numeric format of weights and matrix products: 32-true, bf16-mixed, bf16-true, 16-mixed"
    )
    accumulate_grad_batches: Count = Field(1, description="batches per optimizer step")

    @cached_property
    def device_type(self) -> str:
        """``cuda`` or ``cpu``; devices that share the host's memory, such as ``mps``, count as ``cpu``."""
        if self.accelerator in ("gpu", "cuda"):
            return "cuda"
        return "cuda" if self.accelerator == "auto" and torch.cuda.is_available() else "cpu"

    @cached_property
    def num_devices(self) -> int:
        """Number of devices per node, from a number, a list, a string (``"2"``, ``"0,1"``), ``auto`` or -1."""
        devices = self.devices
        if isinstance(devices, list):
            return len(devices)
        if isinstance(devices, str) and "," in devices:
            return len([part for part in devices.split(",") if part.strip()])
        if str(devices) in ("auto", "-1"):
            return max(1, torch.cuda.device_count()) if self.device_type == "cuda" else 1
        return int(devices)

    @cached_property
    def full_precision(self) -> str:
        """Lightning's full name of the precision, as ``bf16-mixed`` for ``bf16``."""
        name = "32-true" if self.precision is None else str(self.precision)
        return FULL_PRECISION.get(name, name)

    @cached_property
    def strategy_name(self) -> str:
        """Lightning's name of the strategy (``auto``, ``ddp``), or the name of the class in ``_target_``."""
        node = self.strategy
        return str(node["_target_"]).rpartition(".")[2] if isinstance(node, dict) else str(node)

    @cached_property
    def strategy_class(self) -> type | None:
        """The class of the strategy; ``None``: Lightning chooses it, or does not know the name.

        Raises:
            LangcoreError: the class in ``_target_`` can't be imported.
        """
        if isinstance(self.strategy, dict):
            found = Component("trainer.strategy", self.strategy).resolved
            return found if isinstance(found, type) else None
        known = _registered(self.strategy_name)
        return known["strategy"] if known else None

    def is_strategy(self, cls: type) -> bool:
        """Whether the strategy is this class or a subclass of it."""
        return self.strategy_class is not None and issubclass(self.strategy_class, cls)

    @property
    def is_sharded(self) -> bool:
        """Whether the strategy is FSDP2, Lightning's ModelParallelStrategy."""
        return self.is_strategy(ModelParallelStrategy)

    @cached_property
    def forks(self) -> bool:
        """Whether the strategy forks or spawns the ranks from this process."""
        if isinstance(self.strategy, dict):
            start = str(self.strategy.get("start_method", ""))
        else:
            start = str(_registered(self.strategy_name).get("init_params", {}).get("start_method", ""))
        return start.startswith(_FORKING)

    @property
    def restarts(self) -> bool:
        """Whether Lightning starts the other ranks by running the same command again."""
        if self.strategy_name == "auto":
            return self.num_devices > 1
        parallel = self.is_strategy(DDPStrategy) or self.is_sharded or self.is_flat
        return parallel and not self.forks

    @property
    def is_flat(self) -> bool:
        """Whether the strategy holds weights in flat or private buffers: FSDP1 and DeepSpeed."""
        name = "" if self.strategy_class is None else self.strategy_class.__name__
        return any(part in f"{self.strategy_name} {name}".lower() for part in ("deepspeed", "fsdp"))


def _registered(name: str) -> dict[str, Any]:
    """Lightning's entry of a strategy (``strategy``, ``init_params``); its own ``get`` would make the strategy."""
    return dict(StrategyRegistry).get(name, {})


class Paths(Group):
    """Folders; relative paths are relative to the current folder."""

    artifacts: Text = Field(description="cache of base models, located statistics and packed text, by their recipe")
    base: Text = Field(description="folder of the base's weights; set by the job")
    runs: Text = Field(description="parent of the run folders")
    output: Text = Field(description="the run folder of this run")
