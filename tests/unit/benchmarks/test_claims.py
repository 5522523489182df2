"""Tables of the claims against figures computed here, and sweeps that are not run twice."""

import math
import sys
from types import SimpleNamespace

import pytest

from lightning_langcore.results.record import Results
from tests.support import recoveries

INTACT = 2.0
DAMAGE = {"core": 4.0, "random": 3.0, "peripheral": 2.5}
FREE = 2.1
COST = {"core": 0.3, "random": 0.1}


def recovery(folder, kind, frozen, seed):
    """One language, zh, whose nats differ by 0.1 for each seed, and en 0.5 above it."""
    final = FREE + (COST[kind] if frozen else 0.0)
    nats = [INTACT, DAMAGE[kind] + 0.1 * seed, final, final]
    values = {"zh": nats, "en": [value + 0.5 for value in nats]}
    run = recoveries.make(folder / f"{kind}-{frozen}-{seed}", kind, frozen, seed, values)
    run.data = {"target": ["zh"]}
    return run


@pytest.fixture
def runs(tmp_path):
    pairs = [("core", True), ("core", False), ("random", True), ("random", False), ("peripheral", False)]
    return [recovery(tmp_path, kind, frozen, seed) for seed in (0, 1) for kind, frozen in pairs]


@pytest.fixture
def tables(benchmark_modules):
    return benchmark_modules("claim_tables")


def rows(table):
    return {row[0]: row[1:] for row in table.rows}


def test_damage_is_the_geometric_mean_over_seeds_and_the_ratio_of_each_seed(tables, runs):
    found = tables.damage(runs)
    zh = rows(found["recovery_damage"])["zh"]
    assert zh[:4] == pytest.approx([math.exp(n) for n in (2.0, 4.05, 3.05, 2.55)])
    assert zh[4] == pytest.approx([math.e, math.e])
    assert rows(found["recovery_orderings"]) == {"core > random": [[4, 4]], "core > peripheral": [[4, 4]]}
    assert found["recovery_damage"].markdown().splitlines()[2] == "| zh | 7.389 | 57.4 | 21.12 | 12.81 | 2.72, 2.72 |"


def test_the_cost_of_freezing_is_frozen_over_free_and_the_trained_language_is_named(tables, runs):
    zh = rows(tables.cost(runs))["zh (trained)"]
    assert zh[0] == pytest.approx([math.exp(0.3)] * 3)
    assert zh[1] == pytest.approx([math.exp(0.1)] * 3)
    assert zh[2] == pytest.approx([math.exp(0.2)] * 3)
    assert "en" in rows(tables.cost(runs))


def test_the_small_table_has_the_languages_that_were_evaluated(tables, runs):
    (row,) = tables.readme(runs).rows
    assert row[0] == "en"
    assert row[1:] == pytest.approx([math.exp(n) for n in (2.5, 4.55, 3.55, 0.3, 0.1)])


