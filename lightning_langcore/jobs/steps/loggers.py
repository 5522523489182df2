"""Loggers of a run, and a Weights & Biases logger that goes offline instead of stopping a run."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from lightning_langcore.jobs.config.component import replaced
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.results.record import KEY, Results
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say


def label(settings: Settings, condition: str) -> dict[str, Any]:
    """The run's name, tags and group in W&B; what ``logger.wandb`` sets itself takes precedence.

    Args:
        settings: the settings of the run.
        condition: ``frozen`` or ``free`` for a training, else the name of the job.
    """
    kind, invocation = settings.region.kind, settings.invocation
    labels: dict[str, Any] = {
        "name": "-".join([settings.name, kind, *_swept(settings), f"seed{settings.seed}"]),
        "tags": [condition, f"region:{kind}", f"experiment:{settings.name}"],
    }
    if invocation.sweep_dir is not None:
        labels["group"] = invocation.sweep_dir.name
    return labels


def _swept(settings: Settings) -> list[str]:
    """The overrides of this job of a sweep that the run's name lacks otherwise, as ``data.epochs=3``."""
    if settings.invocation.sweep_dir is None:
        return []
    excluded = ("+experiment=", "region=", "seed=", "hydra.", "paths.", "logger", "model.base.seed=", "job.")
    return [text for text in settings.invocation.overrides if not text.startswith(excluded) and "/" not in text]


def wandb_logger(save_dir: str, offline: bool = False, **kwargs: Any) -> WandbLogger:
    """A W&B logger whose run is started; offline, with a message, where W&B can't be reached.

    Args:
        save_dir: folder of the run's files.
        offline: write to disk only; ``WANDB_MODE=offline`` does the same.
        kwargs: further arguments of ``WandbLogger``: project, group, name, tags.
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
    """The reason why W&B must be offline, or ``None``; W&B's own check would ask for a key or wait for minutes."""
    import wandb

    if os.environ.get("WANDB_MODE", "online") != "online":
        return None  # wandb reads the variable itself
    if not wandb.login(prompt=False, verify=False):
        return "no API key (`wandb login`, or WANDB_API_KEY)"
    url = wandb.setup().settings.base_url
    try:
        with urllib.request.urlopen(url, timeout=10):
            return None
    except urllib.error.HTTPError:
        return None  # the server answered
    except OSError:
        return f"{url} can't be reached"


def _started(save_dir: str, offline: bool, **kwargs: Any) -> WandbLogger:
    # WandbLogger's own `offline` sets a variable that wandb may ignore
    mode: dict[str, Any] = {"mode": "offline"} if offline else {}
    logger = WandbLogger(save_dir=save_dir, **mode, **kwargs)
    run = logger.experiment
    if hasattr(run, "define_metric"):
        for pattern in ("val/*", "val_answers/*", "train/*", "diff/*", "guard/*", "noise/*", "data/*"):
            run.define_metric(pattern, step_metric="samples")
    return logger


def make_loggers(settings: Settings, condition: str, files: Mapping[str, str] | None = None) -> list[Logger]:
    """The configured loggers; each logs the whole configuration as hyperparameters.

    Args:
        settings: the settings of the run.
        condition: see :func:`label`.
        files: the files of the run by reference; see :func:`lightning_langcore.jobs.steps.trainer.files_of`.
    """
    loggers: list[Logger] = []
    for node in settings.logger.values():
        given = node.arguments
        labels = label(settings, condition) if node.resolved is wandb_logger or node.is_a(WandbLogger) else {}
        loggers.append(node.make(**{key: value for key, value in labels.items() if given.get(key) is None}))
    for logger in loggers:
        logger.log_hyperparams(replaced(settings.composed, files or {}))
    return loggers


@contextmanager
def logged(settings: Settings, condition: str, results: Results) -> Iterator[None]:
    """Loggers for a job without training: they log the configuration first and the table of perplexities last."""
    loggers = make_loggers(settings, condition)
    try:
        yield
    except LangcoreError as error:
        results.status, results.error = "failed", str(error).splitlines()[0]
        results.write()
        raise
    finally:
        close(loggers, results)


def close(loggers: Sequence[Logger], results: Results) -> None:
    """Finalize each logger.

    The table of perplexities and its bar chart are logged to W&B, and the W&B run is finished, so that the next job of
    this process starts its own.
    """
    for logger in loggers:
        logger.finalize("success" if results.status == "completed" else "failed")
        if isinstance(logger, WandbLogger):
            import wandb

            try:
                if results.perplexity:
                    logger.experiment.log(_tables(results))
            finally:
                wandb.finish(exit_code=0 if results.status == "completed" else 1)


def _tables(results: Results) -> dict[str, Any]:
    """The table of perplexities, and a bar chart of its test rows by language without those of stage ``training``."""
    import wandb

    columns: list[str | int] = [*KEY, "ppl", "bits_per_byte"]
    rows = [[row.get(str(column)) for column in columns] for row in results.perplexity]
    charts: dict[str, Any] = {"perplexity": wandb.Table(columns=columns, data=rows)}
    label_columns = ("lang", "stage", "variant", "fraction", "method", "strength")
    bars: list[list[Any]] = [
        [" ".join(str(row[key]) for key in label_columns if key in row), row["ppl"]]
        for row in sorted(results.perplexity, key=lambda row: str(row["lang"]))
        if row["split"] == "test" and row["stage"] != "training" and "ppl" in row
    ]
    if bars:
        table = wandb.Table(columns=["language", "ppl"], data=bars)
        charts["perplexity by language"] = wandb.plot.bar(table, "language", "ppl", "Test perplexity by language")
    return charts
