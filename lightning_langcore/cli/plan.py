"""``langcore plan [overrides]``: how much memory a training will need, and whether it fits."""

import argparse
import math
import sys
from collections.abc import Sequence

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich import box
from rich.table import Table

from lightning_langcore.jobs.config.checks import check_training
from lightning_langcore.jobs.config.devices import accelerator
from lightning_langcore.jobs.config.memory import device_memory, refuse_too_large, training_of
from lightning_langcore.jobs.config.region import check_region
from lightning_langcore.jobs.config.validators import one_line, together
from lightning_langcore.jobs.process.plugins import import_modules
from lightning_langcore.training.memory.footprint import Training
from lightning_langcore.training.memory.planner import GIB, MOMENTS, Plan, plan
from lightning_langcore.utils import tables

ABOUT = """The memory of a training, before it: per weight, in all, and whether it fits.

The words are those of a run, as in: langcore plan +experiment=recovery_frozen trainer=gpu
No weights are read: the shapes are those of the model's config.json. Exit status 1 if it does not fit.
"""


def main(words: Sequence[str]) -> None:
    """Run ``langcore plan`` with the words after it; what a user can mend is one line and exit status 1."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="langcore plan", description=ABOUT, formatter_class=style)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="+experiment=NAME, group=choice, key=value")
    parser.add_argument("--memory", type=_size, metavar="GIB", help="of one device, instead of this machine's")
    options = parser.parse_intermixed_args(words)
    try:
        cfg = compose_run(options.overrides)
        import_modules(cfg.imports)
        together([lambda: check_region(cfg, None), lambda: check_training(cfg)])
        training = training_of(cfg)
        memory = device_memory(cfg) if options.memory is None else options.memory * GIB
        show(cfg, training, plan(training), memory)
        if memory is not None:
            refuse_too_large(training, memory, on_host=accelerator(cfg) != "cuda")
    except HydraException as error:
        told = one_line(error).partition(" Config search path:")[0]  # what it could choose from stands before
        sys.exit(f"error: {told}")
    except OmegaConfBaseException as error:
        sys.exit(f"error: {str(error).splitlines()[0]}")
    except ValueError as error:
        sys.exit(f"error: {error}")


def _size(text: str) -> float:
    size = float(text)
    if not 0 < size < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be a number of GiB above 0")
    return size


def compose_run(overrides: Sequence[str]) -> DictConfig:
    """The configuration that a run with these words has.

    Raises:
        ValueError: it would be no training.
    """
    with initialize_config_module("lightning_langcore.conf", version_base="1.3"):
        cfg = compose("train", overrides=["paths.output=.", *overrides])  # no run, and so no folder of it
    if cfg.job.name != "fit":
        raise ValueError(f"job.name={cfg.job.name}: only trainings (job=fit) are planned")
    return cfg


def show(cfg: DictConfig, training: Training, planned: Plan, memory: float | None) -> None:
    """Print what is held where, a line for each purpose."""
    num_weights = training.model.num_weights
    each = "" if training.strategy == "one" else f" on each of {training.num_devices} devices"
    settings = f"{training.strategy}, {cfg.trainer.precision}, batches of {training.batch_size} x {training.block_size}"
    table = Table(title=f"{cfg.model.name}: {num_weights:,} weights; {settings}", title_justify="left", box=box.SIMPLE)
    table.add_column(f"held at {MOMENTS[planned.moment]}{each}")
    for name in ("bytes a weight", "GiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for what, size in planned.device.items():
        table.add_row(what, *_figures(size, num_weights))
    table.add_section()
    table.add_row("in all", *_figures(planned.num_bytes, num_weights))
    for what, size in planned.host.items():
        table.add_row(f"on the CPU, each process: {what}", *_figures(size, num_weights))
    if memory is not None:
        table.add_row("a device has", "", f"{memory / GIB:.3f}")
    tables.console().print(table)


def _figures(size: float, num_weights: int) -> tuple[str, str]:
    return f"{size / num_weights:.3f}", f"{size / GIB:.3f}"
