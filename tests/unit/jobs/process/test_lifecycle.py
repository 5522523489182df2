"""Strategies and processes that would do a job twice are refused."""

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from lightning_langcore.jobs.process import lifecycle

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
    hydra = OmegaConf.create({"runtime": {"choices": {"hydra/launcher": "joblib"}}})
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)
    cfg = OmegaConf.create({"trainer": {"accelerator": "cpu", **trainer}})
    if named is None:
        lifecycle.refuse_restarts(cfg)
        return
    with pytest.raises(
        ValueError, match=rf"trainer.strategy={named} .*hydra/launcher=joblib.* leave -m away.*torchrun"
    ):
        lifecycle.refuse_restarts(cfg)
    monkeypatch.setenv("SLURM_PROCID", "1")
    lifecycle.refuse_restarts(cfg)


def test_several_processes_do_not_each_do_the_whole_job(monkeypatch, capsys):
    def cfg(job, **trainer):
        return OmegaConf.create({"job": {"name": job}, "trainer": {"accelerator": "cpu", **trainer}})

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone, two = {"strategy": "auto", "devices": 1}, {"strategy": "ddp", "devices": 2}
    text = {"strategy": "auto", "devices": "0,1"}
    for job, trainer in (("fit", alone), ("fit", two), ("fit", text), ("locate", alone)):
        lifecycle.refuse_ranks(cfg(job, **trainer))
    assert not capsys.readouterr().err
    for trainer in (two, text):
        lifecycle.refuse_ranks(cfg("perturb", **trainer))
        assert "job=perturb runs on one device" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    lifecycle.refuse_ranks(cfg("fit", **two))
    with pytest.raises(ValueError, match=r"2 processes were started.*trainer.devices=1 would train alone in each"):
        lifecycle.refuse_ranks(cfg("fit", **alone))
    with pytest.raises(ValueError, match="job=locate runs on one device, and 2 processes were started"):
        lifecycle.refuse_ranks(cfg("locate", **two))
