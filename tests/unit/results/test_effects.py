"""What runs changed, by group of languages."""

import math

import pytest

from lightning_langcore.results import effects
from tests.support.responses import BASE, WINDOW, add, make, told


def test_change_is_the_mean_over_the_languages_of_a_group(tmp_path):
    run = make(tmp_path, finals={"zh": -1.0, "en": 0.5, "ar": 0.7})
    for lang, above in (("zh", -2.0), ("en", -4.0)):
        add(run, "base", 0, lang, 5.0, "test_answers")
        add(run, "final", 1000, lang, 5.0 + above, "test_answers")
    assert effects.change(run, "target") == pytest.approx(-1.0)
    assert effects.change(run, "others") == pytest.approx(0.6)
    assert effects.change(run, "answers") == pytest.approx(-3.0)
    assert (effects.gain(run), effects.loss(run)) == pytest.approx((0.5, 0.3))
    run.data["target"] = list(BASE)
    assert effects.change(run, "others") is None


def test_change_of_what_is_not_finite(tmp_path):
    run = make(tmp_path, finals={"zh": math.inf, "en": 0.5, "ar": math.inf})
    del next(row for row in run.perplexity if row["lang"] == "ar" and row["stage"] == "base")["nats_per_token"]
    assert effects.change(run, "target") == math.inf
    assert effects.change(run, "others") == pytest.approx(0.5), "a language without a finite base says nothing"


def test_drift_is_the_last_finite_one(tmp_path):
    run = make(tmp_path)
    assert effects.drift(run, "region") is None
    run.drift = [{"samples": 1000, "region": 0.2, "rest": math.nan}, {"samples": 500, "region": 0.1, "rest": 0.3}]
    assert (effects.drift(run, "region"), effects.drift(run, "rest")) == (0.2, 0.3)


def test_a_ratio_is_one_line_though_the_target_is_read_more_often_without_the_others(tmp_path):
    runs = [make(tmp_path / f"{ratio}", ratio=ratio, epochs=3 / (1 + ratio)) for ratio in (9.96, 0.0, 5.04)]
    assert told(runs, "ratio") == {"no region, free": {0.0: ["0.0"], 5.0: ["5.04"], 10.0: ["9.96"]}}
    assert told(runs, "noise.rate") == {}


def test_only_an_experiment_that_changes_nothing_else_lends_its_runs(tmp_path):
    mixed = make(tmp_path / "mixed", "sft_mixed", ratio=5.0)
    plain = make(tmp_path / "plain", "sft")
    once = make(tmp_path / "once", "sft_epochs", epochs=1.0)
    often = make(tmp_path / "often", "sft_epochs", epochs=3.0)
    guarded = make(tmp_path / "guarded", "sft_guarded", kind="core")
    other = make(tmp_path / "other", "sft", target=["en"])
    found = told([mixed, plain, once, often, guarded, other], "ratio")
    assert list(found.values()) == [{0.0: ["plain"], 5.0: ["mixed"]}]
    assert list(told([mixed, plain, once, often], "epochs").values()) == [{1.0: ["once"], 3.0: ["often"]}]


def test_noise_makes_a_line_for_each_kind_guard_and_action_and_all_start_without_noise(tmp_path):
    runs = [make(tmp_path / "clean", "noise"), make(tmp_path / "clean_core", "noise", kind="core")]
    kinds = [{"kind": kind, "rate": 0.1, "length": 64} for kind in ("repeat", "nonword")]
    runs += [make(tmp_path / noise["kind"], "noise", noise=noise) for noise in kinds]
    runs.append(make(tmp_path / "guarded", "noise", kind="core", noise={"kind": "repeat", "rate": 0.1, "length": 64}))
    runs.append(make(tmp_path / "skipped", "noise", noise={"kind": "repeat", "rate": 0.1, "length": 64}))
    runs[-1].monitor = {"action": "skip"}
    assert told(runs, "noise.rate") == {
        "core, frozen": {0.0: ["clean_core"], 0.1: ["guarded"]},
        "no region, free (noise nonword)": {0.0: ["clean"], 0.1: ["nonword"]},
        "no region, free (noise repeat)": {0.0: ["clean"], 0.1: ["repeat"]},
        "no region, free (noise repeat, skip)": {0.1: ["skipped"]},
    }


def test_damaged_unfinished_and_old_runs_have_no_effects(tmp_path):
    perturbed, unfinished, old = (make(tmp_path / name, ratio=5.0) for name in ("damaged", "unfinished", "old"))
    add(perturbed, "perturbed", 0, "zh", 9.0)
    unfinished.perplexity = [row for row in unfinished.perplexity if row["stage"] != "final"]
    old.data = None
    assert told([perturbed, unfinished, old], "ratio") == {}
    assert effects.tradeoffs([perturbed, unfinished, old]) == {}


def test_adapting_leaves_out_what_is_read_elsewhere(tmp_path):
    runs = [make(tmp_path / f"ratio{n}", "mix_ratio", ratio=n) for n in (0.0, 5.0)]
    runs += [make(tmp_path / f"adapt{n}", "adapt_mixed", ratio=n) for n in (1.0, 5.0)]
    runs.append(make(tmp_path / "noise", noise=WINDOW))
    runs.append(make(tmp_path / "talk", "sft", parts=[{"source": "conversations", "kind": "conversations"}]))
    runs.append(make(tmp_path / "all", "adapt_free", target=list(BASE)))
    runs.append(make(tmp_path / "frozen", "own_name", kind="core"))
    assert [run.folder.name for run in effects.adapted(runs)] == ["adapt1.0", "adapt5.0", "frozen"]