def grid_run(folder, seed, score="relative_change"):
    region = {"score": score, "granularity": "element", "scope": "tensor"}
    run = Results(folder / f"{score}-{seed}", experiment="perturb_core", seed=seed, model={"name": "t"}, region=region)
    measured = {"bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30, "samples": 0, "split": "test", "lang": "zh"}
    run.add(measured | {"stage": "base", "seed": seed, "nats_per_token": 2.0})
    nats = {"core": 4.0, "random": 3.0, "peripheral": 3.5, "matched": 3.9}
    for kind, value in nats.items():
        for fraction in (0.01, 0.05):
            row = {"stage": "perturbed", "variant": kind, "fraction": fraction, "method": "reinit", "strength": 2.0}
            run.add(measured | row | {"seed": seed, "nats_per_token": value + fraction})
    run.seconds = {"perturbing": 0.5 * (seed + 1), "evaluating": 100.0}
    return run


def test_the_grid_has_a_column_for_each_size(tables, tmp_path):
    found = tables.grid([grid_run(tmp_path, seed) for seed in (0, 1)])
    assert list(found["perturbation_grid"].columns) == ["region", "1%", "5%"]
    assert rows(found["perturbation_grid"])["core"] == pytest.approx([math.exp(4.01), math.exp(4.05)])
    assert rows(found["perturbation_grid"])["none (intact)"] == pytest.approx([math.exp(2.0)] * 2)
    assert found["perturbation_cost"].rows == [[[0.005, 0.01]]]


def test_scores_count_the_orderings_and_name_the_pairs_that_fail(tables, tmp_path):
    runs = [grid_run(tmp_path, seed, score) for score in ("taylor", "fisher") for seed in (0, 1)]
    for run in runs:
        run.perplexity = [row for row in run.perplexity if row.get("fraction") != 0.01]
    table, broken = tables.scores(runs)
    assert [row[0] for row in table.rows] == ["taylor", "fisher"]
    assert table.rows[0][-3:] == [[2, 2], [0, 2], [2, 2]]
    assert broken == [f"{score}: random > peripheral fails in zh/0, zh/1" for score in ("taylor", "fisher")]


def test_baselines_count_where_the_model_is_better(tables, tmp_path):
    runs = []
    for seed, model in ((0, 3.0), (1, 5.0)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "base.csv").write_text(f"lang,unigram,trigram,model\nzh,9.0,4.0,{model}\n")
        runs.append(SimpleNamespace(folder=folder, seed=seed))
    found = tables.baselines(runs)
    assert rows(found["baselines"])["zh"] == pytest.approx([9.0, 4.0, math.sqrt(15.0)])
    assert rows(found["baselines_orderings"]) == {"model < trigram": [[1, 2]]}


@pytest.fixture
def claim_runs(benchmark_modules):
    return benchmark_modules("claim_runs")


def started(monkeypatch, claim_runs, returncode=0, status="completed"):
    """The commands that ``sweep`` starts; each writes a completed run and a report."""
    commands = []

    def run(command, **_):
        commands.append(command)
        (target,) = (word.partition("=")[2] for word in command if word.startswith("hydra.sweep.dir="))
        made = Results(f"{target}/0", experiment="x", seed=0, model={"name": "t"})
        made.status = status
        made.write()
        if not returncode:
            (made.folder.parent / "report.html").write_text("")
        return SimpleNamespace(returncode=returncode)

    monkeypatch.setattr(claim_runs.subprocess, "run", run)
    return commands


def test_a_finished_sweep_is_not_run_again(claim_runs, tmp_path, monkeypatch):
    commands = started(monkeypatch, claim_runs)
    for _ in range(2):
        (run,) = claim_runs.sweep(tmp_path / "s", "+experiment=x", "seed=0")
        assert run.status == "completed"
    assert len(commands) == 1
    assert commands[0][2:] == ["-m", f"hydra.sweep.dir={tmp_path / 's'}", "+experiment=x", "seed=0"]


def test_an_interrupted_sweep_ends_the_command_and_is_continued(claim_runs, tmp_path, monkeypatch):
    started(monkeypatch, claim_runs, returncode=130, status="interrupted")
    with pytest.raises(SystemExit, match="the same command continues it"):
        claim_runs.sweep(tmp_path / "s", "+experiment=x")
    commands = started(monkeypatch, claim_runs)
    claim_runs.sweep(tmp_path / "s", "+experiment=x")
    assert len(commands) == 1


def test_a_folder_of_runs_on_another_text_is_refused(claim_runs, tmp_path):
    claim_runs.claim_folder(tmp_path, {"name": "phrasebook", "digest": "a" * 16})
    claim_runs.claim_folder(tmp_path, {"name": "phrasebook", "digest": "a" * 16})
    with pytest.raises(SystemExit, match=r"runs on another text.*choose another --out"):
        claim_runs.claim_folder(tmp_path, {"name": "phrasebook", "digest": "b" * 16})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--text", "x"], "need --name"), (["--name", "A b"], "lower-case"), (["seed=1"], "need --name")],
)
def test_figures_of_other_settings_need_a_name(claim_runs, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["claims.py", *arguments])
    with pytest.raises(SystemExit):
        claim_runs.options_of("x", ("recovery",), "out")
    assert message in capsys.readouterr().err
