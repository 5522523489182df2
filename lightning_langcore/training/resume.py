"""Resume a stopped training: choose the checkpoint, check that it is of this run, restore loggers and randomness."""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, Timer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from typing_extensions import override

from lightning_langcore.callbacks import CoreGuard, PerturbRegion
from lightning_langcore.callbacks.order import Phase
from lightning_langcore.training import checkpoint_safety, random_states
from lightning_langcore.training.checkpointing import step_of
from lightning_langcore.training.csv_logger import CSVLog
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say

AUTO = "auto"
FORMAT = 2
"""Format of checkpoints; increased when this code can't resume from checkpoints of an earlier version."""

KEY = "langcore"
_NEEDED = ("global_step", "loops", "callbacks", "lr_schedulers")
_IN_FILES = ("state_dict", "optimizer_states")


class RunFingerprint(Callback):
    """Save fingerprint, random states and progress of the loggers in every checkpoint; restore states and loggers.

    The random states are those of Python, NumPy, torch and the rank's GPU, of each rank. They are restored at the start
    of the first batch, because loaders and other callbacks draw random numbers before it.

    Lightning logs the metrics of a step after the checkpoint of this step is written. So the checkpoint also keeps the
    next row, and metrics that are not logged at every step.

    Args:
        settings: settings that must not change on resume: name -> plain value.
    """

    phase = Phase.FIRST

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self._regions: dict[str, str] | None = None
        self._found: dict[str, Any] | None = None
        self._random: dict[str, Any] | None = None

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
        states = random_states.of_all_ranks(trainer.strategy.root_device)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer):  # max_time counts from each start: else a run that it ended can't go on
                checkpoint["callbacks"].pop(callback.state_key, None)
        checkpoint[KEY] = {**self.belongs_to(trainer), "logged": logged, "random": states}

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._found = checkpoint[KEY]["logged"]
        states = checkpoint[KEY].get("random")  # absent in checkpoints of earlier versions
        self._random = None if states is None else states[trainer.global_rank]
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
        if self._random is not None:
            random_states.restore(self._random, trainer.strategy.root_device)
            self._random = None

    def belongs_to(self, trainer: pl.Trainer) -> dict[str, Any]:
        """The run fingerprint: format, strategy, regions and settings as plain values."""
        if self._regions is None:
            self._regions = dict(_regions(trainer))
        return {
            "format": FORMAT,
            "strategy": _strategy(trainer),
            "regions": self._regions,
            "settings": self.settings,
        }


