"""The number that a run returns to a sweeper."""

import math

import pytest

from lightning_langcore.results.objective import objective
from tests.support.records import make, row


def test_it_is_the_mean_over_languages_of_the_final_evaluation(tmp_path):
    run = make(tmp_path)
    assert objective(run, "nats_per_token/validation") is None
    for stage, lang, split, nats in [
        ("base", "zh", "validation", 9.0),
        ("final", "zh", "validation", 2.0),
        ("final", "en", "validation", 3.0),
        ("final", "en", "test", 4.0),
    ]:
        run.add(row(stage=stage, lang=lang, split=split, nats_per_token=nats))
    assert objective(run, "nats_per_token/validation") == 2.5
    assert objective(run, "nats_per_token/validation/en") == 3.0
    assert objective(run, "ppl/test") == pytest.approx(math.exp(4.0))
    assert objective(run, "nats_per_token/test/ru") is None


def test_a_model_without_a_finite_loss_is_the_worst(tmp_path):
    run = make(tmp_path)
    run.add(row(stage="final", split="validation", nats_per_token=math.inf))
    assert objective(run, "nats_per_token/validation") == math.inf
