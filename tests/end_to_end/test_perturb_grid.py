"""The grid of perturbations: a row for everything, equal to what a training job damages."""

import pytest
import torch

from lightning_langcore import random_region
from lightning_langcore.jobs import perturb as perturb_job
from lightning_langcore.models.parameters import candidates
from lightning_langcore.results.record import Results
from tests.support.commands import SAMPLES, run
from tests.support.located import base_of


@pytest.fixture(scope="module")
def grid(work):
    """The grid of the perturbation job, with a region of every sort."""
    words = [
        "job.variants=[core,peripheral,random,magnitude,mono:es,mono:zh,core-outliers]",
        "job.fractions=[0.05,0.2]",
        "job.seeds=[0,1]",
        "job.perturbations=[{method: reinit, strength: 2.0}, {method: zero}]",
    ]
    return run(
        work, "+experiment=perturb_core", *words, "logger=wandb", "hydra.run.dir=grid", pictures=True
    ), work / "grid"


def test_the_grid_has_a_row_for_everything(grid):
    done, folder = grid
    results = Results.load(folder)
    assert results.status == "completed"
    perturbed = [row for row in results.perplexity if row["stage"] == "perturbed"]
    assert len(perturbed) == 7 * 2 * 2 * 2 * len(SAMPLES)
    assert len(results.perplexity) - len(perturbed) == len(SAMPLES)
    for file in ("perplexity.csv", "monolingual.csv", "plots/damage.png", "plots/monolingual_0.png"):
        assert (folder / file).stat().st_size > 0
    assert "peripheral" in done.stdout
    assert "no massive activation: the largest is" in done.stderr
    assert results.seconds["evaluating"] > 0
    assert list((folder / "wandb").glob("offline-run-*"))
    assert results.notes[0].startswith("no massive activation")


def figures(folder, **about):
    rows = Results.load(folder).perplexity
    found = {r["lang"]: r["nats_per_token"] for r in rows if about.items() <= r.items()}
    assert set(found) == set(SAMPLES)
    return found


def test_the_grid_agrees_with_damage_by_the_training_job_to_the_last_digit(grid, work):
    run(work, "+experiment=recovery_unfrozen", "region.fraction=0.2", "data.num_tokens=2000", "hydra.run.dir=beside")
    one = figures(grid[1], variant="core", fraction=0.2, method="reinit", seed=0)
    other = Results.load(work / "beside").perplexity
    assert one == {r["lang"]: r["nats_per_token"] for r in other if r["stage"] == "perturbed" and r["split"] == "test"}


def test_what_the_regions_are_stands_beside_the_rows(grid):
    rows = (grid[1] / "regions.csv").read_text().splitlines()
    assert rows[0] == "variant,fraction,seed,num_weights,num_candidates,num_ties"
    assert len(rows) == 1 + 7 * 2 * 2
    assert any(row.startswith("core,0.05,0,") for row in rows)
    assert "of the time of evaluating" in grid[0].stderr


def test_a_region_of_a_file_is_one_of_the_variants(work):
    random_region(candidates(base_of(work).shapes), 0.2, 9).save(work / "ours.safetensors")
    words = ["job.variants=[file,random]", "job.fractions=[0.1,0.3]", "region.file=ours.safetensors"]
    run(work, "+experiment=perturb_core", *words, "job.perturbations=[{method: zero}]", "hydra.run.dir=fromfile")
    rows = [row for row in Results.load(work / "fromfile").perplexity if row["stage"] == "perturbed"]
    kinds = {(row["variant"], row["fraction"]) for row in rows}
    assert kinds == {("file", 0.2), ("random", 0.1), ("random", 0.3)}


def test_what_does_not_depend_on_the_seed_is_the_same_for_all_and_the_rest_is_not(grid):
    folder = grid[1]
    zero = [figures(folder, variant="core", fraction=0.2, method="zero", seed=seed) for seed in (0, 1)]
    assert zero[0] == zero[1]
    reinit = [figures(folder, variant="core", fraction=0.2, method="reinit", seed=seed) for seed in (0, 1)]
    assert reinit[0] != reinit[1]
    random = [figures(folder, variant="random", fraction=0.2, method="zero", seed=seed) for seed in (0, 1)]
    assert random[0] != random[1]
    same = [figures(folder, variant=v, fraction=0.2, method="reinit", seed=1) for v in ("core", "core-outliers")]
    assert same[0] == same[1]  # this model has no outlier: the result says so


def test_evaluations_are_shared_and_the_model_is_whole_after_each(work, monkeypatch):
    states = []
    scored = perturb_job.evaluate_languages

    def watched(model, loaders, fabric):
        states.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return scored(model, loaders, fabric)

    kept = {}
    build = perturb_job.build

    def keeping(*words):
        kept.update(build(*words))
        return kept

    monkeypatch.setattr(perturb_job, "evaluate_languages", watched)
    monkeypatch.setattr(perturb_job, "build", keeping)
    words = ["job.variants=[core,random]", "job.fractions=[0.2]", "job.seeds=[0,1,2]"]
    run(work, "+experiment=perturb_core", *words, "job.perturbations=[{method: zero}]", "hydra.run.dir=shared")
    assert len(states) == 1 + 1 + 3  # the base, the core once, three random regions
    intact = states[0]
    for state, region in zip(
        states[1:], (v for k, v in kept.items() if k.variant == "core" and k.seed == 0), strict=False
    ):
        for name, values in state.items():
            changed = set((values != intact[name]).flatten().nonzero().flatten().tolist())
            assert changed <= set(dict(region).get(name, torch.empty(0)).tolist()), name


BAD_GRID = {
    "job.variants=[core,centre]": "job.variants=centre is none of core",
    "job.fractions=[0.05,2]": "job.fractions=[0.05, 2] must be a list of shares of the candidates in (0, 1]",
    "job.seeds=[0,1,0]": "job.seeds=[0, 1, 0] must be a list of whole numbers, at least one and each once",
    "job.fractions=[]": "job.fractions=[] must be a list of shares",
    "job.seeds=[a]": "job.seeds=['a'] must be a list of whole numbers",
    "job.variants=null": "job.variants=None must be a list of regions",
    "job.variants=[file]": "job.variants=file needs a region file: name it with region.file=FILE",
    "job.perturbations=[{method: hit}]": "must be a list with method (reinit, zero, scale, set)",
    "job.perturbations=[{method: scale}]": "except for zero, a finite strength",
    "job.perturbations=[{method: reinit, strenght: 5}]": "except for zero, a finite strength",
    "job.perturbations=[{method: reinit, strength: abc}]": "except for zero, a finite strength",
    "perturbation=zero": "perturbation and callbacks.core_guard have no meaning for job.name=perturb",
    "region.kind=file": "region.kind=file has no meaning for job.name=perturb",
    "data.eval_languages=[xx]": "data.eval_languages: the language 'xx' is not in the data",
}


@pytest.mark.parametrize("setting", BAD_GRID)
def test_bad_grids_are_one_sentence(work, setting):
    done = run(work, "+experiment=perturb_core", setting, expect=1)
    assert BAD_GRID[setting] in done.stderr
