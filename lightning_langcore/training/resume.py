"""Go on with a training that was stopped: from which checkpoint, whether it is this run's, and what the loggers had."""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from typing_extensions import override

from lightning_langcore.callbacks import CoreGuard, PerturbRegion
from lightning_langcore.callbacks.order import Phase
from lightning_langcore.training import checkpoint_safety
from lightning_langcore.training.checkpointing import step_of
from lightning_langcore.training.csv_logger import CSVLog
from lightning_langcore.utils.progress import say

AUTO = "auto"
FORMAT = 2
"""Raised when a run of this code can't go on from what an earlier one wrote."""

KEY = "langcore"
_NEEDED = ("global_step", "loops", "callbacks", "lr_schedulers")
_IN_FILES = ("state_dict", "optimizer_states")


class RunFingerprint(Callback):
    """Write into every checkpoint what it belongs to and how far the loggers were; on resume, take them back there.

    Lightning logs a step's figures after the checkpoint of that step is written, so the row that is to come is kept
    too, and figures that are not logged anew at every step.

    Args:
        settings: what must be the same when the run goes on: name -> value, plain.
    """

    phase = Phase.FIRST

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self._regions: dict[str, str] | None = None
        self._found: dict[str, Any] | None = None

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        within_batch = progress.completed < progress.processed
        due = trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        logged = {
            "rows": [logger.count() for logger in _csv_logs(trainer)],
            "figures": {name: float(value) for name, value in trainer.logged_metrics.items()},
            "epoch": trainer.current_epoch,
            "due": within_batch and (due or trainer.should_stop),
        }
        checkpoint[KEY] = {**self.belongs_to(trainer), "logged": logged}

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._found = checkpoint[KEY]["logged"]
        for logger, num_rows in zip(_csv_logs(trainer), self._found["rows"], strict=False):
            logger.keep(num_rows)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._found is not None and self._found["due"]:
            row = {**self._found["figures"], "epoch": self._found["epoch"]}
            for logger in trainer.loggers:
                logger.log_metrics(row, step=trainer.global_step - 1)
                logger.save()

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if self._found is not None:
            pl_module.log_dict(self._found["figures"])
            self._found = None

    def belongs_to(self, trainer: pl.Trainer) -> dict[str, Any]:
        """Format, strategy, regions and settings of this run: plain values."""
        if self._regions is None:
            self._regions = dict(_regions(trainer))
        return {
            "format": FORMAT,
            "strategy": _strategy(trainer),
            "regions": self._regions,
            "settings": self.settings,
        }


def choose(trainer: pl.Trainer, module: pl.LightningModule, wanted: str | None) -> str | None:
    """The checkpoint to go on from.

    Args:
        trainer: with the callbacks of the run; its ``max_steps`` is the end of the run.
        module: the model as it is before training.
        wanted: ``job.ckpt_path``: a file or a folder of shards; ``auto``: the last whole one in the run folder, if
            there is one; ``None``: from the beginning.

    Raises:
        ValueError: there is no such checkpoint, it is broken, or it is of another strategy, model, region,
            configuration or version.
    """
    if wanted is None:
        return None
    found = _last(trainer) if wanted == AUTO else (Path(wanted), read(Path(wanted)))
    if found is None:
        return None
    path, checkpoint = found
    stamp = next(callback for callback in trainer.callbacks if isinstance(callback, RunFingerprint))  # type: ignore[attr-defined]
    _check(path, checkpoint, stamp.belongs_to(trainer))
    if path.is_dir():
        checkpoint_safety.check(path)
    _check_model(path, checkpoint, module)
    if _is_over(checkpoint, trainer):
        raise ValueError(
            f"{path} is of step {checkpoint['global_step']}, the last of this run: there is nothing left to train"
        )
    if wanted == AUTO:
        say(f"going on after step {checkpoint['global_step']}, from {path}")
    return str(path)


def read(path: Path) -> dict[str, Any]:
    """What a checkpoint holds: all of a file, whose tensors stay on the disk; of shards what is not sharded.

    Raises:
        ValueError: it is missing, or not whole.
    """
    if not path.exists():
        raise ValueError(f"job.ckpt_path={path}: there is no such checkpoint")
    file = path / "meta.pt" if path.is_dir() else path
    try:
        if path.is_dir() and not (path / ".metadata").is_file():
            raise OSError("no .metadata in it")
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is no whole checkpoint ({reason})") from error
    needed = _NEEDED if path.is_dir() else (*_NEEDED, *_IN_FILES)
    lacking = [key for key in needed if not isinstance(content, dict) or key not in content]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}: training can't go on from it; choose another checkpoint")
    return content


