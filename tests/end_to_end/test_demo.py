"""`make demo`, from a command to a report: the whole path on a model of 30 000 weights."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lightning_langcore import Region
from lightning_langcore.results.record import Results
from tests.support.commands import SAMPLES, environment, run, run_process


@pytest.fixture(scope="module")
def work(fresh_work):
    return fresh_work


@pytest.fixture(scope="module")
def sweep(work):
    """What `make demo` runs."""
    words = ["-m", "+experiment=recovery_frozen,recovery_unfrozen", "region=core,random", "hydra.sweep.dir=sweep"]
    return run_process(work, *words), work / "sweep"


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
    assert "perturbed" in done.stdout
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
    assert "trained with other regions guarded or perturbed" in done.stderr
    words = ["+experiment=recovery_unfrozen", *words[1:]]
    done = run(work, *words, "hydra.run.dir=freed", f'job.ckpt_path="{checkpoint}"', expect=1)
    assert "with other regions guarded or perturbed (CoreGuard core: " in done.stderr


@pytest.mark.parametrize("trainer", ["ddp", "fsdp2"])
def test_two_ranks_write_one_result(sweep, work, trainer):
    words = ["data.batch_size=4", f"hydra.run.dir={trainer}", "logger=csv"]
    done = run_process(work, "+experiment=recovery_frozen", f"trainer={trainer}", *words)
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
