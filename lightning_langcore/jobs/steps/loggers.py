"""Weights & Biases that never stops a run; names and tags of a run in it."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import Logger, WandbLogger
from omegaconf import DictConfig, OmegaConf, open_dict

from lightning_langcore.jobs.config.validators import make
from lightning_langcore.results.record import KEY, Results
from lightning_langcore.utils.progress import say


def label(cfg: DictConfig, condition: str) -> None:
    """Fill in what tells this run apart in W&B, where the configuration leaves it open: name, tags, group.

    Args:
        cfg: the whole configuration; ``logger.wandb`` is changed.
        condition: ``frozen`` or ``free``, or the job.
    """
    node = OmegaConf.select(cfg, "logger.wandb")
    if node is None:
        return
    with open_dict(node):
        node.setdefault("name", "-".join([cfg.name, cfg.region.kind, *_swept(), f"seed{cfg.seed}"]))
        node.setdefault("tags", [condition, f"region:{cfg.region.kind}", f"experiment:{cfg.name}"])
        if node.get("group") is None and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
            node.group = Path(HydraConfig.get().sweep.dir).name


def _swept() -> list[str]:
    """What a sweep varies in this run, but for what the name has anyway, as ``data.epochs=3``."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return []
    words = HydraConfig.get().overrides.task
    named = ("+experiment=", "region=", "seed=", "hydra.", "paths.", "logger", "model.base.seed=", "job.")
    return [word for word in words if not word.startswith(named) and "/" not in word]


def wandb_logger(save_dir: str, offline: bool = False, **kwargs: Any) -> WandbLogger:
    """A W&B logger whose run exists when this returns; offline where it can't be online, which is said.

    Args:
        save_dir: folder of the run's files.
        offline: write to disk only; ``WANDB_MODE=offline`` does the same.
        kwargs: of ``WandbLogger``: project, group, name, tags.
    """
    import wandb

    reason = None if offline else _why_offline()
    if reason is None:
        try:
            return _started(save_dir, offline, **kwargs)
        except wandb.errors.Error as error:
            reason = str(error).splitlines()[0]
            wandb.teardown()
    say(f"W&B: {reason}; writing offline to {save_dir}/wandb, send it later with `wandb sync`")
    return _started(save_dir, True, **kwargs)


def _why_offline() -> str | None:
    """What keeps W&B from being online, found out in seconds: its own attempt would ask for a key, or wait for long."""
    import wandb

    if os.environ.get("WANDB_MODE", "online") != "online":
        return None  # wandb does what the variable says
    if not wandb.login(prompt=False, verify=False):
        return "no API key (`wandb login`, or WANDB_API_KEY)"
    url = wandb.setup().settings.base_url
    try:
        with urllib.request.urlopen(url, timeout=10):
            return None
    except urllib.error.HTTPError:
        return None  # it answers
    except OSError:
        return f"{url} can't be reached"


def _started(save_dir: str, offline: bool, **kwargs: Any) -> WandbLogger:
    mode: dict[str, Any] = (
        {"mode": "offline"} if offline else {}
    )  # WandbLogger's own `offline` sets a variable that wandb may ignore
    logger = WandbLogger(save_dir=save_dir, **mode, **kwargs)
    run = logger.experiment
    if hasattr(run, "define_metric"):
        for pattern in ("val/*", "val_answers/*", "train/*", "diff/*", "guard/*", "noise/*", "data/*"):
            run.define_metric(pattern, step_metric="samples")
    return logger


def make_loggers(cfg: DictConfig) -> list[Logger]:
    """The configured loggers, given the whole resolved configuration."""
    loggers: list[Logger] = [make(node) for node in (cfg.logger or {}).values()]
    plain = OmegaConf.to_container(cfg, resolve=True)
    for logger in loggers:
        logger.log_hyperparams(plain)  # type: ignore[arg-type]
    return loggers


@contextmanager
def logged(cfg: DictConfig, condition: str, results: Results) -> Iterator[None]:
    """The configured loggers around work that trains nothing: they get the configuration, and at the end the table."""
    label(cfg, condition)
    loggers = make_loggers(cfg)
    try:
        yield
    except ValueError as error:
        results.status, results.error = "failed", str(error).splitlines()[0]
        results.write()
        raise
    finally:
        close(loggers, results)


def close(loggers: Sequence[Logger], results: Results) -> None:
    """Finish each logger.

    W&B gets the table of perplexities and its chart, and the next job of this process a run of its own.
    """
    for logger in loggers:
        logger.finalize("success" if results.status == "completed" else "failed")
        if isinstance(logger, WandbLogger):
            import wandb

            try:
                if results.perplexity:
                    logger.experiment.log(_shown(results))
            finally:
                wandb.finish(exit_code=0 if results.status == "completed" else 1)


def _shown(results: Results) -> dict[str, Any]:
    """The table of perplexities, and its test rows by language as bars, without those of a training under way."""
    import wandb

    columns: list[str | int] = [*KEY, "ppl", "bits_per_byte"]
    rows = [[row.get(str(column)) for column in columns] for row in results.perplexity]
    shown: dict[str, Any] = {"perplexity": wandb.Table(columns=columns, data=rows)}
    named = ("lang", "stage", "variant", "fraction", "method", "strength")
    bars: list[list[Any]] = [
        [" ".join(str(row[key]) for key in named if key in row), row["ppl"]]
        for row in sorted(results.perplexity, key=lambda row: str(row["lang"]))
        if row["split"] == "test" and row["stage"] != "training" and "ppl" in row
    ]
    if bars:
        table = wandb.Table(columns=["language", "ppl"], data=bars)
        shown["perplexity by language"] = wandb.plot.bar(table, "language", "ppl", "Test perplexity by language")
    return shown
