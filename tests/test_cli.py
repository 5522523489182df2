"""From a command to a result, as a user would: the whole path on a model of 30 000 weights."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cli_helpers import ROOT, SAMPLES, environment, run, run_door, words_for, write_samples
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lightning_langcore import Region
from lightning_langcore.cli import run as command
from lightning_langcore.results.record import Results


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with four languages of text, where the artifacts of all tests here are kept."""
    folder = tmp_path_factory.mktemp("work")
    write_samples(folder)
    return folder


@pytest.fixture(scope="module")
def sweep(work):
    """What `make demo` runs."""
    words = ["-m", "+experiment=recovery_frozen,recovery_unfrozen", "region=core,random", "hydra.sweep.dir=sweep"]
    return run_door(work, *words), work / "sweep"


def test_the_demo_makes_four_runs_a_table_and_a_report(sweep):
    done, folder = sweep
    runs = {path.name: Results.load(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    names = [f"{i}-recovery_{a}-{k}" for i, (a, k) in enumerate(
        [("frozen", "core"), ("frozen", "random"), ("unfrozen", "core"), ("unfrozen", "random")])]  # fmt: skip
    assert list(runs) == names
    for name, results in runs.items():
        assert results.status == "completed"
        stages = {(row["stage"], row["samples"] > 0) for row in results.perplexity}
        assert stages == {("base", False), ("perturbed", False), ("training", True), ("final", True)}, name
        assert {row["lang"] for row in results.perplexity} == set(SAMPLES)
        assert {row["split"] for row in results.perplexity} == {"validation", "test"}
        assert (results.guard is None) == ("unfrozen" in name)
        assert results.region["kind"] in name
        for file in (
            "perplexity.csv",
            "region.safetensors",
            "plots/recovery.png",
            "plots/region.png",
            ".hydra/config.yaml",
        ):
            assert (folder / name / file).stat().st_size > 0, file
    assert "base" in done.stdout
    assert "damaged" in done.stdout
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Frozen against free" in page
    assert str(folder / "report.html") in done.stderr or "sweep/report.html" in done.stderr
    assert "pretraining one on 20,000 tokens" in done.stderr
    assert done.stderr.count("pretraining one on") == 1


def test_the_damage_is_the_same_frozen_or_free_and_only_inside_the_region(sweep):
    _, folder = sweep
    frozen, free = (Results.load(folder / f"{i}-recovery_{a}-core") for i, a in ((0, "frozen"), (2, "unfrozen")))
    start = [[row for row in r.perplexity if row["samples"] == 0] for r in (frozen, free)]
    assert start[0] == start[1]
    assert (folder / "0-recovery_frozen-core/region.safetensors").read_bytes() == (
        folder / "2-recovery_unfrozen-core/region.safetensors"
    ).read_bytes()


def test_frozen_weights_in_the_saved_model_are_the_damaged_ones_bit_for_bit(sweep, work):
    """Recomputed here from the base's file with the formula, not with the code that damaged them."""
    _, folder = sweep
    saved = load_file(folder / "0-recovery_frozen-core/model/model.safetensors")
    freed = load_file(folder / "2-recovery_unfrozen-core/model/model.safetensors")
    base = load_file(next((work / "artifacts").glob("base-*")) / "model.safetensors")
    region = Region.load(folder / "0-recovery_frozen-core/region.safetensors")
    strength = Results.load(folder / "0-recovery_frozen-core").perplexity[-1]["strength"]
    differing = 0
    for name, idx in region:
        frozen, intact = saved[name].view(-1)[idx], base[name].view(-1)[idx]
        spread = (frozen.double() - base[name].double().mean()) / (strength * base[name].double().std())
        assert abs(float(spread.mean())) < 0.5
        assert 0.7 < float(spread.std()) < 1.3
        assert not torch.equal(frozen, intact)
        differing += int((frozen != freed[name].view(-1)[idx]).sum())
    assert differing > 0.5 * len(region)


def test_the_saved_model_loads_anywhere(sweep):
    _, folder = sweep
    path = folder / "2-recovery_unfrozen-core/model"
    model = AutoModelForCausalLM.from_pretrained(path)
    tokens = AutoTokenizer.from_pretrained(path)("El gato", return_tensors="pt")
    assert model(input_ids=tokens["input_ids"]).logits.isfinite().all()


def test_one_run_repeats_itself_to_the_last_digit(sweep, work):
    run(work, "+experiment=recovery_frozen", "hydra.run.dir=again", "logger=wandb")
    again, first = Results.load(work / "again"), Results.load(sweep[1] / "0-recovery_frozen-core")
    assert again.perplexity == first.perplexity
    assert again.guard == {"num_frozen": len(Region.load(work / "again/region.safetensors")), "max_abs_drift": 0.0}
    assert list((work / "again" / "wandb").glob("offline-run-*"))
    header = (work / "again/logs/metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/loss", "val/ppl/zh", "val/ppl/mean", "val/bits_per_byte/en", "samples"} <= set(header)


def test_locate_writes_regions_tables_and_heat_maps(sweep, work):
    done = run(work, "+experiment=locate_core", "hydra.run.dir=located")
    folder = work / "located"
    assert "languages: es, ru, zh" in done.stderr
    assert "pretraining" not in done.stderr
    core, peripheral, random = (Region.load(folder / f"{k}.safetensors") for k in ("core", "peripheral", "random"))
    assert len(core) == len(peripheral) == len(random) == len(Region.load(folder / "region.safetensors"))
    assert len(core & peripheral) == 0
    lines = (folder / "union.csv").read_text().splitlines()
    assert lines[0] == "parameter,changed_more_than_0.01,changed_more_than_0.03,changed_more_than_0.05"
    assert any("post_attention_layernorm" in line for line in lines)
    shares = [[float(x) for x in line.split(",")[1:]] for line in lines[1:]]
    assert all(1 >= a >= b >= c >= 0 for a, b, c in shares)
    assert "union" not in done.stderr
    assert "q_proj" in done.stdout
    assert (folder / "plots/core.png").exists()
    # and its file is a region for others
    other = run(
        work,
        "+experiment=recovery_frozen",
        "region=file",
        f"region.file={folder}/core.safetensors",
        "hydra.run.dir=fromfile",
    )
    assert "error" not in other.stderr
    assert Results.load(work / "fromfile").perplexity[0]["variant"] == "file"


def test_pretrain_base_sets_the_model_beside_ngrams(sweep, work):
    run(work, "+experiment=pretrain_base", "hydra.run.dir=base")
    lines = (work / "base/base.csv").read_text().splitlines()
    assert lines[0] == "lang,unigram,trigram,model"
    assert [line.split(",")[0] for line in lines[1:]] == sorted(SAMPLES)
    assert all(float(x) > 1 for line in lines[1:] for x in line.split(",")[1:])


def test_ctrl_c_keeps_what_was_reached(sweep, work):
    words = ["+experiment=recovery_unfrozen", "hydra.run.dir=stopped", "data.num_tokens=400000", "data.max_epochs=1000"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words_for(work, *words)],
        cwd=work,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        file = work / "stopped/results.json"
        if file.exists() and any(r["stage"] == "training" for r in json.loads(file.read_text())["perplexity"]):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted; what was reached is in" in err
    results = Results.load(work / "stopped")
    assert results.status == "interrupted"
    assert {row["stage"] for row in results.perplexity} == {"base", "perturbed", "training"}


def test_report_of_finished_and_unfinished_runs(sweep, work):
    done = subprocess.run(
        [str(Path(sys.executable).parent / "langcore"), "report", "sweep", "again", "-o", "page.html"],
        cwd=work, capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    assert done.stdout.strip().endswith("page.html")
    assert "<html" in (work / "page.html").read_text(encoding="utf-8")


def test_langcore_alone_lists_the_experiments(work):
    script = str(Path(sys.executable).parent / "langcore")
    done = subprocess.run([script], cwd=work, capture_output=True, text=True, check=True, env=environment())
    assert "recovery_frozen" in done.stdout
    assert "Damage the region" in done.stdout


BAD = {
    "region.fraction=0": "region.fraction=0 must be a number in (0, 1]",
    "region.fraction=1.5": "region.fraction=1.5 must be a number in (0, 1]",
    "region.fraction=many": "region.fraction='many' must be a number in (0, 1]",
    "data.languages=[xx]": "data.languages: the language 'xx' is not in the data (en, es, ru, zh)",
    "region.recipe.languages=[es,ru,ko]": "region.recipe.languages: the language 'ko' is not in the data",
    "region.kind=middle": "region.kind=middle is none of core, peripheral, random, file",
    "region.score=fame": "region.score=fame is none of weight_change, relative_change",
    "perturbation.method=hit": "perturbation.method=hit is none of",
    "data.root=nowhere": "data.root=nowhere: there is no such folder",
    "+callbacks.empty={a: 1}": "callbacks.empty has no _target_",
    "data.num_tokens=9000000": "data.max_epochs=",
    "data.num_tokens=100": "less than one batch",
    "data.block_size=60000": "do not fill one row",
    "job.ckpt_path=none.ckpt": "job.ckpt_path=none.ckpt: there is no such checkpoint",
    "optimizer.lr=1e30": "lower optimizer.lr",
    "job.name=cook": "job.name=cook is none of fit, locate, perturb",
    "+trainer.max_epochs=3": "trainer.max_epochs has no meaning here",
    "hydra.run.dir=text/zh.txt/run": "is a file",
}


@pytest.mark.parametrize("setting", BAD)
def test_bad_input_is_one_sentence_with_the_setting(sweep, work, setting):
    done = run(work, "+experiment=recovery_frozen", setting, expect=1)
    assert BAD[setting] in done.stderr
    assert "Traceback" not in done.stderr


def test_other_bad_regions_and_models(sweep, work):
    def refused(*words):
        done = run(work, "+experiment=recovery_frozen", *words, expect=1)
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "no region file at" in refused("region=file", "region.file=none.safetensors")
    (work / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    assert "not a readable region file" in refused("region=file", "region.file=broken.safetensors")
    (work / "pickled").mkdir()
    (work / "pickled/pytorch_model.bin").write_bytes(b"x")
    assert "no *.safetensors" in refused("model=hub", "model.path=./pickled")


def test_a_failed_job_does_not_stop_the_sweep_and_shows_in_the_report(sweep, work):
    words = ["-m", "+experiment=recovery_frozen", "region.fraction=7,0.05", "hydra.sweep.dir=mixed"]
    run(work, *words, expect=1)
    statuses = [Results.load(p).status for p in sorted((work / "mixed").iterdir()) if p.is_dir()]
    assert statuses == ["failed", "completed"]
    assert "region.fraction=7" in (work / "mixed/report.html").read_text(encoding="utf-8")


def test_a_resumed_run_ends_as_the_uninterrupted_one(sweep, work):
    words = [
        "+experiment=recovery_frozen",
        "callbacks.checkpoint.every_n_train_steps=5",
        "callbacks.checkpoint.save_top_k=-1",
    ]
    run(work, *words, "hydra.run.dir=whole")
    (checkpoint,) = (work / "whole/checkpoints").glob("*step=5.ckpt")
    run(work, *words, "hydra.run.dir=resumed", f'job.ckpt_path="{checkpoint}"')
    whole, resumed = Results.load(work / "whole"), Results.load(work / "resumed")
    assert resumed.perplexity == whole.perplexity == Results.load(sweep[1] / "0-recovery_frozen-core").perplexity
    a, b = (load_file(work / name / "model/model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    done = run(work, *words, "region=random", f'job.ckpt_path="{checkpoint}"', expect=1)
    assert "trained with other regions guarded or damaged" in done.stderr
    words = ["+experiment=recovery_unfrozen", *words[1:]]
    done = run(work, *words, "hydra.run.dir=freed", f'job.ckpt_path="{checkpoint}"', expect=1)
    assert "with other regions guarded or damaged (CoreGuard core: " in done.stderr


def test_a_sweep_over_ranks_that_would_restart_it_is_refused(sweep, work):
    words = ["-m", "+experiment=recovery_frozen", "trainer=ddp", "hydra.sweep.dir=ranks"]
    assert "would begin the whole sweep" in run(work, *words, expect=1).stderr


@pytest.mark.parametrize("trainer", ["ddp", "fsdp2"])
def test_two_ranks_write_one_result(sweep, work, trainer):
    words = ["data.batch_size=4", f"hydra.run.dir={trainer}", "logger=csv"]
    done = run_door(work, "+experiment=recovery_frozen", f"trainer={trainer}", *words)
    results = Results.load(work / trainer)
    assert results.status == "completed"
    assert results.guard["max_abs_drift"] == 0.0
    one = Results.load(sweep[1] / "0-recovery_frozen-core")
    for a, b in zip(one.perplexity, results.perplexity, strict=True):
        assert (a["stage"], a["lang"], a["num_tokens"]) == (b["stage"], b["lang"], b["num_tokens"])
        assert a["nats_per_token"] == pytest.approx(b["nats_per_token"], rel=1e-3), done.stderr
    one, two = (load_file(folder / "model/model.safetensors") for folder in (one.folder, results.folder))
    assert all(torch.allclose(two[name], weight, atol=2e-3) for name, weight in one.items())


def test_a_model_of_ones_own_is_located_first_and_then_recovers(sweep, work):
    own = ["model=hub", "model.path=sweep/2-recovery_unfrozen-core/model"]
    done = run(work, "+experiment=recovery_frozen", *own, expect=1)
    assert "+experiment=locate_core model=hub model.path=sweep/2-recovery_unfrozen-core/model data=files" in done.stderr
    run(work, "+experiment=locate_core", *own, "hydra.run.dir=own_located")
    run(work, "+experiment=recovery_frozen", *own, "hydra.run.dir=own")
    results = Results.load(work / "own")
    assert results.status == "completed"
    assert results.model["name"] == "hub"
    assert Region.load(work / "own/region.safetensors") == Region.load(work / "own_located/core.safetensors")


def test_a_run_stopped_before_training_leaves_a_record(work, monkeypatch):
    def stopped(cfg):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", stopped)
    done = run(work, "+experiment=recovery_frozen", "hydra.run.dir=early", expect=130)
    assert "interrupted" in done.stderr
    results = Results.load(work / "early")
    assert (results.status, results.perplexity) == ("interrupted", [])


def test_limits_of_the_run_do_not_shape_what_others_will_find(work):
    """A base built by a run with one step and bfloat16 equals, to the bit, one that an ordinary run builds."""
    bases = []
    for folder, words in (("limited", ["+trainer.max_steps=1", "trainer.precision=bf16-true"]), ("plain", [])):
        common = ["+experiment=recovery_unfrozen", "region=random", "data.num_tokens=1000", "data.batch_size=2"]
        run(work, *common, *words, f"paths.artifacts=art_{folder}", f"hydra.run.dir=run_{folder}")
        bases.append(load_file(next((work / f"art_{folder}").glob("base-*")) / "model.safetensors"))
    assert all(torch.equal(bases[0][name], bases[1][name]) for name in bases[0])


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer=sgd", "callbacks=[default,weight_diff,core_guard]", "callbacks.weight_diff.every_n_steps=2"],
        ["trainer.precision=bf16-mixed", "trainer.accumulate_grad_batches=2", "callbacks=[default,core_guard]"],
        ["perturbation=zero"],
        ["perturbation=scale"],
        ["perturbation=set"],
        ["region=peripheral", "region.score=weight_change"],
        ["region.parameters=['*.self_attn.*']"],
    ],
    ids=lambda words: words[0],
)
def test_other_choices_run(sweep, work, words):
    folder = "choice-" + words[0].replace("'", "").replace("*", "_")
    run(work, "+experiment=recovery_unfrozen", *words, "data.num_tokens=2000", f'hydra.run.dir="{folder}"')
    results = Results.load(work / folder)
    assert results.status == "completed"
    assert results.guard is None or results.guard["max_abs_drift"] == 0.0


def test_a_run_in_bfloat16_tells_of_how_many_weights_the_updates_were_lost(sweep, work):
    words = ["+experiment=recovery_frozen", "trainer.precision=bf16-true", "optimizer.lr=1e-5"]
    said = run(work, *words, "hydra.run.dir=narrow").stderr
    assert "trainer.precision=bf16-true with model.dtype=float32 rounds small updates away; callbacks=[default," in said
    measured = ["callbacks=[default,core_guard,weight_diff]", "callbacks.weight_diff.every_n_steps=2"]
    said = run(work, *words, *measured, "hydra.run.dir=narrow_measured").stderr
    assert re.search(r"[89]\d% of the weights never moved: trainer.precision=bf16-true", said)
    inside = "callbacks.weight_diff.region=${region.file}"
    said = run(work, *words, *measured, inside, "hydra.run.dir=narrow_region").stderr
    assert re.search(r"[89]\d% of the weights outside the region never moved: trainer.precision=bf16-true", said)
    words[1] = "trainer.precision=bf16"  # Lightning's short word for bf16-mixed, whose weights stay float32
    assert "rounds" not in run(work, *words, "hydra.run.dir=wide").stderr
