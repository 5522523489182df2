"""What makes two runs one condition, and what a condition is called."""

import pytest

from lightning_langcore.results.conditions import labels, mixed_in, nominal, over_seeds, points, spread
from tests.support.records import make, row


def test_numbers_of_one_seed_are_averaged_before_seeds_are():
    assert over_seeds([(0, 1.0), (0, 3.0), (1, 5.0)]) == (3.5, 2.0, 5.0, 2)
    assert over_seeds([]) is None


def test_points_fill_settings_and_give_the_base_to_every_arm(tmp_path):
    run = make(tmp_path, region={"kind": "core", "fraction": 0.03, "score": "taylor"})
    run.add(row(nats_per_token=1.0))
    for variant, nats in (("core", 5.0), ("random", 2.0)):
        run.add(row(stage="perturbed", variant=variant, method="zero", nats_per_token=nats))
    run.add(row(stage="perturbed", variant="core", method="zero", split="validation"))
    found = points([run])
    told = [
        (
            p.stage,
            p.condition.kind,
            p.condition.score,
            p.condition.fraction,
            p.condition.method,
            p.condition.frozen,
            p.nats,
        )
        for p in found
    ]
    assert sorted(told, key=str) == [
        ("base", "core", "taylor", 0.03, "zero", None, 1.0),
        ("base", "random", None, 0.03, "zero", None, 1.0),
        ("perturbed", "core", "taylor", 0.03, "zero", None, 5.0),
        ("perturbed", "random", None, 0.03, "zero", None, 2.0),
    ]


def test_frozen_is_what_a_guard_and_training_make_it(tmp_path):
    for guard, stage, expected in (({}, "final", True), (None, "final", False), (None, "perturbed", None)):
        run = make(tmp_path)
        run.guard = guard
        run.add(row(stage=stage))
        assert points([run])[0].condition.frozen is expected


def test_spread_averages_runs_of_one_seed_first(tmp_path):
    found = []
    for seed, nats in ((0, 1.0), (0, 3.0), (1, 5.0)):
        run = make(tmp_path, seed=seed)
        run.add(row(stage="final", seed=seed, nats_per_token=nats))
        found += points([run])
    assert spread(found) == (3.5, 2.0, 5.0, 2)
    assert spread([]) is None


def test_labels_tell_only_what_tells_arms_apart(tmp_path):
    def condition(guard=None, **region):
        run = make(tmp_path, region=region or None)
        run.guard = guard
        run.add(row(stage="final"))
        return points([run])[0].condition

    plain = [condition(kind="random"), condition(kind="core"), condition({}, kind="core"), condition()]
    assert list(labels(plain).values()) == ["core, frozen", "core, free", "random, free", "no region, free"]
    sizes = [
        condition(kind="core", fraction=0.05),
        condition(kind="core", fraction=0.005),
        condition(kind="random", fraction=0.1),
    ]
    assert list(labels(sizes).values()) == ["core, free (0.5 %)", "core, free (5 %)", "random, free"]


def reading(folder, monitor=None, **data):
    run = make(folder, region=None)
    run.data, run.monitor = {"target": ["zh"]} | data if data else None, monitor
    run.add(row(stage="final"))
    return run


def mixed(ratio, *sources):
    parts = [{"source": source, "language": "en", "kind": "text"} for source in ("zh", *sources, *sources)]
    return {"ratio": ratio, "parts": parts}


REPEAT = {"kind": "repeat", "rate": 0.1, "length": 64, "window": [0.25, 0.5]}


