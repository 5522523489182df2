"""A training that ends before its planned steps: the reason in a sentence, and none without a step."""

import itertools
from functools import partial
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from lightning_langcore import ContinuedPretraining
from lightning_langcore.data.evaluation_batches import EvalLoader
from lightning_langcore.jobs.steps import early_end
from tests.support.models import tiny_llama
from tests.support.training import Plain, blocks, loader


def fitted(**more):
    arguments = {"max_steps": 6, "max_epochs": -1, "enable_checkpointing": False, "num_sanity_val_steps": 0, **more}
    trainer = pl.Trainer(**Plain(None, **arguments))
    module = ContinuedPretraining(tiny_llama(), partial(torch.optim.SGD, lr=0.1))
    trainer.fit(module, loader(blocks(6)), EvalLoader(blocks(1, seed=4)))
    return trainer


class Ends(pl.Callback):
    def __init__(self, hook):
        setattr(self, hook, self._end)

    def _end(self, trainer, *_):
        trainer.should_stop = True


def test_a_training_that_reaches_its_steps_has_no_reason():
    trainer = fitted(callbacks=[EarlyStopping("val/loss")], max_time={"hours": 1})
    assert early_end.reason(trainer) is None
    early_end.refuse_untrained(trainer, 0)


def test_a_time_limit_is_the_reason(monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    trainer = fitted(max_time={"seconds": 3})
    expected = f"the time limit (trainer.max_time) ended the training after step {trainer.global_step} of 6"
    assert early_end.reason(trainer) == expected


def test_early_stopping_is_the_reason_with_its_own():
    stopper = EarlyStopping("val/loss", patience=1, mode="max")  # the loss falls
    trainer = fitted(callbacks=[stopper], val_check_interval=2, check_val_every_n_epoch=None)
    reason = early_end.reason(trainer)
    assert reason[-1].isdigit()  # the best loss, without a full stop
    assert reason.startswith(
        "EarlyStopping ended the training after step 4 of 6: Monitored metric val/loss did not improve"
    )


def test_another_callback_is_the_reason_and_without_a_step_the_training_is_refused():
    trainer = fitted(callbacks=[Ends("on_train_batch_end")])
    assert early_end.reason(trainer) == "a callback ended the training after step 1 of 6 (trainer.should_stop)"
    early_end.refuse_untrained(trainer, 0)
    for hook in ("on_fit_start", "on_train_start"):
        with pytest.raises(ValueError, match=r"no step was trained: a callback ended .* after step 0 of 6"):
            early_end.refuse_untrained(fitted(callbacks=[Ends(hook)]), 0)
