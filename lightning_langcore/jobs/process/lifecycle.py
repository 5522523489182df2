"""The process of a job: signals, release of resources, and checks of how many processes were started."""

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_langcore.jobs.config.groups.job import FitJob
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.jobs.process import launchers
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say


@contextmanager
def sigterm_as_exception() -> Iterator[None]:
    """Raise ``SIGTERMException`` on SIGTERM, so that cleanup code runs; a training saves a checkpoint first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: Any) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SIGTERMException

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def is_lost_rank(error: BaseException) -> bool:
    """Whether the error says that another rank has ended: NCCL raises its own classes, gloo a ``RuntimeError``."""
    lost = (dist.DistBackendError, dist.DistNetworkError, dist.DistStoreError)
    return isinstance(error, lost) or (isinstance(error, RuntimeError) and "by peer" in str(error))


def release_resources() -> None:
    """Free what a job leaves behind for the next job of this process: memory, and the W&B run of a failed job."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=1)
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def refuse_restarts(settings: Settings) -> None:
    """Refuse, in a sweep, a strategy that runs the command again for each rank: each rank would start the sweep again.

    Raises:
        LangcoreError: the strategy is such a one, and the ranks were not started by torchrun, SLURM or LSF.
    """
    if settings.trainer.restarts and not launchers.are_external():
        name, launcher = settings.trainer.strategy_name, settings.invocation.launcher
        raise LangcoreError(
            f"trainer.strategy={name} starts this command again for each rank, and with -m (hydra/launcher={launcher})"
            " each would begin the whole sweep: leave -m away, or start the ranks with torchrun, or with"
            " hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=RANKS"
        )


def refuse_ranks(settings: Settings) -> None:
    """Refuse several processes that would each do the whole job in one folder, whatever has started them.

    Raises:
        LangcoreError: several processes were started, and the job is no training, its strategy does not use them, it
            uses another number, or Lightning does not know their launcher.
    """
    (number, variable), job, trainer = launchers.processes(), settings.job, settings.trainer
    if not isinstance(job, FitJob):
        if number > 1:
            raise LangcoreError(
                f"job={job.name} runs on one device, and {number} processes were started ({variable}): start it once,"
                " without torchrun, srun or mpirun, or with one task"
            )
        if trainer.restarts:
            say(f"job={job.name} runs on one device; trainer.strategy and trainer.devices apply to trainings only")
        return
    if number == 1:
        return
    ranks = trainer.num_devices * trainer.num_nodes
    if not trainer.restarts:
        raise LangcoreError(
            f"{number} processes were started ({variable}), and trainer.strategy={trainer.strategy_name} with"
            f" trainer.devices={trainer.devices} would train alone in each: choose trainer=ddp or trainer=fsdp2 with"
            f" trainer.devices={number}, or start one process"
        )
    if ranks != number:
        raise LangcoreError(
            f"{number} processes were started ({variable}), and trainer.devices={trainer.devices} with"
            f" trainer.num_nodes={trainer.num_nodes} makes {ranks} ranks: set both to what is started"
        )
    if not launchers.are_joined() and not trainer.trainer.arguments.get("plugins"):
        raise LangcoreError(
            f"{number} processes were started ({variable}) by a launcher that Lightning does not detect, so that each"
            " would train alone: start them with torchrun or srun, or name the launcher, as in"
            " '+trainer.plugins=[{_target_: lightning.pytorch.plugins.environments.KubeflowEnvironment}]'"
        )