def _last(trainer: pl.Trainer) -> tuple[Path, dict[str, Any]] | None:
    """The last checkpoint in the run folder that is whole; others are passed over with a word."""
    folders = {Path(c.dirpath) for c in trainer.checkpoint_callbacks if getattr(c, "dirpath", None)}  # type: ignore[attr-defined]
    paths = [path for folder in folders for path in folder.glob("*.ckpt")]
    for path in sorted(paths, key=lambda path: (step_of(path) or 0, path.stat().st_mtime_ns), reverse=True):
        try:
            checkpoint = read(path)
            if path.is_dir():
                checkpoint_safety.check(path)
        except ValueError as error:
            say(f"skipped: {error}")
            continue
        if not _is_over(checkpoint, trainer):
            return path, checkpoint
    return None


def _is_over(checkpoint: Mapping[str, Any], trainer: pl.Trainer) -> bool:
    return trainer.max_steps != -1 and checkpoint["global_step"] >= trainer.max_steps


def _check(path: Path, checkpoint: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    there: Mapping[str, Any] = checkpoint.get(KEY) or {}
    found = there.get("format", "none")
    if found != here["format"] or not here.keys() <= there.keys():
        raise ValueError(
            f"{path} was written by another version of lightning-langcore, or another program (checkpoint format"
            f" {found}, here {here['format']}): go on with the version that wrote it, or start anew with"
            " job.ckpt_path=null"
        )
    if there["strategy"] != here["strategy"]:
        raise ValueError(
            f"{path} was written with {there['strategy']}, and this run has {here['strategy']}: go on with the"
            " trainer, trainer.strategy and trainer.devices of that run"
        )
    differing = list(differences(there["regions"], here["regions"]))
    if differing:
        raise ValueError(
            f"{path} was trained with other regions guarded or damaged ({told(differing)}): go on with those of that"
            " run, or start anew with job.ckpt_path=null"
        )
    differing = list(differences(there["settings"], here["settings"]))
    if differing:
        raise ValueError(f"{path} was written by a run with other settings ({told(differing)}): go on with those")


def _check_model(path: Path, checkpoint: Mapping[str, Any], module: pl.LightningModule) -> None:
    if "state_dict" not in checkpoint:
        return
    there = {name: tuple(value.shape) for name, value in checkpoint["state_dict"].items()}
    here = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    differing = list(differences(there, here))
    if differing:
        raise ValueError(f"{path} holds another model ({told(differing)}): go on with the model of that run")


def differences(there: Any, here: Any, name: str = "") -> Iterable[tuple[str, Any, Any]]:
    """Name, value there and value here, where two nested mappings are not the same; an absent value is a dash."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in dict.fromkeys([*there, *here]):
            inner = f"{name}.{key}" if name else str(key)
            yield from differences(there.get(key, "–"), here.get(key, "–"), inner)
    elif there != here:
        yield name, there, here


def told(differing: list[tuple[str, Any, Any]], most: int = 3) -> str:
    """The first differences in words."""
    words = [f"{name}: {there} there, {here} here" for name, there, here in differing[:most]]
    return "; ".join(words + ([f"and {len(differing) - most} more"] if len(differing) > most else []))


def _regions(trainer: pl.Trainer) -> Iterable[tuple[str, str]]:
    """What changes weights or keeps them, and the beginning of its region's digest; an observer's does not matter."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, CoreGuard):
            yield f"CoreGuard {callback.name}", callback.region.digest()[:16]
        elif isinstance(callback, PerturbRegion):
            yield "damage", callback.region.digest()[:16]


def _strategy(trainer: pl.Trainer) -> str:
    strategy, ranks = trainer.strategy, trainer.world_size
    if isinstance(strategy, SingleDeviceStrategy) or (isinstance(strategy, DDPStrategy) and ranks == 1):
        return "one device"
    name = "fsdp2" if isinstance(strategy, ModelParallelStrategy) else type(strategy).__name__
    return f"{'ddp' if isinstance(strategy, DDPStrategy) else name} on {ranks} ranks"


def _csv_logs(trainer: pl.Trainer) -> list[CSVLog]:
    found = [logger for logger in trainer.loggers if isinstance(logger, CSVLog)]
    return found if trainer.is_global_zero else []
