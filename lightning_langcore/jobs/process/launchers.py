"""How many processes a launcher has started for this command: torchrun, SLURM, LSF, MPI or Kubeflow."""

import os

from lightning.fabric.plugins.environments import LSFEnvironment, SLURMEnvironment

_COUNTS = (
    "WORLD_SIZE",  # torchrun, Kubeflow, and Lightning for the ranks that it starts
    "JSM_NAMESPACE_SIZE",  # jsrun of LSF
    "OMPI_COMM_WORLD_SIZE",  # mpirun of Open MPI
    "PMI_SIZE",  # MPICH, Intel MPI, and srun with PMI
    "MV2_COMM_WORLD_SIZE",  # MVAPICH
)
_SLURM_COUNTS = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
"""Tasks of this srun, and those that were requested, which is all that older versions of srun set."""
_RANKS = ("TORCHELASTIC_RUN_ID", "LOCAL_RANK")
"""Set by torchrun, and by Lightning for the ranks that it starts."""


def processes() -> tuple[int, str]:
    """Number of processes that were started together, and the environment variable that says so; 1 and "" if none."""
    slurm = [name for name in _SLURM_COUNTS if name in os.environ] if _is_slurm() else []
    names = ["WORLD_SIZE"] if "TORCHELASTIC_RUN_ID" in os.environ else [*_COUNTS, *slurm[:1]]
    counts = {name: int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()}
    largest = max(counts, key=lambda name: counts[name], default="")
    return (counts[largest], largest) if largest and counts[largest] > 1 else (1, "")


def are_joined() -> bool:
    """Whether Lightning makes the started processes ranks of one training without further settings."""
    return any(name in os.environ for name in _RANKS) or _is_slurm() or LSFEnvironment.detect()


def are_external() -> bool:
    """Whether torchrun, SLURM or LSF has started this process as one of several ranks."""
    return any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "SLURM_PROCID", "JSM_NAMESPACE_RANK"))


def _is_slurm() -> bool:
    """As Lightning decides it: a job that is named bash or interactive is a shell, whose commands are no tasks."""
    return "SLURM_NTASKS" in os.environ and SLURMEnvironment.job_name() not in ("bash", "interactive")
