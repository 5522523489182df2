"""Trajectories: the time to recover, the share of the tokens, the best epoch."""

import math

import pytest

from lightning_langcore.results import effects, trajectories
from tests.support.responses import WINDOW, add, even, make, told


@pytest.mark.parametrize(
    ("trajectory", "final", "expected"),
    [
        ({100: 0.0, 200: 0.1, 400: 0.9, 500: 0.8, 600: 0.3, 700: 0.109, 800: 0.2}, 0.0, 200.0),  # 0.9 % above 0.1
        ({100: 0.0, 200: 0.1, 400: 0.9, 600: 0.111}, 0.2, math.inf),  # 1.1 % above it at best
        ({100: 0.0, 300: 0.9}, -0.5, 500.0),  # the end is the first milestone behind
        ({100: 0.0, 400: 0.9, 501: 0.0}, 0.0, 1.0),
        ({100: 0.2, 400: 0.209, 600: 0.1}, 0.209, 0.0),  # never more than 0.9 % above it
        ({100: 0.2, 400: 0.211, 600: 0.209}, 0.2, 100.0),  # 1.1 % above it for a while
        ({100: 0.2, 400: 0.2, 600: 0.3, 700: 0.2}, 0.2, 200.0),  # it left after the noise
        ({100: 0.2, 600: 0.2}, 0.2, 100.0),  # whether it left was not measured
        ({100: 0.2, 400: math.inf, 600: 0.2}, math.nan, 100.0),
        ({100: 0.2, 400: 0.9, 600: -0.3}, -0.4, 100.0),  # lower than before is back too
        ({100: 0.2, 400: math.inf, 600: math.inf, 700: 0.2}, 0.2, 200.0),
    ],
)
def test_time_to_recover(tmp_path, trajectory, final, expected):
    inner = {samples: even(above) for samples, above in trajectory.items()}
    run = make(tmp_path, trajectory=inner, finals=even(final), noise=WINDOW)
    assert trajectories.time_to_recover(run) == pytest.approx(expected)


def test_time_to_recover_can_not_be_told_without_noise_or_a_milestone_behind_it(tmp_path):
    assert trajectories.time_to_recover(make(tmp_path)) is None
    assert trajectories.time_to_recover(make(tmp_path, noise=WINDOW | {"window": [0.5, 1.0]})) is None
    assert trajectories.time_to_recover(make(tmp_path, noise=WINDOW | {"rate": 0.0})) is None
    untrained = make(tmp_path, trajectory={400: even(0.9), 501: even(0.0)}, finals=even(0.0), noise=WINDOW)
    assert trajectories.time_to_recover(untrained) is None, "the base is no level to come back to"
    assert trajectories.phases(untrained) == pytest.approx((None, 0.9, 0.0))


def reached(*places):
    return [{"samples": samples, "share": share} for samples, share in places]


LONGER = reached((0, 0.0), (100, 0.125), (400, 0.65), (1000, 1.0))  # the documents from 100 to 400 are longer


def test_shares_of_the_tokens_are_no_shares_of_the_documents(tmp_path):
    run = make(tmp_path, noise=WINDOW)
    assert trajectories.window(run) == (200, 500)
    run.data["course"] = LONGER[::-1]  # in any order
    assert trajectories.window(run) == pytest.approx((100 + 300 * 0.075 / 0.525, 100 + 300 * 0.375 / 0.525))
    assert trajectories.window(run, (0.0625, 1.0)) == pytest.approx((50, 1000))


def test_a_run_that_ended_early_has_the_window_of_the_planned_one(tmp_path):
    inner = {300: even(0.1), 600: even(0.8)}
    run = make(tmp_path, trajectory=inner, finals=even(0.9), noise=WINDOW)
    run.data["course"] = reached((300, 0.12), (600, 0.24), (1000, 0.4))
    assert trajectories.window(run) == pytest.approx((500, 1000))
    assert trajectories.phases(run) == pytest.approx((0.1, 0.9, 0.9))
    assert trajectories.time_to_recover(run) is None, "nothing was measured behind the noise"
    run.perplexity = [row for row in run.perplexity if row["stage"] != "final"]
    assert trajectories.window(run) == pytest.approx((500, 1000)), "not even a final row is needed"
    run.data["course"] = reached((1000, 0.19))
    assert trajectories.window(run) is None


@pytest.mark.parametrize(
    ("above", "expected"),  # the clean run drifts: 0.16 at 400, 0.24 at 600, 0.32 at 800
    [
        ({500: 0.9, 600: 0.5, 800: 0.329}, 300.0),
        ({500: 0.9, 600: 0.5, 800: 0.331}, 500.0),
        ({400: 0.169, 500: 0.2, 600: 0.249, 800: 0.329}, 0.0),
        ({500: 0.9, 600: 0.1}, 100.0),
    ],
)
def test_recovery_beside_a_clean_run_is_from_its_drift(tmp_path, above, expected):
    clean = make(tmp_path, trajectory={250: even(0.1), 500: even(0.2)}, finals=even(0.4), noise=WINDOW | {"rate": 0.0})
    inner = {samples: even(value) for samples, value in above.items()}
    run = make(tmp_path, trajectory=inner, finals=even(0.4), noise=WINDOW)
    assert trajectories.time_to_recover(run, clean) == pytest.approx(expected)


