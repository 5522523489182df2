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
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
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
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone, two = {"strategy": "auto", "devices": 1}, {"strategy": "ddp", "devices": 2}
    text = {"strategy": "auto", "devices": "0,1"}
    for job, trainer in (("fit", alone), ("fit", two), ("fit", text), ("locate", alone)):
        lifecycle.refuse_ranks(trained_with(job, **trainer))
    assert not capsys.readouterr().err
    for trainer in (two, text):
        lifecycle.refuse_ranks(trained_with("perturb", **trainer))
        assert "job=perturb runs on one device" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    lifecycle.refuse_ranks(trained_with("fit", **two))
    with pytest.raises(ValueError, match=r"2 processes were started.*trainer.devices=1 would train alone in each"):
        lifecycle.refuse_ranks(trained_with("fit", **alone))
    with pytest.raises(ValueError, match="job=locate runs on one device, and 2 processes were started"):
        lifecycle.refuse_ranks(trained_with("locate", **two))
