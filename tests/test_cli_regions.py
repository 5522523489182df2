"""Every kind of region from the command line: scores, units, languages, models on disk, and the grid of damages."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from cli_helpers import ROOT, SAMPLES, environment, run, run_door, words_for, write_samples
from safetensors.torch import load_file, save_file

from lightning_langcore import Region, random_region, select
from lightning_langcore.importance.statistics import CheckpointChanges
from lightning_langcore.jobs import perturb as perturb_job
from lightning_langcore.models.parameters import candidates
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.results.record import Results
from lightning_langcore.utils import artifact_cache

LANGUAGES = ["es", "ru", "zh"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with four languages of text and, after the first test that needs it, a base model."""
    folder = tmp_path_factory.mktemp("regions")
    write_samples(folder)
    return folder


@pytest.fixture(scope="module")
def located(work):
    """Everything that can be located at once: all scores, single languages, a family."""
    words = ["job.scores=[taylor,taylor_per_batch,fisher,wanda]", "region.families={west: [es, ru]}"]
    return run(work, "+experiment=locate_core", *words, "region.fraction=0.2", "hydra.run.dir=all"), work / "all"


def base_of(work):
    return Weights(next((work / "artifacts").glob("base-*")))


def test_locate_writes_every_region_and_they_are_what_plain_arithmetic_finds(located, work):
    _, folder = located
    base = base_of(work)
    shapes = candidates(base.shapes)
    changes = next((work / "artifacts").glob("changes-*"))
    moved = {lang: load_file(changes / f"{lang}.safetensors") for lang in LANGUAGES}

    def relative(name, languages):
        theta = base[name].numpy()
        total = np.sum([moved[lang][f"{name}|change"].numpy() for lang in languages], 0, dtype=np.float32)
        return torch.from_numpy(total / np.maximum(np.abs(theta), 1e-3 * np.sqrt(np.mean(np.float64(theta) ** 2))))

    def of(languages, end="lowest"):
        return select({name: relative(name, languages) for name in shapes}, 0.2, end)

    assert Region.load(folder / "core.safetensors") == of(LANGUAGES)
    assert Region.load(folder / "region.safetensors") == of(LANGUAGES)
    assert Region.load(folder / "peripheral.safetensors") == of(LANGUAGES, "highest")
    assert Region.load(folder / "random.safetensors") == random_region(shapes, 0.2, 0)
    single = {lang: of([lang]) for lang in LANGUAGES}
    for lang in LANGUAGES:
        others = [single[other] for other in LANGUAGES if other != lang]
        assert Region.load(folder / f"language/{lang}.safetensors") == single[lang]
        assert Region.load(folder / f"mono/{lang}.safetensors") == single[lang] - others[0] - others[1]
    west = Region.load(folder / "family/west.safetensors")
    assert west == (single["es"] & single["ru"]) - single["zh"]
    assert west.meta["kind"] == "family:west"
    sizes = {name: base[name].abs() for name in shapes}
    assert Region.load(folder / "magnitude.safetensors") == select(sizes, 0.2, "highest")


def test_locate_by_passes_uses_what_the_pass_recorded(located, work):
    _, folder = located
    base = base_of(work)
    shapes = candidates(base.shapes)
    for score, statistic in (("taylor", "gradient_sum"), ("taylor_per_batch", "gradient_abs"), ("wanda", "input_norm")):
        recorded = next((work / "artifacts").glob(f"{statistic}-*"))
        known = [load_file(recorded / f"{lang}.safetensors") for lang in LANGUAGES]
        scores = {
            name: torch.from_numpy(np.sum([k[f"{name}|{statistic}"].numpy() for k in known], 0, dtype=np.float32))
            * base[name].abs()
            for name in shapes
        }
        region = Region.load(folder / f"{score}.safetensors")
        assert region == select(scores, 0.2, "highest")
        assert region.meta["score"] == score
    fisher, change = (next((work / "artifacts").glob(f"{kind}-*")) for kind in ("gradient_square", "gradient_sum"))
    assert (fisher / "zh.safetensors").samefile(change / "zh.safetensors")  # one pass, one file


