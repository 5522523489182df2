"""Run one job, or one of a sweep: what Hydra calls, and what stays in the run folder however it ends."""

import importlib
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig

from lightning_langcore.cli.errors import has_message, message_of, refuse
from lightning_langcore.cli.report import load
from lightning_langcore.jobs.process import run_folder
from lightning_langcore.jobs.process.lifecycle import ending_on_sigterm, leave_nothing, lost_rank, refuse_restarts
from lightning_langcore.jobs.process.plugins import import_modules
from lightning_langcore.jobs.steps.trainer import quiet
from lightning_langcore.reports import page
from lightning_langcore.results.record import Results
from lightning_langcore.utils.atomic_files import write_text
from lightning_langcore.utils.progress import say

JOBS = ("fit", "locate", "perturb", "perturb_dimension", "pretrain_base")
INTERRUPTED = 130
TERMINATED = 143
ERROR_FILE = "error.txt"
"""In the folder of a job that a sweep has gone on without: what was wrong."""


def run(cfg: DictConfig) -> Results:
    """Run the job that ``job.name`` names.

    Raises:
        ValueError: an unknown job, or something that the job can't honour.
        KeyboardInterrupt: the user stopped it; what was reached is written.
    """
    if cfg.job.name not in JOBS:
        raise ValueError(f"job.name={cfg.job.name} is none of {', '.join(JOBS)}")
    quiet()
    import_modules(cfg.imports)
    return importlib.import_module(f"lightning_langcore.jobs.{cfg.job.name}").run(cfg)


def guarded_run(cfg: DictConfig) -> None:
    """What Hydra calls: run, print, and turn what a user can mend into one line instead of a traceback."""
    output = Path(cfg.paths.output)
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        with ending_on_sigterm(), run_folder.held(output):
            results = _run_once(cfg, output, sweep)
    except (KeyboardInterrupt, SIGTERMException) as stop:
        _leave_record(cfg, output, "interrupted", "stopped before training began")
        say(f"\ninterrupted; what was reached is in {output}")
        sys.exit(_status_of(stop))
    except Exception as error:
        if not sweep and not has_message(error):
            raise
        job = f"{output}: " if sweep else ""  # jobs that run side by side talk at once
        say(f"{job}error: {message_of(error)}", every_rank=True)  # one rank alone may know what is wrong
        if not sweep:
            sys.exit(1)
        return
    finally:
        leave_nothing()
    if not sweep:
        if results.perplexity and _is_first():
            page.print_table([results])
        say(str(output))


def _run_once(cfg: DictConfig, output: Path, sweep: bool) -> Results:
    """Run the job, unless its folder holds it, completed; a failure leaves its record there, in a sweep its traceback.

    Raises:
        ValueError: the folder holds another run, and all that :func:`run` raises.
    """
    ours = False
    try:
        finished = run_folder.claim(cfg, HydraConfig.instance().cfg, output)  # type: ignore[arg-type]
        ours = True
        (output / ERROR_FILE).unlink(missing_ok=True)
        if finished is not None:
            say(f"{output} holds this run already, completed: not run again")
            return finished
        if sweep:
            refuse_restarts(cfg)
        return run(cfg)
    except Exception as error:
        with suppress(OSError):
            if ours and (_is_first() or not lost_rank(error)):  # else the first's own record is the better one
                _leave_record(cfg, output, "failed", message_of(error).splitlines()[0])
            if sweep:
                told = f"{message_of(error)}\n" if has_message(error) else traceback.format_exc()
                write_text(output / ERROR_FILE, told)
        raise


class Folders(Callback):
    """Looks at the output folder before Hydra makes it, and writes the report of a sweep when all jobs are done."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Before a single run."""
        _check_writable("hydra.run.dir", Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Before a sweep."""
        _check_writable("hydra.sweep.dir", Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """After a sweep: table, report, and exit status 1 if a job failed or was refused."""
        sweep = Path(config.hydra.sweep.dir)
        try:
            runs, passed_over = load([sweep])
            if any(results.perplexity for results in runs):
                page.print_table(runs)
            say(str(page.write_html(runs, sweep / "report.html", passed_over)))
        except (ValueError, OSError) as error:  # Hydra would make a warning of it
            refuse(message_of(error))
        refused = [results for results in runs if (results.folder / ERROR_FILE).exists()]
        if passed_over or refused or any(results.status != "completed" for results in runs):
            sys.exit(1)


def _leave_record(cfg: DictConfig, output: Path, status: str, error: str) -> None:
    """Leave a record of a run that ended before it had results; one that has some keeps them, and is failed."""
    if not (output / "results.json").exists():
        results = Results(output, experiment=cfg.name, seed=cfg.seed, model={"name": cfg.model.name})
    elif status == "failed":
        results = Results.load(output)
    else:
        return
    results.status, results.error = status, error
    results.write()


def _status_of(stop: BaseException) -> int:
    if isinstance(stop, KeyboardInterrupt):
        return INTERRUPTED
    # the first rank would be killed by Lightning, if another that it has started ended with an error before it
    return TERMINATED if _is_first() else 0


def _is_first() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def _check_writable(setting: str, folder: Path) -> None:
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        if existing.parent.is_file():
            refuse(f"{setting}={folder} can't be made: {existing.parent} is a file; set paths.runs to a folder")
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        refuse(f"{setting}={folder} can't be written: set paths.runs to a folder of yours")
