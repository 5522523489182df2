"""W&B never stops a run: offline without a key and without a network; what tells runs apart."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import wandb

from lightning_langcore.jobs.config.settings import Invocation
from lightning_langcore.jobs.steps import loggers
from lightning_langcore.results.record import Results
from tests.support.configs import settings_of


@pytest.fixture
def online(monkeypatch, tmp_path):
    """As if nobody had set anything: no offline mode, no key, a home without credentials."""
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.slow
def test_without_a_key_it_is_offline_and_says_so(online, tmp_path, capsys):
    logger = loggers.wandb_logger(str(tmp_path), project="p", group="sweep", tags=["frozen"])
    logger.log_hyperparams({"region": {"kind": "core"}})
    assert logger.experiment.offline
    assert logger.experiment.group == "sweep"
    assert logger.experiment.tags == ("frozen",)
    assert logger.experiment.config["region"] == {"kind": "core"}
    wandb.finish()
    assert "no API key" in capsys.readouterr().err
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_without_a_network_it_is_offline_and_says_so(online, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    logger = loggers.wandb_logger(str(tmp_path), project="p")
    assert logger.experiment.offline
    wandb.finish()
    assert "http://127.0.0.1:9 can't be reached" in capsys.readouterr().err


def test_runs_of_a_sweep_share_a_group_and_say_their_condition():
    settings = settings_of("+experiment=recovery_frozen", "logger=wandb", "region=random", "seed=3")
    words = ["+experiment=recovery_frozen", "region=random", "seed=3", "data.epochs=3", "paths.artifacts=/elsewhere"]
    invocation = Invocation(tuple(words), Path("outputs/sweeps/today"))
    assert loggers.label(replace(settings, invocation=invocation), "frozen") == {
        "name": "recovery_frozen-random-data.epochs=3-seed3",
        "group": "today",
        "tags": ["frozen", "region:random", "experiment:recovery_frozen"],
    }
    assert "group" not in loggers.label(settings, "frozen")


def test_wandb_gets_the_table_and_a_chart_of_each_language(tmp_path, monkeypatch):
    logged = []
    results = Results(tmp_path, experiment="fit", seed=0, model={})
    for stage, lang, nats in (("base", "zh", 1.0), ("base", "en", 2.0), ("training", "zh", 3.0), ("final", "zh", 1e9)):
        place = {"stage": stage, "samples": 0, "lang": lang, "split": "test", "seed": 0}
        results.add({**place, "nats_per_token": nats, "bits_per_byte": 1.0, "num_tokens": 9, "num_bytes": 20})
    logger = loggers.wandb_logger(str(tmp_path), project="p", offline=True)
    monkeypatch.setattr(logger.experiment, "log", logged.append)
    loggers.close([logger], results)
    ((table, chart),) = (entry.values() for entry in logged)
    assert [row[:3] for row in table.data] == [
        ["base", 0, "zh"],
        ["base", 0, "en"],
        ["training", 0, "zh"],
        ["final", 0, "zh"],
    ]
    assert chart.spec.spec_name == "wandb/bar/v0"
    assert chart.spec.fields == {"label": "language", "value": "ppl"}
    assert chart.table.data == [["en base", pytest.approx(math.exp(2))], ["zh base", pytest.approx(math.e)]]