def test_the_bytes_of_a_pass_are_said_before_and_it_is_found_again(located, work):
    done, _ = located
    said = "scoring at fixed weights by gradient_sum, gradient_abs, gradient_square, input_norm on 3,000 tokens"
    assert said in done.stderr
    assert "GB of accumulators in 1 group(s)" in done.stderr
    again = run(work, "+experiment=recovery_unfrozen", "region.score=taylor", "hydra.run.dir=taylor")
    assert "scoring at fixed weights" not in again.stderr
    assert Results.load(work / "taylor").region["score"] == "taylor"


def test_passes_in_several_groups_of_parameters_find_the_same(located, work):
    words = ["+experiment=locate_core", "region.score=taylor", "region.fraction=0.2", "job.single_languages=false"]
    done = run(work, *words, "paths.artifacts=art2", "region.memory=60_000", "hydra.run.dir=groups")
    assert "in 2 group(s)" in done.stderr or "in 3 group(s)" in done.stderr
    assert Region.load(work / "groups/core.safetensors") == Region.load(located[1] / "taylor.safetensors")


def test_two_searches_at_once_do_not_pass_on_what_the_other_has_not_recorded(located, work, monkeypatch):
    """B wants two statistics; while it waits for the lock, A publishes one of them, from a pass of its own."""
    get = artifact_cache.get

    def racing(root, name, recipe, build):
        if name == "gradient_sum" and artifact_cache.find(root, name, recipe) is None and not racing.done:
            racing.done = True
            words = ["region.score=taylor", "job.scores=[]", "job.single_languages=false"]
            run_door(work, "+experiment=locate_core", *words, "paths.artifacts=race", "hydra.run.dir=race_a")
        return get(root, name, recipe, build)

    racing.done = False
    monkeypatch.setattr(artifact_cache, "get", racing)
    words = ["region.score=taylor", "job.scores=[taylor_per_batch]", "job.single_languages=false"]
    run(work, "+experiment=locate_core", *words, "paths.artifacts=race", "region.fraction=0.2", "hydra.run.dir=race_b")
    assert racing.done
    for score in ("core", "taylor_per_batch"):
        expected = located[1] / f"{'taylor' if score == 'core' else score}.safetensors"
        assert Region.load(work / f"race_b/{score}.safetensors") == Region.load(expected)


def test_buffers_in_the_files_of_a_model_are_left_alone(located, work):
    """Files of LLaMA 2 hold rotary_emb.inv_freq, which is no parameter."""
    folder = work / "withbuffers"
    folder.mkdir()
    for file in next((work / "artifacts").glob("base-*")).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    run(work, "+experiment=locate_core", "model=hub", "model.path=./withbuffers", "hydra.run.dir=buffers")
    assert "inv_freq" not in (work / "buffers/union.csv").read_text()


def test_a_missing_statistic_of_ones_own_model_names_the_command_that_makes_it(located, work):
    own = ["model=hub", "model.path=./withbuffers"]
    done = run(work, "+experiment=perturb_core", *own, "job.variants=[core,fisher]", expect=1)
    command = done.stderr.split("`")[1]
    assert command.startswith("python train.py +experiment=locate_core model=hub model.path=./withbuffers")
    assert "job.scores=[fisher]" in command
    known = ("data=", "data.root", "model=", "region.recipe")  # what every run here is given
    words = [word for word in command.split()[2:] if not word.startswith(known)]
    run(work, *words, "model=hub", "hydra.run.dir=as_told")
    variants = ["job.variants=[core,fisher]", "job.fractions=[0.1]"]
    run(work, "+experiment=perturb_core", *own, *variants, "hydra.run.dir=then")


