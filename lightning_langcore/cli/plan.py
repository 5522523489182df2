"""``langcore plan [overrides]``: how much memory a training needs, and whether it fits."""

import argparse
import math
import sys
from collections.abc import Sequence

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich import box
from rich.table import Table

from lightning_langcore.jobs.config.checks import check_training, needs_region
from lightning_langcore.jobs.config.component import one_line
from lightning_langcore.jobs.config.groups.job import FitJob
from lightning_langcore.jobs.config.memory import device_memory, refuse_too_large, training_of
from lightning_langcore.jobs.config.model import check_model
from lightning_langcore.jobs.config.region import check_region
from lightning_langcore.jobs.config.settings import Settings, parse
from lightning_langcore.jobs.config.together import raise_together
from lightning_langcore.jobs.process.plugins import import_modules
from lightning_langcore.training.memory.footprint import Training
from lightning_langcore.training.memory.planner import GIB, MOMENTS, Plan, plan
from lightning_langcore.utils import tables
from lightning_langcore.utils.errors import LangcoreError

ABOUT = """Plan the memory of a training before it starts: bytes per weight, total, and whether it fits.

The arguments are those of a run, as in: langcore plan +experiment=recovery_frozen trainer=gpu
No weights are read: the shapes come from the model's config.json. The exit status is 1 if the training does not fit.
"""


def main(arguments: Sequence[str]) -> None:
    """Run ``langcore plan``; an error that the user can fix is printed as a message, with exit status 1."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="langcore plan", description=ABOUT, formatter_class=style)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="+experiment=NAME, group=choice, key=value")
    parser.add_argument("--memory", type=_size, metavar="GIB", help="memory of one device, instead of this machine's")
    options = parser.parse_intermixed_args(arguments)
    try:
        settings = settings_of_run(options.overrides)
        raise_together(
            [
                lambda: check_region(settings, None),
                lambda: check_training(settings),
                lambda: check_model(settings, needs_region(settings), planned=True),
            ]
        )
        training = training_of(settings)
        memory = device_memory(settings) if options.memory is None else options.memory * GIB
        show(settings, training, plan(training), memory)
        if memory is not None:
            refuse_too_large(training, memory, on_host=settings.trainer.device_type != "cuda")
    except HydraException as error:
        message = one_line(error).partition(" Config search path:")[0]  # the part before lists the choices
        sys.exit(f"error: {message}")
    except OmegaConfBaseException as error:
        sys.exit(f"error: {str(error).splitlines()[0]}")
    except LangcoreError as error:
        sys.exit(f"error: {error}")


def _size(text: str) -> float:
    size = float(text)
    if not 0 < size < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be a number of GiB above 0")
    return size


def settings_of_run(overrides: Sequence[str]) -> Settings:
    """The settings of a run with these overrides.

    Raises:
        LangcoreError: an invalid setting, or the run is no training.
    """
    with initialize_config_module("lightning_langcore.conf", version_base="1.3"):
        cfg = compose("train", overrides=["paths.output=.", *overrides])  # nothing is run, so Hydra sets no run folder
    import_modules(cfg.imports)
    settings = parse(cfg)
    if not isinstance(settings.job, FitJob):
        raise LangcoreError(f"job.name={settings.job.name}: only trainings (job=fit) are planned")
    return settings


def show(settings: Settings, training: Training, planned: Plan, memory: float | None) -> None:
    """Print the plan as a table, one row per kind of memory (weights, gradients, ...)."""
    num_weights = training.model.num_weights
    each = "" if training.strategy == "one" else f" on each of {training.num_devices} devices"
    about = (
        f"{training.strategy}, {settings.trainer.precision}, batches of {training.batch_size} x {training.block_size}"
    )
    table = Table(
        title=f"{settings.model.name}: {num_weights:,} weights; {about}", title_justify="left", box=box.SIMPLE
    )
    table.add_column(f"held at {MOMENTS[planned.moment]}{each}")
    for name in ("bytes per weight", "GiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for purpose, size in planned.device.items():
        table.add_row(purpose, *_figures(size, num_weights))
    table.add_section()
    table.add_row("in all", *_figures(planned.num_bytes, num_weights))
    for purpose, size in planned.host.items():
        table.add_row(f"on the CPU, each process: {purpose}", *_figures(size, num_weights))
    if memory is not None:
        table.add_row("a device has", "", f"{memory / GIB:.3f}")
    tables.console().print(table)


def _figures(size: float, num_weights: int) -> tuple[str, str]:
    return f"{size / num_weights:.3f}", f"{size / GIB:.3f}"
