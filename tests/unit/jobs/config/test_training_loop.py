"""Callbacks and arguments of Lightning that would shorten or replace the training: one sentence, before any work."""

import pytest

from lightning_langcore import LangcoreError
from lightning_langcore.jobs.config import checks, memory, training_loop
from tests.support.configs import settings_of


def refused(*overrides):
    with pytest.raises(LangcoreError) as caught:
        checks.check_training(settings_of(*overrides))
    (line,) = str(caught.value).splitlines()
    return line


def callback(name, **arguments):
    more = "".join(f", {key}: {value}" for key, value in arguments.items())
    return f"+callbacks.own={{_target_: lightning.pytorch.callbacks.{name}{more}}}"


@pytest.mark.parametrize(
    ("name", "arguments", "way"),
    [
        ("BatchSizeFinder", {}, "set data.batch_size, for which langcore plan"),
        ("LearningRateFinder", {}, "set optimizer.lr, or compare"),
        ("GradientAccumulationScheduler", {"scheduling": "{0: 2}"}, "set trainer.accumulate_grad_batches"),
        ("StochasticWeightAveraging", {"swa_lrs": 0.1}, "use lightning.pytorch.callbacks.EMAWeightAveraging"),
        ("ModelPruning", {"pruning_fn": "l1_unstructured"}, "use perturbation=zero"),
    ],
)
def test_callbacks_that_replace_the_training_are_refused_by_name(name, arguments, way):
    said = refused(callback(name, **arguments))
    assert said.startswith(f"callbacks.own._target_=lightning.pytorch.callbacks.{name} ")
    assert way in said


def test_an_average_is_planned_and_refused_where_weights_are_sharded():
    average = callback("EMAWeightAveraging", decay=0.9)
    checks.check_training(settings_of(average))
    assert memory.training_of(settings_of(average)).averages
    assert not memory.training_of(settings_of()).averages
    assert "can't average the shards of trainer=fsdp2" in refused(average, "trainer=fsdp2", "trainer.accelerator=cpu")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("+trainer.limit_train_batches=3", "trainer.limit_train_batches=3 has no meaning here: set the length with"),
        ("+trainer.limit_train_batches=1", "trainer.limit_train_batches=1 has no meaning here"),
        ("+trainer.limit_train_batches=0", "trainer.limit_train_batches=0 has no meaning here"),
        ("+trainer.overfit_batches=0.1", "trainer.overfit_batches=0.1 has no meaning here"),
        ("+trainer.fast_dev_run=true", "trainer.fast_dev_run=True has no meaning here"),
        ("+trainer.min_steps=5", "trainer.min_steps=5 has no meaning here"),
        ("+trainer.max_steps=0", "trainer.max_steps=0 must be a whole number of at least 1, or -1"),
        ("+trainer.max_steps=1.5", "trainer.max_steps=1.5 must be a whole number"),
        ("+trainer.max_time=5", "trainer.max_time=5 is no duration"),
        ("+trainer.max_time='1 hour'", "write it as DD:HH:MM:SS"),
        ("+trainer.max_time={hour: 1}", "trainer.max_time={'hour': 1} is no duration"),
        ("+trainer.max_time='00:00:00:00'", "leaves no time for a step"),
    ],
)
def test_lengths_that_would_not_be_those_of_the_run_are_refused(override, told):
    assert told in refused(override)


@pytest.mark.parametrize("name", training_loop.NO_ARGUMENTS)
def test_arguments_that_the_job_sets_are_refused(name):
    assert refused(f"+trainer.{name}=false").startswith(f"trainer.{name}=False would be ignored: ")


@pytest.mark.parametrize(
    "override",
    [
        "+trainer.limit_train_batches=1.0",
        "+trainer.fast_dev_run=false",
        "+trainer.max_steps=-1",
        "+trainer.max_steps=7",
        "+trainer.max_time='00:01:00:00'",
        "+trainer.max_time={hours: 1}",
    ],
)
def test_lengths_that_change_nothing_or_have_a_meaning_are_accepted(override):
    checks.check_training(settings_of(override))
