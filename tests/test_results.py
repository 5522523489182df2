import csv
import json
import math

import pytest

from lightning_langcore.results.conditions import labels, mixed_in, nominal, points, spread
from lightning_langcore.results.record import Results, find_runs


def make(folder, **changes):
    settings = {"experiment": "recovery_frozen", "seed": 0, "model": {"name": "tiny"}, "region": {"kind": "core"}}
    return Results(folder, **(settings | changes))


def row(**changes):
    measured = {"nats_per_token": 2.0, "bits_per_byte": 1.2, "num_tokens": 100, "num_bytes": 300}
    return {"stage": "base", "samples": 0, "lang": "zh", "split": "test", "seed": 0} | measured | changes


def test_written_files_hold_exactly_the_keys_of_format_1(tmp_path):
    run = make(tmp_path / "run")
    run.add(row(variant="core", fraction=0.05, method="reinit", strength=5.0))
    run.add(row(lang="en", nats_per_token=math.log(45)))
    run.guard = {"num_frozen": 3, "max_abs_drift": 0.0}
    run.seconds["total"] = 1.5
    run.status = "completed"
    run.write()
    content = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(content) == [
        "format", "experiment", "status", "seed", "model", "region", "guard", "perplexity", "seconds",
    ]  # fmt: skip
    assert content["format"] == 1
    assert content["perplexity"][0]["ppl"] == pytest.approx(7.389056, rel=1e-6)
    assert content["perplexity"][1] == {
        "stage": "base", "samples": 0, "lang": "en", "split": "test", "seed": 0,
        "nats_per_token": math.log(45), "ppl": pytest.approx(45.0), "bits_per_byte": 1.2,
        "num_tokens": 100, "num_bytes": 300,
    }  # fmt: skip
    with (tmp_path / "run" / "perplexity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "stage", "samples", "lang", "split", "variant", "fraction", "method", "strength", "seed",
        "nats_per_token", "ppl", "bits_per_byte", "num_tokens", "num_bytes",
    ]  # fmt: skip
    assert [float(rows[0]["fraction"]), rows[1]["fraction"]] == [0.05, ""]
    assert [path.name for path in sorted((tmp_path / "run").iterdir())] == ["perplexity.csv", "results.json"]


def test_load_gives_back_what_was_written(tmp_path):
    run = make(tmp_path, region=None)
    run.add(row())
    run.add(row(stage="final", samples=10, nats_per_token=math.inf))
    run.status, run.error, run.notes = "failed", "out of memory", ["no massive activation"]
    run.write()
    for path in (tmp_path, tmp_path / "results.json"):
        loaded = Results.load(path)
        assert vars(loaded) == vars(run)


def test_what_a_run_read_and_what_moved_is_written_where_it_is_known(tmp_path):
    run = make(tmp_path)
    part = {"source": "zh", "language": "zh", "kind": "text", "tokens": 900, "epochs": 0.5, "documents": 9}
    run.data = {"target": ["zh"], "parts": [part], "epochs": 0.5, "noise": None, "num_filtered": 0, "num_cut": 0}
    run.drift = [{"stage": "final", "samples": 9, "region": 0.01, "rest": math.nan}]
    run.moved = [{"name": "model.norm.weight", "axis": "weight", "index": 3, "relative": 0.5, "ratio": 2.0}]
    run.monitor = {"num_steps": 600, "recall": None}
    run.guard = {"num_frozen": 3, "max_abs_drift": 0.0}
    run.notes = ["found"]
    run.write()
    content = json.loads((tmp_path / "results.json").read_text())
    assert list(content)[6:12] == ["guard", "data", "drift", "moved", "monitor", "notes"]
    assert content["format"] == 1
    assert content["data"] == {"target": ["zh"], "parts": [part], "epochs": 0.5, "num_filtered": 0, "num_cut": 0}
    assert content["drift"] == [{"stage": "final", "samples": 9, "region": 0.01}]
    assert content["monitor"] == {"num_steps": 600}
    loaded = Results.load(tmp_path)
    assert {key: content[key] for key in ("data", "drift", "moved", "monitor")} == {
        "data": loaded.data, "drift": loaded.drift, "moved": loaded.moved, "monitor": loaded.monitor,
    }  # fmt: skip


def test_a_run_is_interrupted_until_its_job_says_otherwise(tmp_path):
    run = make(tmp_path)
    run.write()
    assert Results.load(tmp_path).status == "interrupted"
    run.status = "done"
    with pytest.raises(ValueError, match="'done'"):
        run.write()


@pytest.mark.parametrize("nats", [math.nan, math.inf])
def test_what_is_not_finite_is_absent_and_the_json_strict(tmp_path, nats):
    run = make(tmp_path)
    run.add(row(nats_per_token=nats, bits_per_byte=nats))
    run.add(row(lang="en", nats_per_token=1000.0))
    run.guard = {"num_frozen": 3, "max_abs_drift": nats}
    run.write()

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert not {"nats_per_token", "ppl", "bits_per_byte"} & set(content["perplexity"][0])
    assert content["perplexity"][1]["nats_per_token"] == 1000.0
    assert "ppl" not in content["perplexity"][1]
    assert content["guard"] == {"num_frozen": 3}
    assert points([Results.load(tmp_path)])[0].nats == math.inf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "middle"}, "'middle'"),
        ({"num_bytes": None}, "needs num_bytes"),
        ({"nats_per_token": None}, "needs nats_per_token"),
        ({"language": "zh"}, "unknown key language"),
        ({"ppl": 3.0}, "computed"),
    ],
)
def test_a_wrong_row_is_refused_by_name(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path).add(row(**changes))


def test_a_second_row_with_the_same_key_is_refused(tmp_path):
    run = make(tmp_path)
    run.add(row())
    for changes in ({"variant": "core"}, {"seed": 1}, {"samples": 5}, {"split": "validation"}, {"strength": 1.0}):
        run.add(row(**changes))
    with pytest.raises(ValueError, match="stage=base, samples=0, lang=zh, split=test, seed=0"):
        run.add(row(nats_per_token=3.0, variant=None))
    assert len(run.perplexity) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "can't be read"),
        ("{", "no valid JSON"),
        ("[]", "format 'list'"),
        ('{"format": 2}', "format 2"),
        ('{"format": 1, "seed": 0, "model": {}, "perplexity": []}', "lacks experiment, status"),
        (
            '{"format": 1, "experiment": "x", "status": "failed", "seed": 0, "model": {}, "perplexity": [{}]}',
            "needs stage",
        ),
    ],
)
def test_a_file_that_can_not_be_read_is_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        Results.load(tmp_path)
    assert str(tmp_path / "results.json") in str(caught.value)


def test_find_runs_at_and_below(tmp_path):
    for name in ("b/2", "b/1", "a"):
        make(tmp_path / name).write()
    (tmp_path / "empty").mkdir()
    expected = [tmp_path / "a", tmp_path / "b" / "1", tmp_path / "b" / "2"]
    assert find_runs([tmp_path]) == expected
    assert find_runs([tmp_path / "b", tmp_path / "a", tmp_path / "b" / "1" / "results.json"]) == expected
    with pytest.raises(ValueError, match="empty"):
        find_runs([tmp_path / "a", tmp_path / "empty"])
    with pytest.raises(ValueError, match="nowhere"):
        find_runs([tmp_path / "nowhere"])


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
