"""A sweep goes on where it stopped, over jobs that failed, and on other launchers; its jobs know nothing of another."""

import gc
import os
import re
import signal
import weakref

import pytest
import torch
from safetensors.torch import load_file

from lightning_langcore.cli import run as command
from lightning_langcore.models import loading
from lightning_langcore.results.record import Results
from lightning_langcore.training.checkpointing import StepCheckpoint
from tests.support.commands import run

SHORT = ["data.num_tokens=3000", "data.batch_size=2", "data.eval_languages=[es,zh]"]
BOTH = ["-m", "+experiment=recovery_frozen,recovery_unfrozen", *SHORT, "callbacks.checkpoint.every_n_train_steps=100"]
SWEEP = [*BOTH, "seed=0,1", "hydra.sweep.dir=sweep", "logger=wandb"]


def folders(work, sweep="sweep"):
    return sorted(path for path in (work / sweep).iterdir() if (path / "results.json").exists())


# --- going on


@pytest.fixture(scope="module")
def resumed(work):
    """A sweep of four jobs that is asked to end in its second one, and started again; what the second start printed."""
    done = StepCheckpoint.on_train_batch_end

    def end_in_the_second(self, trainer, *args):
        if trainer.global_step == 7 and "1-recovery" in str(self.dirpath):
            os.kill(os.getpid(), signal.SIGTERM)
        done(self, trainer, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepCheckpoint, "on_train_batch_end", end_in_the_second)
        run(work, *SWEEP, expect=143)
    assert [Results.load(path).status for path in folders(work)] == ["completed", "interrupted"]
    first = (folders(work)[0] / "results.json").stat().st_mtime_ns
    again = run(work, *SWEEP)
    assert (folders(work)[0] / "results.json").stat().st_mtime_ns == first
    return again


def test_a_sweep_goes_on_where_it_stopped(resumed, work):
    assert re.findall(r"sweep/(\S+) holds this run already, completed: not run again", resumed.stderr) == [
        "0-recovery_frozen-core"
    ]
    assert re.findall(r"resuming after step 7, from \S*sweep/([^/]+)", resumed.stderr) == ["1-recovery_frozen-core"]
    assert [Results.load(path).status for path in folders(work)] == ["completed"] * 4


def test_the_report_of_a_resumed_sweep_has_all_its_parts(resumed, work):
    assert "perturbed" in resumed.stdout
    page = (work / "sweep/report.html").read_text(encoding="utf-8")
    for part in ("Frozen against free", "What differs in the configs", "<img", "<table", "seed", "core_guard"):
        assert part in page, part
    assert "interrupted" not in page
    assert re.search(r"\d \([\d.]+–[\d.]+\)", page)  # mean and range over the seeds
    assert "<td>2</td>" in page or ">2<" in page
    for folder in folders(work):
        (run_file,) = list(folder.glob("wandb/offline-run-*/*.wandb"))[-1:]
        written = run_file.read_bytes()
        condition = "free" if "unfrozen" in folder.name else "frozen"
        assert b"sweep" in written
        assert condition.encode() in written


def test_a_resumed_or_second_job_gives_the_figures_of_a_run_alone(resumed, work):
    words = [word for word in BOTH if not word.startswith(("-m", "+experiment"))]
    run(work, "+experiment=recovery_frozen", "seed=1", *words, "hydra.run.dir=alone")
    alone, second = work / "alone", work / "sweep/1-recovery_frozen-core"
    assert Results.load(alone).perplexity == Results.load(second).perplexity
    assert Results.load(alone).data == Results.load(second).data
    assert (alone / "logs/metrics.csv").read_text() == (second / "logs/metrics.csv").read_text()
    a, b = (load_file(folder / "model/model.safetensors") for folder in (alone, second))
    assert all(torch.equal(a[name], b[name]) for name in a)
    run(work, "+experiment=recovery_unfrozen", "seed=1", *words, "hydra.run.dir=alone_free")
    assert Results.load(work / "alone_free").perplexity == Results.load(folders(work)[3]).perplexity


