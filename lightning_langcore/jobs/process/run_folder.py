"""Whose run folder it is: a folder holds one configuration, and one process at a time works in it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from lightning_langcore.results.record import Results
from lightning_langcore.training.resume import AUTO, differences, told
from lightning_langcore.utils.atomic_files import write_text
from lightning_langcore.utils.progress import say

RECORD = Path(".hydra") / "config.yaml"
WAIT_SECONDS = 20.0
"""Workers that load data outlive a killed process by some seconds, and with them its lock."""

_FREE = ("paths", "logger", "job.ckpt_path", "callbacks.checkpoint", "data.num_workers", "data.num_proc")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run folder; the lock goes with the process, however that ends.

    Raises:
        ValueError: another process works in it.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:  # the first rank holds it for all
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
            raise ValueError(
                f"another process works in {folder}: wait for it, or choose another hydra.run.dir"
            ) from None
    try:
        yield
    finally:
        lock.release()


def claim(cfg: DictConfig, hydra: DictConfig, folder: Path) -> Results | None:
    """Look at what the folder holds, and make it this configuration's: ``.hydra/`` is written here, not by Hydra.

    What may differ when a run goes on: paths, loggers, the checkpoints' number, workers that read data.

    Args:
        cfg: the composed configuration of the run.
        hydra: the configuration of Hydra, with its node ``hydra``.
        folder: of the run.

    Returns:
        The results, where the folder holds this very run, completed; not with ``job.ckpt_path`` null or a file.

    Raises:
        ValueError: it holds another run, which would be overwritten.
    """
    now = plain(OmegaConf.create(OmegaConf.to_yaml(cfg)))
    if cfg.job.get("ckpt_path", AUTO) == AUTO and (folder / RECORD).is_file():
        before = plain(OmegaConf.load(folder / RECORD))
        differing = list(differences(before, now))
        found = _results(folder)
        completed = found is not None and found.status == "completed"
        if differing and (completed or any(folder.glob("checkpoints/*.ckpt"))):
            raise ValueError(
                f"{folder} holds a run with another configuration ({told(differing)}): choose another folder"
                " (hydra.run.dir, for a sweep hydra.sweep.dir), or remove that one"
            )
        if completed:
            return found
        if differing:  # it came to nothing
            for name in ("results.json", "perplexity.csv"):
                (folder / name).unlink(missing_ok=True)
    if getattr(rank_zero_only, "rank", 0) == 0:
        write_text(folder / RECORD, OmegaConf.to_yaml(cfg))
        write_text(folder / RECORD.with_name("hydra.yaml"), OmegaConf.to_yaml(hydra))
        write_text(folder / RECORD.with_name("overrides.yaml"), OmegaConf.to_yaml(hydra.hydra.overrides.task))
    return None


def plain(cfg: Any) -> dict[str, Any]:
    """The part of a configuration, unresolved, that makes a run this run."""
    content = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in _without_free(content, "").items()}


def _without_free(node: Mapping[Any, Any], name: str) -> dict[Any, Any]:
    cache = {key: value for key, value in node.items() if f"{name}{key}" not in _FREE}
    return {
        key: _without_free(value, f"{name}{key}.") if isinstance(value, Mapping) else value
        for key, value in cache.items()
    }


def _results(folder: Path) -> Results | None:
    try:
        return Results.load(folder)
    except ValueError:
        return None
