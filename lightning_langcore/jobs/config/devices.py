"""Where and how a run trains, as its ``trainer`` node says: accelerator, devices, strategy, precision."""

import torch
from omegaconf import DictConfig, OmegaConf

SHORT = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
_RESTARTING = ("ddp", "fsdp", "deepspeed", "modelparallel")
"""How the names begin of strategies that start a process for each rank by the command line."""
_FORKING = ("spawn", "fork", "notebook")
"""Words in the names of strategies that start the ranks from within this process."""


def accelerator(cfg: DictConfig) -> str:
    """``cuda`` or ``cpu``: where the configuration puts the model; what shares the host's memory counts as ``cpu``."""
    named = str(cfg.trainer.accelerator)
    if named in ("gpu", "cuda"):
        return "cuda"
    return "cuda" if named == "auto" and torch.cuda.is_available() else "cpu"


def num_devices(cfg: DictConfig) -> int:
    """Devices of one machine: of a number, a list, a text of either (``2``, ``0,1``), ``auto`` or -1."""
    devices = cfg.trainer.get("devices", "auto")
    if OmegaConf.is_list(devices):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([part for part in devices.split(",") if part.strip()])
    if str(devices) in ("auto", "-1"):
        return max(1, torch.cuda.device_count()) if accelerator(cfg) == "cuda" else 1
    return int(devices)


def precision(cfg: DictConfig) -> str:
    """Lightning's whole word, as ``bf16-mixed`` for ``bf16``."""
    asked = str(cfg.trainer.get("precision") or "32-true")
    return SHORT.get(asked, asked)


def strategy(cfg: DictConfig) -> str:
    """Lightning's word (``auto``, ``ddp``), or the name of the class that the node makes."""
    node = cfg.trainer.strategy
    return str(node._target_).rpartition(".")[2] if OmegaConf.is_dict(node) else str(node)


def is_sharded(cfg: DictConfig) -> bool:
    """Whether the strategy is FSDP2, Lightning's ModelParallelStrategy."""
    return strategy(cfg).endswith("ModelParallelStrategy")


def forks(cfg: DictConfig) -> bool:
    """Whether the strategy starts the ranks from within this process."""
    return any(word in strategy(cfg).lower() for word in _FORKING)


def restarts(cfg: DictConfig) -> bool:
    """Whether Lightning starts the other ranks by this very command."""
    name = strategy(cfg).lower()
    return not forks(cfg) and (name.startswith(_RESTARTING) or (name == "auto" and num_devices(cfg) > 1))
