"""The detector's decisions about single steps."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lightning_langcore.monitoring.detector import Detector, Gradients, StepFeatures
from lightning_langcore.monitoring.text import NO_TEXT
from tests.support.monitored import RULES


def features(loss, norms, unseen, surprise=None):
    rows, repeats = [(0, i) for i in range(len(unseen))], np.ones(len(unseen), np.int64)
    text = NO_TEXT._replace(rows=rows, repeats=repeats, unseen=unseen, surprise=surprise)
    return [StepFeatures(loss, 1, 0, text, Gradients(norms, None, None), None)]


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_steady_noise_of_any_early_or_late_step_is_no_alarm(statistic):
    rng = np.random.default_rng(0)
    flagged = 0
    for _ in range(20):  # the first 128 steps count most
        decide = Detector(replace(RULES, statistic=statistic), 4)
        for step in range(150):
            loss = 3 + 5 * math.exp(-step / 30) + 0.1 * rng.standard_normal()
            unseen = 5 + 40 / (1 + step / 10) + 2 * rng.standard_normal(8)
            flagged += bool(decide.decide(features(loss, list(rng.lognormal(0, 0.1, 4)), unseen)).reasons)
    assert flagged <= 3  # of 3000


@pytest.mark.parametrize(("statistic", "caught"), [("mean", False), ("median", True)])
def test_noise_in_a_fifth_of_the_rows_hides_itself_from_the_mean(statistic, caught):
    rng = np.random.default_rng(0)
    decide = Detector(replace(RULES, statistic=statistic, max_consecutive=1000), 1)
    hits = []
    for step in range(200):
        unseen = 5 / (1 + step / 20) + rng.standard_normal(5)
        unseen[0] = 40
        hits.append(bool(decide.decide(features(3.0, [1.0], unseen)).reasons))
    assert all(hits[20:]) is caught
    assert any(hits) is caught


def test_surprise_is_judged_by_the_worst_rows_of_steps():
    rng = np.random.default_rng(0)
    decide = Detector(RULES, 1)
    nothing = np.zeros(64)
    for _ in range(100):  # judged row by row, one step in 17 would have one that is 6 sigmas above the mean
        surprise = rng.exponential(2.0, 64)
        assert not decide.decide(features(3.0, [1.0], nothing, surprise)).reasons
    surprise[[3, 9]] = 60.0, 50.0
    decision = decide.decide(features(3.0, [1.0], nothing, surprise))
    assert (list(decision.reasons), decision.suspicious) == (["surprise"], [[3, 9]])


def test_surprising_noise_that_slips_in_does_not_hide_the_next():
    rng = np.random.default_rng(0)
    decide = Detector(RULES, 1)
    flagged = []
    for step in range(120):
        surprise = rng.normal(10.0, 1.0, 1)
        if step >= 40 and step % 4 == 0:
            surprise += 5.0  # too little to be flagged
        if step == 119:
            surprise += 12.0
        flagged.append(bool(decide.decide(features(3.0, [1.0], np.zeros(1), surprise)).reasons))
    assert not any(flagged[:-1])
    assert flagged[-1]


def test_only_the_rows_that_are_flagged_are_suspicious():
    decide = Detector(RULES, 1)
    for _ in range(10):
        decide.decide(features(3.0, [1.0], 2 + np.arange(8) / 10))
    decision = decide.decide(features(3.0, [1.0], np.array([2, 30, 3.1])))
    assert (list(decision.reasons), decision.suspicious) == (["unseen_pairs"], [[1]])
    decision = decide.decide(features(9.0, [1.0], np.array([2, 2, 3.1])))
    assert (list(decision.reasons), decision.suspicious) == ([], [[]])  # ten losses are too few to judge
