"""Tables on mixing, adapting, epochs and noise, from records with known effects."""

import math

import pytest

from tests.support import responses


@pytest.fixture
def claims(benchmark_modules):
    return benchmark_modules("claims_data")


def rows(table):
    return {row[0]: dict(zip(list(table.columns)[1:], row[1:], strict=True)) for row in table.rows}


def moved(run, region=0.01, rest=0.1):
    run.drift = [{"stage": "final", "samples": 1000, "region": region, "rest": rest}]
    return run


def test_mixing_has_a_row_for_each_ratio_with_mean_and_range_over_seeds(claims, tmp_path):
    runs = [
        moved(responses.make(tmp_path / f"{ratio}-{seed}", seed=seed, finals=finals, ratio=ratio + 0.01))
        for ratio in (0, 5)
        for seed, finals in enumerate([{"zh": -1.0, "en": 0.5, "ar": 0.7}, {"zh": -2.0, "en": 0.1, "ar": 0.3}])
    ]
    (table,) = claims.mix_tables(runs).values()
    found = rows(table)
    assert list(found) == [0, 5]
    assert found[5]["target"] == pytest.approx([math.exp(n) for n in (-1.5, -2.0, -1.0)])
    assert found[5]["others"] == pytest.approx([math.exp(n) for n in (0.4, 0.2, 0.6)])
    assert found[5]["core moved"] == pytest.approx([0.01] * 3)
    assert table.markdown().splitlines()[2].endswith("| 1.0% (1.0%-1.0%) | 10.0% (10.0%-10.0%) |")


def test_adapting_names_what_is_frozen_and_counts_bits(claims, tmp_path):
    runs = [
        responses.make(tmp_path / "free", "adapt_free"),
        responses.make(tmp_path / "mixed", "adapt_mixed"),
        responses.make(tmp_path / "frozen", "adapt_frozen", kind="core", fraction=0.2),
        responses.make(tmp_path / "random", "adapt_frozen_random", kind="random", fraction=0.2),
    ]
    found = rows(claims.adapt_tables(runs)["adapt"])
    names = ["all free", "free, five times as much general text mixed in", "core frozen, 20%", "random frozen, 20%"]
    assert list(found) == names
    assert found["all free"]["gain, new"] == pytest.approx([responses.BITS] * 3)
    assert found["all free"]["loss, old"] == pytest.approx([responses.BITS * 0.6] * 3)
    assert found["all free"]["core moved"] is None


def test_epochs_are_two_tables(claims, tmp_path):
    tuned = responses.make(tmp_path / "sft", "sft_epochs", finals=responses.even(0.2), epochs=3.0)
    tuned.data["target"] = list(responses.BASE)
    for stage, samples, nats in (("base", 0, 2.0), ("final", 1000, 1.0)):
        responses.add(tuned, stage, samples, "zh", nats, "test_answers")
    text = responses.make(tmp_path / "text", "pretrain_epochs", epochs=10.0)
    found = claims.epochs_tables([tuned, text])
    answers = rows(found["epochs_fine_tuning"])[3]
    assert answers["answers"] == pytest.approx([math.exp(-1)] * 3)
    assert answers["general text"] == pytest.approx([math.exp(0.2)] * 3)
    assert rows(found["epochs_pretraining"])[10]["general text"] == pytest.approx([math.exp(0.6)] * 3)


def noisy(folder, experiment="noise_repeat", rate=0.1, action="log", seed=0, **counts):
    run = responses.make(folder, experiment, seed, noise=responses.WINDOW | {"rate": rate})
    run.monitor = {"action": action, "num_caught": 3, "num_tagged": 4, "num_false_alarms": 1, "num_clean_steps": 100}
    run.monitor |= counts
    return run


def test_noise_sums_the_counts_of_the_seeds_and_keeps_clean_runs_apart(claims, tmp_path):
    clean = noisy(tmp_path / "c", "noise_repeat, as many steps as skip accepts", 0.0, num_caught=0, num_tagged=0)
    runs = [
        noisy(tmp_path / "0", rate=0.0, num_caught=0, num_tagged=0),
        *(noisy(tmp_path / f"1{seed}", seed=seed) for seed in (0, 1)),
        noisy(tmp_path / "s", action="skip"),
        clean,
        noisy(tmp_path / "n", "noise_nonword", 0.5),
    ]
    found = rows(claims.noise_tables(runs)["noise"])
    assert list(found) == [
        "none",
        "a word repeated, 10%",
        "a word repeated, 10%, action=skip",
        "clean, as many steps as skip accepts (a word repeated)",
        "no words, 50%",
    ]
    assert found["none"]["bursts caught"] is None
    assert found["none"]["false alarms"] == [1, 100]
    assert found["a word repeated, 10%"]["bursts caught"] == [6, 8]