def test_another_configuration_in_the_same_folder_is_refused_and_the_rest_runs(resumed, work):
    kept = (folders(work)[0] / "results.json").read_bytes()
    more = [word.replace("seed=0,1", "seed=5,1") for word in SWEEP]
    done = run(work, *more, expect=1)
    told = r"error: \S+0-recovery_frozen-core holds a run with another configuration \(seed: 0 there, 5 here\)"
    assert len(re.findall(told, done.stderr)) == 1
    assert done.stderr.count("not run again") == 2
    assert (folders(work)[0] / "results.json").read_bytes() == kept
    assert "seed: 0\n" in (folders(work)[0] / ".hydra/config.yaml").read_text()
    assert "another configuration" in (folders(work)[0] / "error.txt").read_text()
    run(work, *SWEEP)
    assert not (folders(work)[0] / "error.txt").exists()


# --- failing


@pytest.mark.parametrize(
    "error", [MemoryError("no memory"), torch.OutOfMemoryError("CUDA out of memory"), KeyError("x")]
)
def test_a_job_that_fails_in_any_way_leaves_a_record_and_does_not_stop_the_rest(work, monkeypatch, error):
    def job(cfg):
        if cfg.seed == 0:
            raise error
        results = Results(cfg.paths.output, experiment=cfg.name, seed=cfg.seed, model={"name": "x"})
        results.status = "completed"
        results.write()
        return results

    monkeypatch.setattr(command, "run", job)
    name = f"failing_{type(error).__name__}"
    done = run(work, "-m", "+experiment=recovery_frozen", "seed=0,1", f"hydra.sweep.dir={name}", expect=1)
    first, second = (Results.load(path) for path in folders(work, name))
    assert (first.status, second.status) == ("failed", "completed")
    assert first.error == f"{type(error).__name__}: {error}"
    assert f"error: {first.error}" in done.stderr
    text = (first.folder / "error.txt").read_text()
    assert text.startswith("Traceback")
    assert "raise error" in text
    assert first.error in (work / name / "report.html").read_text().replace("&#39;", "'")
    alone = run(work, "+experiment=recovery_frozen", f"hydra.run.dir={name}_alone", expect=1)
    assert "raise error" in alone.stderr  # Hydra prints the traceback of a run of its own
    assert Results.load(work / f"{name}_alone").status == "failed"


def test_models_of_earlier_jobs_are_freed_those_of_failed_ones_too(work, monkeypatch):
    load, seen, alive = loading.load_model, [], []

    def watched(*args, **more):
        alive.append(sum(reference() is not None for reference in seen))
        model = load(*args, **more)
        seen.append(weakref.ref(model))
        return model

    gc.disable()  # nobody else collects the rings of a Trainer
    monkeypatch.setattr(loading, "load_model", watched)
    try:
        words = ["-m", "+experiment=recovery_frozen", *SHORT, "region=random", "hydra.sweep.dir=freed"]
        done = run(work, *words, "optimizer.lr=1e-3,1e30,2e-3", expect=1)
    finally:
        gc.enable()
    assert "lower optimizer.lr" in done.stderr
    assert alive == [0, 0, 0]
    assert [reference() for reference in seen] == [None] * 3
    assert [Results.load(path).status for path in folders(work, "freed")] == ["completed", "failed", "completed"]


# --- what counts as completed


def test_a_run_without_its_model_is_not_completed_and_is_made_by_the_same_command(work, monkeypatch):
    words = ["+experiment=recovery_unfrozen", *SHORT, "perturbation=none", "hydra.run.dir=unsaved"]
    words.append("+callbacks.diff._target_=lightning_langcore.WeightDiff")  # the start comes from the base's file

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loading, "save", full)
    assert "No space left" in run(work, *words, expect=1).stderr
    assert Results.load(work / "unsaved").status == "failed"
    monkeypatch.undo()
    run(work, *words)
    assert Results.load(work / "unsaved").status == "completed"
    assert (work / "unsaved" / "model" / "model.safetensors").is_file()


def test_a_sweeper_gets_the_number_that_the_objective_names(work):
    seen = "+hydra.callbacks.seen={_target_: tests.support.seen_by_sweeper.Seen, path: seen.txt}"
    run(
        work, "-m", "+experiment=recovery_frozen", *SHORT, "region=random", "seed=0,1", "hydra.sweep.dir=objective",
        "job.objective=nats_per_token/test", seen,
    )  # fmt: skip
    finals = [
        [
            row["nats_per_token"]
            for row in Results.load(f).perplexity
            if (row["stage"], row["split"]) == ("final", "test")
        ]
        for f in folders(work, "objective")
    ]
    returned = [float(line) for line in (work / "seen.txt").read_text().split()]
    assert returned == pytest.approx([sum(nats) / len(nats) for nats in finals])
    assert len(set(returned)) == 2
