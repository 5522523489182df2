"""The record of a run: what is written, read back, refused."""

import csv
import json
import math

import pytest

from lightning_langcore.results.conditions import points
from lightning_langcore.results.record import Results, find_runs
from tests.support.records import make, row


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
