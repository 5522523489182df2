"""A job and the process it runs in: how it is ended, what it leaves to the next one, which strategies start it anew."""

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
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig

from lightning_langcore.jobs.config.devices import restarts, strategy
from lightning_langcore.utils.progress import say


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """SIGTERM arrives as an exception, so that what is under way is cleared up; training itself saves first."""
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


def lost_rank(error: BaseException) -> bool:
    """Whether another rank has gone: gloo tells of its peer, NCCL has classes of its own."""
    gone = (dist.DistBackendError, dist.DistNetworkError, dist.DistStoreError)
    return isinstance(error, gone) or (isinstance(error, RuntimeError) and "by peer" in str(error))


def leave_nothing() -> None:
    """What a job has held must not weigh on the next one of this process: models, and a W&B run of a failed one."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=1)
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def refuse_restarts(cfg: DictConfig) -> None:
    """In a sweep, refuse a strategy that starts the command line anew for each rank: each would begin the sweep again.

    Raises:
        ValueError: it is one.
    """
    if restarts(cfg) and not _started_from_outside():
        name, launcher = strategy(cfg), HydraConfig.get().runtime.choices.get("hydra/launcher")
        raise ValueError(
            f"trainer.strategy={name} starts this command again for each rank, and with -m (hydra/launcher={launcher})"
            " each would begin the whole sweep: leave -m away, or start the ranks from outside: with torchrun, or with"
            " hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=RANKS"
        )


def refuse_ranks(cfg: DictConfig) -> None:
    """Only a training runs on several ranks, and only with a strategy for them: else each would do all of the job.

    Raises:
        ValueError: several were started, by torchrun for instance, and this job or its trainer knows nothing of them.
    """
    num_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if cfg.job.name != "fit":
        if num_ranks > 1:
            raise ValueError(
                f"job={cfg.job.name} runs on one device, and {num_ranks} processes were started: start it without"
                " torchrun"
            )
        if restarts(cfg):
            say(f"job={cfg.job.name} runs on one device; trainer.strategy and trainer.devices are of trainings alone")
    elif num_ranks > 1 and not restarts(cfg):
        raise ValueError(
            f"{num_ranks} processes were started, and trainer.strategy={strategy(cfg)} with"
            f" trainer.devices={cfg.trainer.devices} would train alone in each: choose trainer=ddp or trainer=fsdp2"
            f" with trainer.devices={num_ranks}"
        )


def _started_from_outside() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_PROCID" in os.environ