@pytest.mark.parametrize(
    ("data", "monitor", "expected"),
    [
        ({}, None, None),
        ({"epochs": 0.4, "parts": []}, {"num_steps": 9}, None),
        ({"epochs": 1.03}, {"action": "log", "num_skipped": 0}, None),
        ({"epochs": 2.97}, None, "3 epochs"),
        (mixed(0.0), None, None),
        (mixed(4.97, "general"), None, "general x5"),
        (mixed(0.5, "general", "wiki"), None, "general+wiki x0.5"),
        ({"noise": REPEAT}, None, "noise repeat 10 %"),
        ({"noise": REPEAT | {"rate": 0.025}}, {"num_skipped": 3}, "noise repeat 2.5 %, skip"),
        ({"noise": REPEAT | {"rate": 0.0}}, None, None),
        ({"noise": {"kind": "instruction", "rate": 0.1}}, {"action": "clip"}, "noise instruction 10 %, clip"),
        (mixed(5.0, "general") | {"epochs": 3.0}, None, "general x5, 3 epochs"),
        ({"parts": [{"source": "conversations", "language": "zh", "kind": "conversations"}]}, None, None),
        (mixed(4.6, "general") | {"asked": {"ratio": 4.999999999}}, None, "general x5"),
        (
            mixed(5.02, "general") | {"asked": {"ratio": 5.2, "epochs": 3}, "epochs": 2.5},
            None,
            "general x5.2, 3 epochs",
        ),
        ({"epochs": 2.97, "asked": {}}, None, "3 epochs"),
        ({"epochs": 2.0, "asked": {"epochs": 1}}, None, None),
    ],
)
def test_an_arm_says_what_its_text_has_that_plain_text_has_not(tmp_path, data, monitor, expected):
    assert points([reading(tmp_path, monitor, **data)])[0].condition.data == expected


def test_runs_that_differ_in_the_text_alone_are_no_longer_one_arm(tmp_path):
    texts = [{"epochs": 0.5}, mixed(10.0, "general"), mixed(5.0, "general"), {"noise": REPEAT}, {"epochs": 3.0}]
    conditions = [point.condition for point in points([reading(tmp_path, **data) for data in texts])]
    assert list(labels(conditions).values()) == [
        "no region, free (plain)",
        "no region, free (3 epochs)",
        "no region, free (general x5)",
        "no region, free (general x10)",
        "no region, free (noise repeat 10 %)",
    ]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"target": ["zh"]}, {"target": ["ar", "ko"]}, {"on ar ko", "on zh"}),
        ({"target": ["zh"]}, {"target": list("abcdefgh")}, {"on 8 languages", "on zh"}),
        ({"noise": REPEAT}, {"noise": REPEAT | {"length": 8}},
         {"noise repeat 10 %, length 8", "noise repeat 10 %, length 64"}),
        ({"noise": REPEAT}, {"noise": REPEAT | {"window": [0.0, 1.0]}},
         {"noise repeat 10 %, window 0 % to 100 %", "noise repeat 10 %, window 25 % to 50 %"}),
        ({"epochs": 1.0}, {"parts": [{"kind": "conversations"}]}, {"conversations", "text"}),
    ],
)  # fmt: skip
def test_some_things_are_told_only_where_runs_differ_in_them(tmp_path, one, other, expected):
    runs = [reading(tmp_path, **one), reading(tmp_path, **other)]
    assert {point.condition.data for point in points(runs)} == expected
    assert not {point.condition.data for point in points(runs[:1])} & expected


def test_what_is_mixed_in_is_neither_target_nor_conversations(tmp_path):
    parts = [{"source": source} for source in ("conversations", "zh", "wiki", "general", "wiki")]
    assert mixed_in(reading(tmp_path, parts=parts)) == "wiki+general"
    assert mixed_in(reading(tmp_path)) == "general"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (4.97, 5.0),
        (5.2, 5.0),
        (9.6, 10.0),
        (0.98, 1.0),
        (0.49, 0.5),
        (1.3, 1.3),
        (12.4, 12.0),
        (0.0, 0.0),
        (104.0, 100.0),
    ],
)
def test_nominal_is_the_round_number_that_was_meant(value, expected):
    assert nominal(value) == expected


def test_a_region_that_was_only_measured_makes_no_arm(tmp_path):
    def condition(stage, guard=None, known=True):
        run = make(tmp_path, region={"kind": "core", "fraction": 0.05, "score": "taylor"})
        run.data, run.guard = {"target": ["zh"]} if known else None, guard
        run.add(row(stage=stage))
        run.add(row(stage="final", lang="en"))
        return points([run])[0].condition[:4]

    assert condition("training") == ("none", False, None, None)
    assert condition("training", guard={}) == ("core", True, "taylor", 0.05)
    assert condition("perturbed") == ("core", False, "taylor", 0.05)
    assert condition("training", known=False) == ("core", False, "taylor", 0.05)
