"""Protection of a run folder: it holds one configuration, and one process at a time writes to it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning_utilities.core.rank_zero import rank_zero_only

from lightning_langcore.results.record import Results
from lightning_langcore.training.resume import AUTO, described, differences
from lightning_langcore.utils import config_yaml
from lightning_langcore.utils.atomic_files import write_text
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say

RECORD = Path(".hydra") / "config.yaml"
WAIT_SECONDS = 20.0
"""The data workers of a killed process keep its lock for some seconds."""

_NOT_COMPARED = (
    "paths", "logger", "job.ckpt_path", "callbacks.checkpoint", "data.num_workers", "data.num_proc", "trainer.max_time",
)  # fmt: skip
_TIMERS = ("lightning.pytorch.callbacks.Timer", "lightning.pytorch.callbacks.timer.Timer")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder against other processes; the operating system releases the lock when the process ends.

    Raises:
        LangcoreError: another process works in the folder.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:  # rank 0 holds the lock for all ranks
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another process that works in {folder}")
        try:
            lock.acquire(timeout=WAIT_SECONDS)
        except Timeout:
            raise LangcoreError(
                f"another process works in {folder}: wait for it, or choose another hydra.run.dir"
            ) from None
    try:
        yield
    finally:
        lock.release()


def claim(files: Mapping[str, str], folder: Path) -> Results | None:
    """Check that the folder holds no other run, and write the configuration to ``.hydra/``, which Hydra does not do.

    A resumed run may differ in paths, loggers, the callback ``checkpoint``, the time limit, and the number of data
    workers.

    Args:
        files: YAML text by file name, ``config.yaml`` with the composed configuration of the run among them.
        folder: the run folder.

    Returns:
        The results if ``job.ckpt_path`` is ``auto`` and the folder holds the same run, completed; otherwise ``None``.

    Raises:
        LangcoreError: the folder holds another run, which would be overwritten.
    """
    now = config_yaml.read(files[RECORD.name])
    if now["job"].get("ckpt_path", AUTO) == AUTO and (folder / RECORD).is_file():
        before = compared(config_yaml.read((folder / RECORD).read_text(encoding="utf-8")))
        differing = list(differences(before, compared(now)))
        found = _results(folder)
        completed = found is not None and found.status == "completed"
        if differing and (completed or any(folder.glob("checkpoints/*.ckpt"))):
            raise LangcoreError(
                f"{folder} holds a run with another configuration ({described(differing)}): choose another folder"
                " (hydra.run.dir, for a sweep hydra.sweep.dir), or remove that one"
            )
        if completed:
            return found
        if differing:  # the other run saved no checkpoint
            for name in ("results.json", "perplexity.csv"):
                (folder / name).unlink(missing_ok=True)
    if getattr(rank_zero_only, "rank", 0) == 0:
        for name, text in files.items():
            write_text(folder / RECORD.with_name(name), text)
    return None


def compared(node: Mapping[Any, Any], name: str = "") -> dict[Any, Any]:
    """The part of a configuration, unresolved, that must be equal for a run to be resumed."""
    kept = {
        key: value
        for key, value in node.items()
        if f"{name}{key}" not in _NOT_COMPARED and not (isinstance(value, Mapping) and value.get("_target_") in _TIMERS)
    }
    return {
        key: compared(value, f"{name}{key}.") if isinstance(value, Mapping) else value for key, value in kept.items()
    }


def _results(folder: Path) -> Results | None:
    try:
        return Results.load(folder)
    except LangcoreError:
        return None
