"""Settings of the monitor that can not be honoured."""

import lightning.pytorch as pl
import pytest

from lightning_langcore import ContinuedPretraining
from lightning_langcore.callbacks.noise_sensitivity.callback import NoiseSensitivity
from tests.support.models import random_half, tiny_llama
from tests.support.monitored import SGD, Monitor, Regression, noisy, points, run_points
from tests.support.training import Plain, fit


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action": "drop"}, "action='drop' must be one of log, skip, clip, stop"),
        ({"signals": ("los",)}, "must be a list of loss, grad_norm"),
        ({"signals": "loss"}, "signals=loss must be a list"),
        ({"signals": ("core_share",)}, "signals has core_share, which needs region"),
        ({"signals": ("adam_ratio",), "adam_every_n_steps": 0}, "adam_every_n_steps=0 is never"),
        ({"adam_every_n_steps": -1}, "adam_every_n_steps=-1 must be 0"),
        ({"statistic": "mode"}, "statistic='mode' must be mean or median"),
        ({"threshold": 0.0}, "threshold=0.0 sigmas must be above 0"),
        ({"window": 8}, "window=8 must be at least 16"),
        ({"min_window": 3}, "min_window=3 must be at least 4"),
        ({"max_repeats": 1}, "max_repeats=1 must be at least 2"),
        ({"max_period": 0}, "max_period=0 must be at least 1"),
        ({"max_consecutive": 0}, "max_consecutive=0 must be at least 1"),
        ({"pair_bits": 50}, "pair_bits=50 must be at most 34"),
        ({"region": "none.safetensors"}, "no region file at"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NoiseSensitivity(**settings)


def test_what_cant_be_honoured_is_refused_by_name():
    class ByHand(Regression):
        automatic_optimization = False

    monitor = NoiseSensitivity("skip")
    with pytest.raises(ValueError, match=r"ByHand, which optimizes by hand \(automatic_optimization=False\)"):
        run_points(monitor, points(1, {}), ByHand())
    trainer = pl.Trainer(**Plain(None, max_steps=1), callbacks=[monitor])
    trainer.strategy.__class__ = pl.strategies.ModelParallelStrategy
    with pytest.raises(ValueError, match="ModelParallelStrategy: use one device or strategy=ddp"):
        monitor.setup(trainer, Regression(), "fit")


def test_a_region_of_another_model_is_refused_before_the_first_step(tmp_path):
    region = random_half(tiny_llama(hidden_size=48, intermediate_size=96))
    with pytest.raises(ValueError, match="the region belongs to another model"):
        fit(ContinuedPretraining(tiny_llama(), SGD), noisy(1, ()), [Monitor(dirpath=tmp_path, region=region)])


def test_an_optimizer_without_second_moments_is_said(tmp_path):
    monitor = Monitor(dirpath=tmp_path, adam_every_n_steps=2)
    with pytest.warns(UserWarning, match="adam_every_n_steps=2 is idle, for SGD keeps no exp_avg_sq"):
        fit(ContinuedPretraining(tiny_llama(), SGD), noisy(4, ()), [monitor])
