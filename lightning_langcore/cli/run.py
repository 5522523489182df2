"""Run one job, alone or in a sweep: the function that Hydra calls, and the records that a failed job leaves."""

import importlib
import os
import sys
import traceback
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf, read_write

from lightning_langcore.cli.errors import has_message, message_of, refuse
from lightning_langcore.cli.report import load
from lightning_langcore.jobs.config.settings import parse
from lightning_langcore.jobs.process import launchers, run_folder
from lightning_langcore.jobs.process.lifecycle import (
    is_lost_rank,
    refuse_restarts,
    release_resources,
    sigterm_as_exception,
)
from lightning_langcore.jobs.process.plugins import import_modules
from lightning_langcore.jobs.steps.trainer import quiet
from lightning_langcore.reports import page
from lightning_langcore.results.objective import objective
from lightning_langcore.results.record import Results
from lightning_langcore.utils.atomic_files import write_text
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say

INTERRUPTED = 130
TERMINATED = 143
ERROR_FILE = "error.txt"
"""Written to the folder of a failed job of a sweep: the message or the traceback."""


def run(cfg: DictConfig) -> Results:
    """Run the job that ``job.name`` names.

    Raises:
        LangcoreError: an unknown job, or invalid or unsupported settings.
        KeyboardInterrupt: the user stopped the job; the results so far are written.
    """
    quiet()
    import_modules(cfg.imports)  # they may register scores, which the settings name
    settings = parse(cfg)
    if settings.invocation.sweep_dir is not None:
        refuse_restarts(settings)
    results: Results = importlib.import_module(f"lightning_langcore.jobs.{settings.job.name}").run(settings)
    return results


def guarded_run(cfg: DictConfig) -> float | None:
    """The function that Hydra calls: run the job, print its results, and print a message for an error with one.

    Returns:
        The value of ``job.objective``, for sweepers that search settings; ``None`` for jobs without one, and for a job
        of a sweep that has failed.
    """
    output = Path(cfg.paths.output)
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    _refuse_chdir()
    try:
        with sigterm_as_exception(), run_folder.locked(output):
            results = _run_once(cfg, output, sweep)
            value = objective(results, cfg.job.objective) if "objective" in cfg.job else None
    except (KeyboardInterrupt, SIGTERMException) as stop:
        _leave_record(cfg, output, "interrupted", "stopped before training began")
        say(f"\ninterrupted; what was reached is in {output}")
        sys.exit(_status_of(stop))
    except Exception as error:
        if not sweep and not has_message(error):
            raise
        job = f"{output}: " if sweep else ""  # parallel jobs print to the same terminal
        say(f"{job}error: {message_of(error)}", every_rank=True)  # the error may be on one rank only
        if not sweep:
            sys.exit(1)
        return None
    finally:
        release_resources()
    if not sweep:
        if results.perplexity and _is_first():
            page.print_table([results])
        if results.status == "interrupted":
            say(f"interrupted: {results.error}; the same command with hydra.run.dir={output} goes on")
        say(str(output))
    return value


def _run_once(cfg: DictConfig, output: Path, sweep: bool) -> Results:
    """Run the job unless its folder holds it, completed; a failure is recorded in the folder.

    In a sweep, the message or the traceback is written to ``ERROR_FILE``.

    Raises:
        LangcoreError: the folder holds another run; or see :func:`run`.
    """
    claimed = False
    try:
        finished = run_folder.claim(_hydra_files(cfg), output)
        claimed = True
        (output / ERROR_FILE).unlink(missing_ok=True)
        if finished is not None:
            say(f"{output} holds this run already, completed: not run again")
            return finished
        return run(cfg)
    except Exception as error:
        with suppress(OSError):
            if claimed and (_is_first() or not is_lost_rank(error)):  # rank 0 records why it ended
                _leave_record(cfg, output, "failed", message_of(error).splitlines()[0])
            if sweep:
                text = f"{message_of(error)}\n" if has_message(error) else traceback.format_exc()
                write_text(output / ERROR_FILE, text)
        raise


def _hydra_files(cfg: DictConfig) -> dict[str, str]:
    """What is kept in ``.hydra/``: YAML text by file name."""
    hydra: Any = HydraConfig.instance().cfg
    contents = {"config.yaml": cfg, "hydra.yaml": hydra, "overrides.yaml": hydra.hydra.overrides.task}
    return {name: OmegaConf.to_yaml(content) for name, content in contents.items()}


class Folders(Callback):
    """Check and make the output folder before Hydra does, and write the report of a sweep after its last job."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check the output folder of a single run; one that is named by the time is a folder of its own."""
        _check_writable("hydra.run.dir", Path(config.hydra.run.dir))
        _claim_new("run", config)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check the output folder of a sweep; one that is named by the time is a folder of its own."""
        _check_writable("hydra.sweep.dir", Path(config.hydra.sweep.dir))
        _claim_new("sweep", config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the table of a sweep, write its report, and exit with status 1 if a job failed."""
        sweep = Path(config.hydra.sweep.dir)
        try:
            runs, skipped = load([sweep])
            if any(results.perplexity for results in runs):
                page.print_table(runs)
            say(str(page.write_html(runs, sweep / "report.html", skipped)))
        except (LangcoreError, OSError) as error:  # Hydra would turn it into a warning
            refuse(message_of(error))
        failed = [results for results in runs if (results.folder / ERROR_FILE).exists()]
        if skipped or failed or any(results.status != "completed" for results in runs):
            sys.exit(1)


def _claim_new(kind: str, config: DictConfig) -> None:
    """Make the folder of a run or a sweep if its name contains the time; another one of this second gets a number.

    Ranks that torchrun or SLURM has started must agree on the name, so theirs stays.
    """
    pattern = OmegaConf.to_container(config.hydra[kind], resolve=False)["dir"]  # type: ignore[index, call-overload]
    if "${now:" not in str(pattern) or launchers.processes()[0] > 1:
        return
    first = Path(config.hydra[kind].dir)
    for number in count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    if folder == first:
        return
    text = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    with read_write(config.hydra):
        config.hydra[kind].dir = str(folder)
        config.hydra.overrides.hydra.append(f"hydra.{kind}.dir='{text}'")  # each job of a sweep composes anew


def _leave_record(cfg: DictConfig, output: Path, status: str, error: str) -> None:
    """Write a record for a run that ended without one; existing results are kept, and marked failed after an error."""
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
    # Lightning kills rank 0 if a rank that it has started ends with an error before it
    return TERMINATED if _is_first() else 0


def _refuse_chdir() -> None:
    if HydraConfig.get().job.chdir:
        refuse(
            "hydra.job.chdir=true would move every relative path (paths.artifacts, data.root, model.path, region.file)"
            " into the run folder, and the cache with them: leave it out; what a run writes is in its folder anyway"
        )


def _is_first() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def _check_writable(setting: str, folder: Path) -> None:
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        if existing.parent.is_file():
            refuse(f"{setting}={folder} can't be made: {existing.parent} is a file; set paths.runs to a folder")
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        refuse(f"{setting}={folder} can't be written: set paths.runs to a writable folder")