def test_a_clean_run_is_read_where_it_had_read_as_many_tokens(tmp_path):
    clean = make(tmp_path, trajectory={500: even(1.0)}, finals=even(0.0))
    run = make(tmp_path, trajectory={100: even(0.0), 300: even(2.0), 400: even(0.7)}, finals=even(0.0), noise=WINDOW)
    run.data["course"] = LONGER
    assert trajectories.time_to_recover(run, clean) == pytest.approx(400 - (100 + 300 * 0.375 / 0.525)), "0.7 at 65 %"
    run.data["course"] = reached((0, 0.0), (100, 0.125), (400, 0.66), (1000, 1.0))
    assert trajectories.time_to_recover(run, clean) == pytest.approx(1000 - (100 + 300 * 0.375 / 0.535)), "0.68 at 66 %"
    clean.data["course"] = reached((500, 0.3), (1000, 0.6))
    assert trajectories.time_to_recover(run, clean) is None, "the clean run did not come that far"


def test_the_partner_of_a_run_with_noise_is_equal_but_for_it(tmp_path):
    noise = WINDOW | {"length": 8}
    run, core = make(tmp_path, "noise", noise=noise), make(tmp_path, "noise", noise=noise, kind="core")
    clean, clean_core = make(tmp_path, "noise"), make(tmp_path, "noise", kind="core", noise=noise | {"rate": 0.0})
    others = [make(tmp_path, "other"), make(tmp_path, "noise", seed=1), make(tmp_path, "noise", epochs=3.0)]
    lonely = make(tmp_path, "noise", seed=2, noise=noise)
    found = effects.clean_partners([*others, run, core, lonely, clean, clean_core])
    assert found == {id(run): clean, id(core): clean_core}


def test_a_run_that_its_monitor_stopped_is_in_no_line(tmp_path):
    runs = [make(tmp_path / str(rate), "noise", noise=WINDOW | {"rate": rate}) for rate in (0.0, 0.1, 0.4)]
    stop = runs[-1]
    stop.status, stop.error = "interrupted", "NoiseSensitivity stopped the training before step 9"
    stop.data["course"] = reached((0, 0.0), (1000, 0.4))
    assert list(told(runs, "noise.rate").values()) == [{0.0: ["0.0"], 0.1: ["0.1"]}]
    stop.data["course"] = reached((0, 0.0), (1000, 1.0))
    assert list(told(runs, "noise.rate").values()) == [{0.0: ["0.0"], 0.1: ["0.1"], 0.4: ["0.4"]}]


def test_runs_are_grouped_by_what_was_asked_for(tmp_path):
    runs = [make(tmp_path / str(n), ratio=n, asked={"ratio": 6.0}) for n in (5.1, 4.6)]
    runs.append(make(tmp_path / "old", ratio=5.97))
    runs.append(make(tmp_path / "none", ratio=0.0, asked={}))
    assert list(told(runs, "ratio").values()) == [{0.0: ["none"], 6.0: ["5.1", "4.6", "old"]}]
    often = [make(tmp_path / str(n), "sft_epochs", epochs=n, asked={"epochs": m}) for n, m in ((0.9, 1), (2.6, 3))]
    assert list(told(often, "epochs").values()) == [{1.0: ["0.9"], 3.0: ["2.6"]}]


def test_phases_before_during_and_after(tmp_path):
    inner = {150: even(-0.1), 300: {"zh": 0.6, "en": 0.9, "ar": 0.3}, 400: even(0.2), 600: even(2.0)}
    run = make(tmp_path, trajectory=inner, finals=even(0.1), noise=WINDOW)
    assert trajectories.phases(run) == pytest.approx((-0.1, 0.6, 0.1))  # the mean of three languages
    assert trajectories.phases(run, languages=["en"]) == pytest.approx((-0.1, 0.9, 0.1))
    clean = make(tmp_path, trajectory=inner, finals=even(0.1))
    assert trajectories.phases(clean) is None
    assert trajectories.phases(clean, (0.5, 0.9)) == pytest.approx((0.2, 2.0, 0.1))


def test_validation_is_of_answers_where_there_are_some_and_turns_where_it_is_lowest(tmp_path):
    inner = {200: {"zh": -0.5, "en": 9.0, "ar": 9.0}, 500: {"zh": -0.2, "en": -9.0, "ar": -9.0}}
    run = make(tmp_path, trajectory=inner, finals=even(0.0), split="validation", epochs=10.0)
    assert dict(trajectories.validation(run)) == pytest.approx({0: 0.0, 200: -0.5, 500: -0.2, 1000: 0.0})
    assert trajectories.best_epoch(run) == pytest.approx(2.0)  # epochs
    for samples, nats in ((0, 4.0), (200, 3.0), (500, 2.0), (1000, 2.5)):
        stage = {0: "base", 1000: "final"}.get(samples, "training")
        add(run, stage, samples, "en", nats, "validation_answers")
    assert dict(trajectories.validation(run)) == pytest.approx({0: 0.0, 200: -1.0, 500: -2.0, 1000: -1.5})
    assert trajectories.best_epoch(run) == pytest.approx(5.0)
    assert trajectories.best_epoch(make(tmp_path)) is None, "the ends alone say nothing about a turn"
