"""The monitor on modules without text."""

import copy

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from lightning_langcore import ContinuedPretraining
from lightning_langcore.callbacks.noise_sensitivity.callback import NoiseSensitivity
from tests.support.models import tiny_llama
from tests.support.monitored import SGD, Monitor, Recorder, Regression, lines, noisy, points, run_points
from tests.support.training import Plain


@pytest.mark.filterwarnings("ignore:.*no input_ids")
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_outliers_of_any_module_are_flagged_and_nothing_else(tmp_path, statistic):
    bad = {30: 6.0, 31: 6.0, 90: float("nan"), 150: 1e30}
    more = {"signals": ("loss", "grad_norm_worst"), "adam_every_n_steps": 0}
    monitor = NoiseSensitivity("skip", dirpath=tmp_path, statistic=statistic, **more)
    run_points(monitor, points(200, bad))
    found = lines(tmp_path)
    assert [line["step"] - 1 for line in found] == list(bad)
    assert found[0]["reasons"]["loss"] > 7
    assert found[0]["worst_tensor"] in ("layer.weight", "layer.bias")
    assert found[2]["signals"]["loss"] == "nan"
    assert found[2]["reasons"] == {"loss": "not finite", "grad_norm": "not finite"}
    assert found[2]["worst_tensor"] is None
    assert found[0]["documents"] == found[0]["heads"] == []


def test_a_batch_without_text_is_said_once(tmp_path):
    with pytest.warns(UserWarning, match="batches have no input_ids"):
        run_points(NoiseSensitivity(dirpath=tmp_path), points(3, {}))


@pytest.mark.filterwarnings("ignore:.*no input_ids")
def test_what_is_never_finite_ends_in_an_error_that_says_so(tmp_path):
    module = Regression()
    before = copy.deepcopy(module.state_dict())
    monitor = NoiseSensitivity("skip", dirpath=tmp_path, max_consecutive=5)
    with pytest.raises(ValueError, match=r"max_consecutive=5 steps in a row were skipped, and at step 7 .* not finite"):
        run_points(monitor, points(20, dict.fromkeys(range(2, 20), float("inf"))), module)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert len(lines(tmp_path)) == 5


@pytest.mark.filterwarnings("ignore:.*no input_ids")
def test_a_new_level_is_accepted_after_max_consecutive_steps(tmp_path):
    monitor = NoiseSensitivity("skip", dirpath=tmp_path, max_consecutive=8, adam_every_n_steps=0)
    with pytest.warns(UserWarning, match=r"max_consecutive=8 .* the last at step 38 for loss, grad_norm"):
        run_points(monitor, points(100, dict.fromkeys(range(30, 100), 10.0)))
    found = lines(tmp_path)
    assert [line["step"] for line in found] == list(range(31, 39))
    assert [line["step"] for line in found if line.get("restarted")] == [38]


def test_a_new_level_of_repetition_is_accepted_too(tmp_path):
    batches = noisy(12, range(2, 12))
    batches[11]["input_ids"] = torch.full((2, 40), 7)
    batches[11]["shift_labels"] = torch.full((2, 40), 7)
    monitor = Monitor(dirpath=tmp_path, max_consecutive=4)
    trainer = pl.Trainer(**Plain(None, max_epochs=1, enable_checkpointing=False), callbacks=[monitor])
    with pytest.warns(UserWarning, match=r"max_consecutive=4"):
        trainer.fit(ContinuedPretraining(tiny_llama(), SGD), torch.utils.data.DataLoader(batches, batch_size=None))
    assert [line["step"] for line in lines(tmp_path)] == [3, 4, 5, 6, 12]


def scaled(action, folder):
    monitor = NoiseSensitivity(action, dirpath=folder, signals=("loss", "grad_norm"), adam_every_n_steps=0)
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0, growth_interval=20)
    return monitor, {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}


@pytest.mark.parametrize("action", ["skip", "stop"])
def test_a_scaler_is_refused_where_steps_are_skipped(tmp_path, action):
    monitor, more = scaled(action, tmp_path)
    with pytest.raises(ValueError, match=r"GradScaler wants gradients: use trainer\.precision=bf16-mixed"):
        run_points(monitor, points(2, {}), **more)


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")
def test_under_a_scaler_figures_are_unscaled_and_overflows_are_no_flags(tmp_path):
    module, recorder = Regression(), Recorder()
    monitor, more = scaled("log", tmp_path)
    batches = points(60, {40: 20.0, 50: 1e4})
    trainer = pl.Trainer(**Plain(None, max_epochs=1, enable_checkpointing=False, **more), callbacks=[monitor, recorder])
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    for batch, row in zip(batches[:40], recorder.rows, strict=False):
        loss = (module.layer(batch["x"]) - batch["y"]).square().mean()
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        assert row["loss"] == pytest.approx(float(loss.detach()), rel=2e-2)  # float16
        assert row["grad_norm"] == pytest.approx(float(torch.nn.utils.get_total_norm(gradients)), rel=2e-2)
    assert [line["step"] for line in lines(tmp_path)] == [41]
