"""Strategies and processes that would do a job twice are refused."""

from dataclasses import replace

import pytest

from lightning_langcore.jobs.config.component import Component
from lightning_langcore.jobs.config.groups.training import TrainerSettings
from lightning_langcore.jobs.config.settings import Invocation
from lightning_langcore.jobs.process import lifecycle
from tests.support.configs import settings_of


def trained_with(job, **trainer):
    """Settings of a job with this trainer."""
    lightning = Component("trainer", {"_target_": "lightning.pytorch.Trainer"})
    chosen = TrainerSettings(trainer=lightning, accelerator="cpu", **trainer)
    return replace(settings_of(f"job={job}"), trainer=chosen, invocation=Invocation(launcher="joblib"))


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in {"SLURM_STEP_NUM_TASKS", *(name for variables in LAUNCHERS.values() for name in variables)}:
        monkeypatch.delenv(name, raising=False)


RANKS = "lightning.pytorch.strategies.ModelParallelStrategy"


@pytest.mark.parametrize(
    ("trainer", "named"),
    [
        ({"strategy": "ddp", "devices": 2}, "ddp"),
        ({"strategy": "ddp_find_unused_parameters_true", "devices": 2}, "ddp_find_unused_parameters_true"),
        ({"strategy": "fsdp", "devices": 2}, "fsdp"),
        ({"strategy": {"_target_": RANKS, "data_parallel_size": 2}, "devices": 2}, "ModelParallelStrategy"),
        ({"strategy": "auto", "devices": 2}, "auto"),
        ({"strategy": "auto", "devices": [0, 1]}, "auto"),
        ({"strategy": "auto", "devices": "0,1"}, "auto"),
        ({"strategy": "auto", "devices": "0,"}, None),
        ({"strategy": "auto", "devices": 1}, None),
        ({"strategy": "auto", "devices": "auto"}, None),
        ({"strategy": "ddp_spawn", "devices": 2}, None),
    ],
)
def test_strategies_that_start_the_command_again_are_refused_by_name(monkeypatch, trainer, named):
    settings = trained_with("fit", **trainer)
    if named is None:
        lifecycle.refuse_restarts(settings)
        return
    with pytest.raises(
        ValueError, match=rf"trainer.strategy={named} .*hydra/launcher=joblib.* leave -m away.*torchrun"
    ):
        lifecycle.refuse_restarts(settings)
    monkeypatch.setenv("SLURM_PROCID", "1")
    lifecycle.refuse_restarts(settings)


def test_several_processes_do_not_each_do_the_whole_job(monkeypatch, capsys):
    alone, two = {"strategy": "auto", "devices": 1}, {"strategy": "ddp", "devices": 2}
    text = {"strategy": "auto", "devices": "0,1"}
    for job, trainer in (("fit", alone), ("fit", two), ("fit", text), ("locate", alone)):
        lifecycle.refuse_ranks(trained_with(job, **trainer))
    assert not capsys.readouterr().err
    for trainer in (two, text):
        lifecycle.refuse_ranks(trained_with("perturb", **trainer))
        assert "job=perturb runs on one device" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    lifecycle.refuse_ranks(trained_with("fit", **two))
    with pytest.raises(ValueError, match=r"2 processes were started.*trainer.devices=1 would train alone in each"):
        lifecycle.refuse_ranks(trained_with("fit", **alone))
    with pytest.raises(ValueError, match="job=locate runs on one device, and 2 processes were started"):
        lifecycle.refuse_ranks(trained_with("locate", **two))


LAUNCHERS = {
    "torchrun": {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "none"},
    "srun": {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_JOB_NAME": "train"},
    "jsrun": {
        "JSM_NAMESPACE_SIZE": "2", "JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_LOCAL_RANK": "1", "LSB_JOBID": "7",
        "LSB_DJOB_RANKFILE": "hosts",
    },
    "mpirun": {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
    "MPICH": {"PMI_SIZE": "2", "PMI_RANK": "1"},
    "Kubeflow": {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "29500"},
}  # fmt: skip
JOINED = ("torchrun", "srun", "jsrun")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_of_any_launcher_do_not_each_do_the_whole_job(monkeypatch, launcher):
    for name, value in LAUNCHERS[launcher].items():
        monkeypatch.setenv(name, value)
    alone, two, four = ({"strategy": s, "devices": d} for s, d in (("auto", 1), ("ddp", 2), ("ddp", 4)))
    with pytest.raises(ValueError, match=r"^2 processes were started \(\w+\), .* train alone in each: .*devices=2"):
        lifecycle.refuse_ranks(trained_with("fit", **alone))
    with pytest.raises(ValueError, match=r"job=locate runs on one device, and 2 processes were started \(\w+\)"):
        lifecycle.refuse_ranks(trained_with("locate", **two))
    with pytest.raises(ValueError, match=r"trainer\.devices=4 with trainer\.num_nodes=1 makes 4 ranks"):
        lifecycle.refuse_ranks(trained_with("fit", **four))
    settings = trained_with("fit", **two)
    if launcher in JOINED:
        lifecycle.refuse_ranks(settings)
        return
    with pytest.raises(ValueError, match="a launcher that Lightning does not detect"):
        lifecycle.refuse_ranks(settings)
    named = Component("trainer", {"_target_": "lightning.pytorch.Trainer", "plugins": [{"_target_": "Own"}]})
    lifecycle.refuse_ranks(replace(settings, trainer=settings.trainer.model_copy(update={"trainer": named})))


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"},
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "interactive"},
        {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {"WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "none", "SLURM_NTASKS": "2"},
        {"WORLD_SIZE": ""},
    ],
    ids=["salloc", "interactive", "one task of two", "torchrun in a job of two tasks", "empty"],
)
def test_one_process_is_one_whatever_was_requested(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    lifecycle.refuse_ranks(trained_with("fit", strategy="auto", devices=1))