def test_tables_and_pictures_of_locating(located):
    done, folder = located
    rows = (folder / "overlap.csv").read_text().splitlines()
    assert rows[0].startswith("one,other,")
    assert any(row.startswith("core,magnitude,") for row in rows)
    assert any(row.startswith("language:es,language:zh,") for row in rows)
    assert "of the core are among the largest weights" in done.stderr
    names = {"core", "core_lines", "core_concentration", "overlap_scores", "overlap_languages"}
    assert names <= {file.stem for file in (folder / "plots").glob("*.png")}
    assert not (folder / "plots/core_density.png").exists(), "every matrix has the same share"
    assert (folder / "plots/core_concentration.csv").stat().st_size > 100


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["region.granularity=column", "region.fraction=0.5"], {"cols"}),
        (["region.granularity=row", "region.scope=model", "region.score=fisher"], {"rows"}),
        (["region.scope=model", "region.fraction=0.5"], {"bits"}),
        (["region.kind=mono:zh"], None),
        (["region.kind=magnitude"], None),
        (["region.kind=matched"], None),
        (["region.kind=core-outliers"], None),
        (["region=random", "region.granularity=column", "region.scope=model"], {"cols"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_kind_is_damaged_and_guarded_exactly(located, work, words, form):
    folder = "kind-" + words[0].replace("=", "-").replace(":", "-")
    run(work, "+experiment=recovery_frozen", *words, "data.num_tokens=2000", f'hydra.run.dir="{folder}"')
    results = Results.load(work / folder)
    assert results.guard["max_abs_drift"] == 0.0
    region = Region.load(work / folder / "region.safetensors")
    assert form is None or {part.encoding for part in region.parts.values()} == form
    assert results.guard["num_frozen"] == len(region) > 0
    base, saved = base_of(work), load_file(work / folder / "model/model.safetensors")
    for name, idx in region:
        assert not torch.equal(saved[name].view(-1)[idx], base[name].view(-1)[idx])


@pytest.fixture(scope="module")
def grid(located, work):
    """The grid of the perturbation job, with a region of every sort."""
    words = [
        "job.variants=[core,peripheral,random,magnitude,mono:es,mono:zh,core-outliers]",
        "job.fractions=[0.05,0.2]",
        "job.seeds=[0,1]",
        "job.perturbations=[{method: reinit, strength: 2.0}, {method: zero}]",
    ]
    return run(work, "+experiment=perturb_core", *words, "logger=wandb", "hydra.run.dir=grid"), work / "grid"


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
    assert "of the time that scoring took" in grid[0].stderr


def test_a_region_of_a_file_is_one_of_the_variants(located, work):
    words = ["job.variants=[file,random]", "job.fractions=[0.1,0.3]", f"region.file={located[1]}/taylor.safetensors"]
    run(work, "+experiment=perturb_core", *words, "job.perturbations=[{method: zero}]", "hydra.run.dir=fromfile")
    rows = [row for row in Results.load(work / "fromfile").perplexity if row["stage"] == "perturbed"]
    kinds = {(row["variant"], row["fraction"]) for row in rows}
    assert kinds == {("file", 0.2), ("random", 0.1), ("random", 0.3)}


def test_outliers_are_a_region_and_can_be_left_out(located, work):
    """The small model has none by the criterion: here a lower one, which some dimension meets."""
    low = ["region.outliers.magnitude=0.1", "region.outliers.ratio=4", "region.outliers.spike=1e9"]
    done = run(work, "+experiment=locate_core", *low, "region.kind=outliers", "hydra.run.dir=outlying")
    assert "massive-activation dimensions: " in done.stderr
    outliers = Region.load(work / "outlying/region.safetensors")
    assert Region.load(work / "outlying/outliers.safetensors") == outliers
    assert 0 < len(outliers) < outliers.num_candidates
    words = ["job.variants=[core,core-outliers,outliers]", "job.fractions=[0.1,0.3]", "hydra.run.dir=without"]
    run(work, "+experiment=perturb_core", *low, *words, "job.perturbations=[{method: zero}]")
    rows = [line.split(",") for line in (work / "without/regions.csv").read_text().splitlines()[1:]]
    sizes = {(variant, fraction): int(size) for variant, fraction, _, size, *_ in rows}
    assert sizes["core-outliers", "0.3"] < sizes["core", "0.3"]
    assert sizes["outliers", "0.1"] == len(outliers)
    perturbed = [row for row in Results.load(work / "without").perplexity if row["stage"] == "perturbed"]
    assert {row["fraction"] for row in perturbed if row["variant"] == "outliers"} == {outliers.fraction}
    expected = len(Region.load(work / "outlying/core.safetensors") - outliers)
    run(
        work,
        "+experiment=recovery_frozen",
        *low,
        "region.kind=core-outliers",
        "data.num_tokens=2000",
        "hydra.run.dir=rest",
    )
    assert Results.load(work / "rest").guard == {"num_frozen": expected, "max_abs_drift": 0.0}


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


def test_evaluations_are_shared_and_the_model_is_whole_after_each(located, work, monkeypatch):
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

    monkeypatch.setattr(perturb_job, "score_languages", watched)
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


@pytest.fixture(scope="module")
def disk(located, work):
    """A base and three models trained from it, in shards, that only lie on disk."""
    base = base_of(work)
    folder = work / "disk"
    for number, lang in enumerate([None, *LANGUAGES]):
        tensors = {}
        for position, name in enumerate(base):
            noise = torch.randn(base[name].shape, generator=torch.Generator().manual_seed(100 * number + position))
            tensors[name] = base[name] + (0.01 * noise if lang else 0)
        names = sorted(tensors)
        shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
        target = folder / (lang or "base")
        target.mkdir(parents=True)
        for shard, members in shards.items():
            save_file({name: tensors[name] for name in members}, target / shard)
        index = {name: shard for shard, members in shards.items() for name in members}
        (target / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def from_disk(work, disk, *words, expect=0, trained=LANGUAGES):
    folders = ", ".join(f"{lang}: {disk}/{lang}" for lang in trained)
    where = ["job.source=checkpoints", f"job.base={disk}/base", f"+job.trained={{{folders}}}"]
    return run(work, "+experiment=locate_core", *where, *words, expect=expect)


@pytest.mark.parametrize("scope", ["tensor", "model"])
def test_locating_from_disk_equals_plain_arithmetic(work, disk, scope):
    from_disk(work, disk, f"region.scope={scope}", "region.score=weight_change", f"hydra.run.dir=disk-{scope}")
    base = Weights(disk / "base")
    after = {lang: Weights(disk / lang) for lang in LANGUAGES}
    scores = {
        name: sum(
            ((after[lang][name] - base[name]).abs() for lang in LANGUAGES[1:]), (after["es"][name] - base[name]).abs()
        )
        for name in candidates(base.shapes)
    }
    folder = work / f"disk-{scope}"
    assert Region.load(folder / "core.safetensors") == select(scores, 0.05, "lowest", scope=scope)
    assert not list((work / "artifacts").glob("locating-*"))
    union = (folder / "union.csv").read_text().splitlines()
    assert len(union) == 1 + len(base)
    assert Results.load(folder).model["num_weights"] == sum(t.numel() for t in base.values())


def test_an_interrupted_search_of_checkpoints_goes_on(work, disk, monkeypatch):
    statistic = "lightning_langcore.importance.statistics.Checkpoints.statistic"
    plain, calls = CheckpointChanges.statistic, []

    def stopping(self, *words):
        calls.append(words)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return plain(self, *words)

    words = ["region.score=weight_change", "region.fraction=0.3"]
    monkeypatch.setattr(statistic, stopping)
    done = from_disk(work, disk, *words, "hydra.run.dir=stopped", expect=130)
    assert "interrupted" in done.stderr
    assert list((work / "artifacts").glob("locating-*"))
    assert not list((work / "stopped").glob("*.safetensors"))
    monkeypatch.setattr(statistic, lambda self, *words: calls.append(words) or plain(self, *words))
    calls.clear()
    from_disk(work, disk, *words, "hydra.run.dir=resumed")
    resumed = len(calls)
    assert not list((work / "artifacts").glob("locating-*"))
    calls.clear()
    from_disk(work, disk, *words, "hydra.run.dir=whole")
    assert 0 < resumed <= len(calls) - 18
    assert (work / "resumed/core.safetensors").read_bytes() == (work / "whole/core.safetensors").read_bytes()


BAD = {
    "region.kind=mono:xx": "region.kind=mono:xx: xx is none of the located es, ru, zh",
    "region.kind=family:west": "region.kind=family:west: region.families has no list of languages named west",
    "region.kind=mono": "region.kind=mono is none of core, peripheral, random, file",
    "region.kind=core:zh": "region.kind=core:zh is none of core",
    "region.kind=matched region.granularity=row": "region.kind=matched needs region.granularity=element, not row",
    "region.granularity=cell": "region.granularity=cell is none of element, row, column",
    "region.scope=layer": "region.scope=layer is none of tensor, model",
    "region.parameters='*.self_attn.*'": "region.parameters=*.self_attn.* must be null, or a list of names",
    "region.memory=8GB": "region.memory=8GB must be a whole number",
    "region.kind=outliers": "region.kind=outliers is empty: the model has no massive activation and no super weight",
    "region.parameters=['nothing*']": "no parameter of the model matches region.parameters=['nothing*']",
    "region.memory=100": "region.memory allows 100 bytes",
}


@pytest.mark.parametrize("setting", BAD)
def test_bad_regions_are_one_sentence(located, work, setting):
    words = ["region.score=taylor", "paths.artifacts=art3"] if "memory" in setting else []
    done = run(work, "+experiment=recovery_frozen", *words, *setting.split(), expect=1)
    assert BAD[setting] in done.stderr
    assert "Traceback" not in done.stderr


BAD_GRID = {
    "job.variants=[core,centre]": "job.variants=centre is none of core",
    "job.fractions=[0.05,2]": "job.fractions=2 must be a number in (0, 1]",
    "job.seeds=[0,1,0]": "job.seeds=[0, 1, 0] must be a list of whole numbers, at least one and each once",
    "job.fractions=[]": "job.fractions=[] must be a list of shares",
    "job.seeds=[a]": "job.seeds=['a'] must be a list of whole numbers",
    "job.variants=null": "job.variants=None must be a list of regions",
    "job.variants=[file]": "job.variants=file is the region of a file: name it with region.file=FILE",
    "job.perturbations=[{method: hit}]": "must be a list of method (reinit, zero, scale, set)",
    "job.perturbations=[{method: scale}]": "but for zero, a finite strength",
    "job.perturbations=[{method: reinit, strenght: 5}]": "but for zero, a finite strength",
    "job.perturbations=[{method: reinit, strength: abc}]": "but for zero, a finite strength",
    "perturbation=zero": "perturbation and callbacks.core_guard have no meaning for job.name=perturb",
    "region.kind=file": "region.kind=file has no meaning for job.name=perturb",
    "data.eval_languages=[xx]": "data.eval_languages: the language 'xx' is not in the data",
}


@pytest.mark.parametrize("setting", BAD_GRID)
def test_bad_grids_are_one_sentence(located, work, setting):
    done = run(work, "+experiment=perturb_core", setting, expect=1)
    assert BAD_GRID[setting] in done.stderr


def test_bad_checkpoints_are_one_sentence(work, disk, tmp_path):
    def refused(*words, **more):
        done = from_disk(work, disk, *words, expect=1, **more)
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "name them with job.base=FOLDER" in refused("job.base=null")
    assert "no safetensors weights at" in refused(f"job.base={tmp_path}")
    assert "made by passes over text, and job.source=checkpoints has none" in refused("region.score=taylor")
    assert "needs a model to run" in refused("region.kind=core-outliers")
    assert "needs a model to run" in refused("region.kind=outliers")
    assert "job.source=checkpoint is none of text, checkpoints" in refused("job.source=checkpoint")
    assert "region.score=foo is none of" in refused("region.score=foo")
    assert "job.union_thresholds=['a'] must be a list" in refused("job.union_thresholds=[a]")
    assert "fr is none of the located es, ru, zh" in refused("region.families={west: [es, fr]}")
    assert "region.families=family:west: region.families has no list" in refused("region.families={west: es}")
    assert "region.kind=file has no meaning for job.name=locate" in refused("region=file", "region.file=r")
    assert "mono:en: en is none of the located" in refused("region.kind=mono:en")
    shard = disk / "zh" / "model-2.safetensors"
    content = shard.read_bytes()
    shard.unlink()
    assert "model-2.safetensors" in refused()
    tensors = load_file(disk / "zh" / "model-1.safetensors")
    name = next(n for n in tensors if "proj" in n)
    broken = {**tensors, name: tensors[name].clone()}
    broken[name].view(-1)[5] = float("nan")
    shard.write_bytes(content)
    save_file(broken, disk / "zh" / "model-1.safetensors")
    assert f"{name} holds a weight that is not finite" in refused("region.fraction=0.07")
    save_file(tensors, disk / "zh" / "model-1.safetensors")
    still = from_disk(work, disk, "region.fraction=0.5", "hydra.run.dir=sound")
    assert "error" not in still.stderr


def test_a_core_of_weights_that_never_moved_is_refused_and_single_languages_are_left_out(work, disk, tmp_path):
    for lang in LANGUAGES:
        (tmp_path / lang).mkdir()
        for shard in (disk / lang).glob("*.safetensors"):
            start = load_file(disk / "base" / shard.name)
            moved = load_file(shard)
            for name in moved:
                if lang == "zh" and moved[name].ndim == 2:  # one language moves a fifth only
                    keep = torch.arange(moved[name].numel()) % 5 > 0
                    moved[name].view(-1)[keep] = start[name].view(-1)[keep]
            save_file(moved, tmp_path / lang / shard.name)
    (tmp_path / "base").symlink_to(disk / "base")
    done = from_disk(work, tmp_path, "hydra.run.dir=still")
    assert "no region language:zh is made: 80." in done.stderr
    assert "did not move in zh" in done.stderr
    assert not (work / "still/language/zh.safetensors").exists()
    assert (work / "still/language/ru.safetensors").exists()
    done = from_disk(work, tmp_path, "hydra.run.dir=still2", expect=1, trained=["zh"])
    assert "did not move in any language, which is no less than region.fraction=0.05" in done.stderr


def test_a_full_disk_leaves_nothing_half_written_behind(located, work):
    """A limit on the size of a file stands for the disk that fills: the write fails half-way in the same way."""
    limit = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); sys.argv = sys.argv[1:];"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    words = words_for(work, "+experiment=locate_core", "region.recipe.tokens=2500", "hydra.run.dir=full")
    command = [sys.executable, "-c", limit, str(ROOT / "train.py"), *words]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 1
    assert "error: a file could not be written or read (" in done.stderr
    assert "Traceback" not in done.stderr
    before = set((work / "artifacts").glob("changes-*"))
    assert not [path for path in (work / "artifacts").rglob("*") if path.is_dir() and path.name.startswith(".changes")]
    assert not list((work / "full").glob("*.safetensors"))
    run(work, "+experiment=locate_core", "region.recipe.tokens=2500", "hydra.run.dir=emptied")
    assert len(set((work / "artifacts").glob("changes-*")) - before) == 1
    assert Results.load(work / "emptied").status == "completed"
