"""The command line: ``python train.py ...`` in a clone, ``langcore ...`` anywhere."""

import argparse
import importlib
import os
import sys
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from safetensors import SafetensorError

from lightning_langcore import region_command, report
from lightning_langcore.jobs.training import quiet
from lightning_langcore.progress import say
from lightning_langcore.results import Results, find_runs

JOBS = ("base", "fit", "locate", "perturb", "dimension")
INTERRUPTED = 130
USAGE = """usage: langcore +experiment=NAME [group=choice | key=value ...]     run one; -m for a sweep
       langcore report FOLDER [FOLDER ...] [-o FILE]                one HTML page from run folders
       langcore region show|combine|overlap ...                     what region files hold, set algebra, overlap; try -h

experiments:"""


def run(cfg: DictConfig) -> Results:
    """Run the job that ``job.name`` names.

    Raises:
        ValueError: an unknown job, or something that the job can't honour.
        KeyboardInterrupt: the user stopped it; what was reached is written.
    """
    if cfg.job.name not in JOBS:
        raise ValueError(f"job.name={cfg.job.name} is none of {', '.join(JOBS)}")
    quiet()
    return importlib.import_module(f"lightning_langcore.jobs.{cfg.job.name}").run(cfg)


def guarded_run(cfg: DictConfig) -> None:
    """What Hydra calls: run, print, and turn what a user can mend into one line instead of a traceback."""
    output = Path(cfg.paths.output)
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        if sweep:
            _refuse_restarts(cfg)
        results = run(cfg)
    except KeyboardInterrupt:
        _leave_record(cfg, output, "interrupted", "stopped before training began")
        say(f"\ninterrupted; what was reached is in {output}")
        sys.exit(INTERRUPTED)
    except (ValueError, OSError, SafetensorError) as error:
        told = str(error) if isinstance(error, ValueError) else _of_files(error)
        with suppress(OSError):
            _leave_record(cfg, output, "failed", told.splitlines()[0])
        say(f"error: {told}", every_rank=True)  # one rank alone may know what is wrong
        if not sweep:
            sys.exit(1)
        return
    if not sweep:
        if results.perplexity:
            report.print_table([results])
        say(str(output))


class Folders(Callback):
    """Looks at the output folder before Hydra makes it, and writes the report of a sweep when all jobs are done."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Before a single run."""
        _check_writable("hydra.run.dir", Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Before a sweep."""
        _check_writable("hydra.sweep.dir", Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """After a sweep: table, report, and exit status 1 if a job failed."""
        folder = Path(config.hydra.sweep.dir)
        runs = [Results.load(path) for path in find_runs([folder])]
        if any(results.perplexity for results in runs):
            report.print_table(runs)
        say(str(report.write_html(runs, folder / "report.html")))
        if any(results.status != "completed" for results in runs):
            sys.exit(1)


def main() -> None:
    """The console script ``langcore``."""
    words = sys.argv[1:]
    if not words:
        print(USAGE)
        for name, header in experiments().items():
            print(f"  {name:20} {header}")
    elif words[0] == "report":
        _report(words[1:])
    elif words[0] == "region":
        region_command.main(words[1:])
    else:
        hydra.main(config_path="pkg://lightning_langcore.conf", config_name="train", version_base="1.3")(guarded_run)()


def experiments() -> dict[str, str]:
    """Name of each experiment and the first sentence of its header."""
    folder = resources.files("lightning_langcore.conf") / "experiment"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            comments = [line[2:] for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
            found[file.name.removesuffix(".yaml")] = next(line for line in comments if not line.startswith("@package"))
    return found


def _report(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="langcore report", description="One HTML page from any set of run folders.")
    parser.add_argument("folders", nargs="+", type=Path, help="run folders, or folders above them")
    parser.add_argument("-o", "--output", type=Path, help="the page; by default report.html in the first folder")
    options = parser.parse_args(words)
    try:
        runs = [Results.load(path) for path in find_runs(options.folders)]
        report.print_table(runs)
        print(report.write_html(runs, options.output or options.folders[0] / "report.html"))
    except ValueError as error:
        sys.exit(f"error: {error}")


def _of_files(error: Exception) -> str:
    reason = str(error).strip() or type(error).__name__
    return (
        f"a file could not be written or read ({reason}): is the disk full? Free some space, or set paths.artifacts and"
        " paths.runs to other folders; what was written whole is kept"
    )


def _leave_record(cfg: DictConfig, output: Path, status: str, error: str) -> None:
    """Leave a record of a run that ended before it had results."""
    if not (output / "results.json").exists():
        results = Results(output, experiment=cfg.name, seed=cfg.seed, model={"name": cfg.model.name})
        results.status, results.error = status, error
        results.write()


def _refuse_restarts(cfg: DictConfig) -> None:
    """In a sweep, refuse a strategy that starts the command line anew for each rank: each would begin the sweep again.

    Raises:
        ValueError: it is one.
    """
    if (
        str(cfg.trainer.strategy).startswith("ddp")
        and "spawn" not in cfg.trainer.strategy
        and not _started_from_outside()
    ):
        raise ValueError(
            f"trainer.strategy={cfg.trainer.strategy} starts this command again for each rank, and with -m each would"
            " begin the whole sweep: leave -m away, or start the ranks from outside with torchrun"
        )


def _started_from_outside() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_PROCID" in os.environ


def _check_writable(setting: str, folder: Path) -> None:
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        if existing.parent.is_file():
            _refuse(f"{setting}={folder} can't be made: {existing.parent} is a file; set paths.runs to a folder")
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        _refuse(f"{setting}={folder} can't be written: set paths.runs to a folder of yours")


def _refuse(text: str) -> NoReturn:
    sys.exit(f"error: {text}")
