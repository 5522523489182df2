"""Accelerator, devices, strategy and precision of a run, read from its ``trainer`` node."""

import torch
from omegaconf import DictConfig, OmegaConf

SHORT = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
_RESTARTING = ("ddp", "fsdp", "deepspeed", "modelparallel")
"""Prefixes of the names of strategies that start a process for each rank with the same command."""
_FORKING = ("spawn", "fork", "notebook")
"""Substrings of the names of strategies that fork or spawn the ranks from this process."""


def accelerator(cfg: DictConfig) -> str:
    """``cuda`` or ``cpu``; devices that share the host's memory, such as ``mps``, count as ``cpu``."""
    name = str(cfg.trainer.accelerator)
    if name in ("gpu", "cuda"):
        return "cuda"
    return "cuda" if name == "auto" and torch.cuda.is_available() else "cpu"


def num_devices(cfg: DictConfig) -> int:
    """Number of devices per node, from a number, a list, a string (``"2"``, ``"0,1"``), ``auto`` or -1."""
    devices = cfg.trainer.get("devices", "auto")
    if OmegaConf.is_list(devices):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([part for part in devices.split(",") if part.strip()])
    if str(devices) in ("auto", "-1"):
        return max(1, torch.cuda.device_count()) if accelerator(cfg) == "cuda" else 1
    return int(devices)


def precision(cfg: DictConfig) -> str:
    """Lightning's full name of the precision, as ``bf16-mixed`` for ``bf16``."""
    name = str(cfg.trainer.get("precision") or "32-true")
    return SHORT.get(name, name)


def strategy(cfg: DictConfig) -> str:
    """Lightning's name of the strategy (``auto``, ``ddp``), or the name of the class in ``_target_``."""
    node = cfg.trainer.strategy
    return str(node._target_).rpartition(".")[2] if OmegaConf.is_dict(node) else str(node)


def is_sharded(cfg: DictConfig) -> bool:
    """Whether the strategy is FSDP2, Lightning's ModelParallelStrategy."""
    return strategy(cfg).endswith("ModelParallelStrategy")


def forks(cfg: DictConfig) -> bool:
    """Whether the strategy forks or spawns the ranks from this process."""
    return any(part in strategy(cfg).lower() for part in _FORKING)


def restarts(cfg: DictConfig) -> bool:
    """Whether Lightning starts the other ranks by running the same command again."""
    name = strategy(cfg).lower()
    return not forks(cfg) and (name.startswith(_RESTARTING) or (name == "auto" and num_devices(cfg) > 1))