def choose(trainer: pl.Trainer, module: pl.LightningModule, requested: str | None) -> str | None:
    """Choose the checkpoint from which to resume.

    Args:
        trainer: the trainer with the callbacks of the run; its ``max_steps`` is the end of the run.
        module: the model before training.
        requested: ``job.ckpt_path``: a file or a folder of shards; ``auto``: the last complete checkpoint in the run
            folder, if there is one; ``None``: start from the beginning.

    Returns:
        The path of the checkpoint; ``None``: start from the beginning.

    Raises:
        LangcoreError: a checkpoint that is missing, broken, or of another strategy, model, region, configuration or
            version.
    """
    if requested is None:
        return None
    found = _last(trainer) if requested == AUTO else (Path(requested), read(Path(requested)))
    if found is None:
        return None
    path, checkpoint = found
    fingerprint = next(callback for callback in trainer.callbacks if isinstance(callback, RunFingerprint))  # type: ignore[attr-defined]
    _check(path, checkpoint, fingerprint.belongs_to(trainer))
    if path.is_dir():
        checkpoint_safety.check(path)
    _check_model(path, checkpoint, module)
    if _is_over(checkpoint, trainer):
        raise LangcoreError(
            f"{path} is of step {checkpoint['global_step']}, the last of this run: there is nothing left to train"
        )
    if requested == AUTO:
        say(f"resuming after step {checkpoint['global_step']}, from {path}")
    return str(path)


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint: the whole content of a file, with memory-mapped tensors; of shards the part not sharded.

    Raises:
        LangcoreError: a checkpoint that is missing or incomplete.
    """
    if not path.exists():
        raise LangcoreError(f"job.ckpt_path={path}: there is no such checkpoint")
    file = path / "meta.pt" if path.is_dir() else path
    try:
        if path.is_dir() and not (path / ".metadata").is_file():
            raise OSError("no .metadata in it")
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise LangcoreError(f"{path} is no whole checkpoint ({reason})") from error
    needed = _NEEDED if path.is_dir() else (*_NEEDED, *_IN_FILES)
    lacking = [key for key in needed if not isinstance(content, dict) or key not in content]
    if lacking:
        raise LangcoreError(
            f"{path} lacks {', '.join(lacking)}: training can't resume from it; choose another checkpoint"
        )
    return content


def _last(trainer: pl.Trainer) -> tuple[Path, dict[str, Any]] | None:
    """The last complete checkpoint in the run folder; incomplete ones are skipped with a message."""
    folders = {Path(c.dirpath) for c in trainer.checkpoint_callbacks if getattr(c, "dirpath", None)}  # type: ignore[attr-defined]
    paths = [path for folder in folders for path in folder.glob("*.ckpt")]
    for path in sorted(paths, key=lambda path: (step_of(path) or 0, path.stat().st_mtime_ns), reverse=True):
        try:
            checkpoint = read(path)
            if path.is_dir():
                checkpoint_safety.check(path)
        except LangcoreError as error:
            say(f"skipped: {error}")
            continue
        if not _is_over(checkpoint, trainer):
            return path, checkpoint
    return None


def _is_over(checkpoint: Mapping[str, Any], trainer: pl.Trainer) -> bool:
    return trainer.max_steps != -1 and checkpoint["global_step"] >= trainer.max_steps


def _check(path: Path, checkpoint: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    saved: Mapping[str, Any] = checkpoint.get(KEY) or {}
    found = saved.get("format", "none")
    if found != current["format"] or not current.keys() <= saved.keys():
        raise LangcoreError(
            f"{path} was written by another version of lightning-langcore, or another program (checkpoint format"
            f" {found}, here {current['format']}): go on with the version that wrote it, or start anew with"
            " job.ckpt_path=null"
        )
    if saved["strategy"] != current["strategy"]:
        raise LangcoreError(
            f"{path} was written with {saved['strategy']}, and this run has {current['strategy']}: go on with the"
            " trainer, trainer.strategy and trainer.devices of that run"
        )
    differing = list(differences(saved["regions"], current["regions"]))
    if differing:
        raise LangcoreError(
            f"{path} was trained with other regions guarded or perturbed ({described(differing)}): go on with"
            " those of that run, or start anew with job.ckpt_path=null"
        )
    differing = list(differences(saved["settings"], current["settings"]))
    if differing:
        raise LangcoreError(
            f"{path} was written by a run with other settings ({described(differing)}): go on with those"
        )


def _check_model(path: Path, checkpoint: Mapping[str, Any], module: pl.LightningModule) -> None:
    if "state_dict" not in checkpoint:
        return
    saved = {name: tuple(value.shape) for name, value in checkpoint["state_dict"].items()}
    current = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    differing = list(differences(saved, current))
    if differing:
        raise LangcoreError(f"{path} holds another model ({described(differing)}): go on with the model of that run")


def differences(saved: Any, current: Any, name: str = "") -> Iterable[tuple[str, Any, Any]]:
    """Differences of two nested mappings: name, value in ``saved``, value in ``current``; a missing value is a dash."""
    if isinstance(saved, Mapping) and isinstance(current, Mapping):
        for key in dict.fromkeys([*saved, *current]):
            inner = f"{name}.{key}" if name else str(key)
            yield from differences(saved.get(key, "–"), current.get(key, "–"), inner)
    elif saved != current:
        yield name, saved, current


def described(differing: list[tuple[str, Any, Any]], most: int = 3) -> str:
    """The first differences as a text for a message."""
    texts = [f"{name}: {saved} there, {current} here" for name, saved, current in differing[:most]]
    return "; ".join(texts + ([f"and {len(differing) - most} more"] if len(differing) > most else []))


def _regions(trainer: pl.Trainer) -> Iterable[tuple[str, str]]:
    """Callbacks that change or freeze weights, with the beginning of their region's digest; monitors do not count."""
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
