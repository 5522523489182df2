"""Every kind of region from the command line: scores, units, languages."""

import multiprocessing
import resource
import shutil

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import load_file, save_file

from lightning_langcore import Region, random_region, select
from lightning_langcore.models.parameters import candidates
from lightning_langcore.results.record import Results
from lightning_langcore.utils import artifact_cache
from tests.support.commands import run
from tests.support.located import LANGUAGES, base_of


@pytest.fixture(scope="module")
def located(work):
    """Everything that can be located at once: all scores, single languages, a family."""
    words = ["job.scores=[taylor,taylor_per_batch,fisher,wanda]", "region.families={west: [es, ru]}"]
    words += ["region.fraction=0.2", "hydra.run.dir=all"]
    return run(work, "+experiment=locate_core", *words, pictures=True), work / "all"


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


def run_forked(work, *words):
    GlobalHydra.instance().clear()  # that of the search in which this process was forked
    run(work, "+experiment=locate_core", *words)


def test_two_searches_at_once_do_not_pass_on_what_the_other_has_not_recorded(located, work, monkeypatch):
    """B wants two statistics; while it waits for the lock, A publishes one of them, from a pass of its own."""
    get = artifact_cache.get

    def racing(root, name, recipe, build):
        if name == "gradient_sum" and artifact_cache.find(root, name, recipe) is None and not racing.done:
            racing.done = True
            words = ["region.score=taylor", "job.scores=[]", "job.single_languages=false"]
            other = [*words, "paths.artifacts=race", "hydra.run.dir=race_a"]
            process = multiprocessing.get_context("fork").Process(target=run_forked, args=(work, *other))
            process.start()
            process.join()
            assert process.exitcode == 0
        return get(root, name, recipe, build)

    for made in (work / "artifacts").glob("base-*"):
        shutil.copytree(made, work / "race" / made.name)
    for made in (work / "artifacts").glob("changes-*"):
        shutil.copytree(made, work / "race" / made.name)
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
    assert not (folder / "plots/core_density.png").exists(), "every matrix has the same share"
    assert names <= {file.stem for file in (folder / "plots").glob("*.png")}
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


def test_a_full_disk_leaves_nothing_half_written_behind(located, work):
    """A limit on the size of a file stands for the disk that fills: the write fails half-way in the same way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        done = run(work, "+experiment=locate_core", "region.recipe.tokens=2500", "hydra.run.dir=full", expect=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "error: a file could not be written or read (" in done.stderr
    assert "Traceback" not in done.stderr
    before = set((work / "artifacts").glob("changes-*"))
    assert not [path for path in (work / "artifacts").rglob("*") if path.is_dir() and path.name.startswith(".changes")]
    assert not list((work / "full").glob("*.safetensors"))
    run(work, "+experiment=locate_core", "region.recipe.tokens=2500", "hydra.run.dir=emptied")
    assert len(set((work / "artifacts").glob("changes-*")) - before) == 1
    assert Results.load(work / "emptied").status == "completed"
