"""The process of a job: signals, release of resources, and checks of how many processes were started."""

import gc
import os
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
        LangcoreError: the strategy is such a one, and the ranks were not started by torchrun or SLURM.
    """
    if settings.trainer.restarts and not _has_external_launcher():
        name, launcher = settings.trainer.strategy_name, settings.invocation.launcher
        raise LangcoreError(
            f"trainer.strategy={name} starts this command again for each rank, and with -m (hydra/launcher={launcher})"
            " each would begin the whole sweep: leave -m away, or start the ranks with torchrun, or with"
            " hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=RANKS"
        )


def refuse_ranks(settings: Settings) -> None:
    """Refuse several ranks for a job or a strategy that runs on one: each rank would do the whole job.

    Raises:
        LangcoreError: several ranks were started, for example by torchrun, and the job is no training or its strategy
            does not use them.
    """
    num_ranks, job, trainer = int(os.environ.get("WORLD_SIZE", "1")), settings.job, settings.trainer
    if not isinstance(job, FitJob):
        if num_ranks > 1:
            raise LangcoreError(
                f"job={job.name} runs on one device, and {num_ranks} processes were started: start it without torchrun"
            )
        if trainer.restarts:
            say(f"job={job.name} runs on one device; trainer.strategy and trainer.devices apply to trainings only")
    elif num_ranks > 1 and not trainer.restarts:
        raise LangcoreError(
            f"{num_ranks} processes were started, and trainer.strategy={trainer.strategy_name} with"
            f" trainer.devices={trainer.devices} would train alone in each: choose trainer=ddp or trainer=fsdp2"
            f" with trainer.devices={num_ranks}"
        )


def _has_external_launcher() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_PROCID" in os.environ
