"""A run that is killed, or asked to end, and goes on by the same command ends equal to the one that was not."""

import os
import signal
import subprocess
import sys

import torch
from safetensors.torch import load_file

from lightning_langcore.results.record import Results
from lightning_langcore.training import resume
from tests.support.commands import run
from tests.support.processes import ended, held

ALL = "callbacks=[multilingual_perplexity,checkpoint,weight_diff,noise_sensitivity,core_guard]"
WORDS = [
    "+experiment=recovery_frozen", ALL, "data.max_epochs=9", "data.batch_size=2", "data.eval_languages=[es]",
    "job.milestones=[0,20,60]", "trainer.log_every_n_steps=4", "callbacks.weight_diff.every_n_steps=6",
    "callbacks.noise_sensitivity.threshold=0.5", "callbacks.noise_sensitivity.min_window=4",
    "callbacks.noise_sensitivity.window=6",
]  # fmt: skip
LONG = [*WORDS, "data.num_tokens=15000", "callbacks.checkpoint.every_n_train_steps=7"]
ADDED_UP = [
    *WORDS, "data.num_tokens=20000", "trainer.accumulate_grad_batches=4",
    "callbacks.checkpoint.every_n_train_steps=30",
]  # fmt: skip


def without_paths(value):
    if isinstance(value, dict):
        return {key: without_paths(each) for key, each in value.items() if "dirpath" not in str(key)}
    return value


def assert_same(one, other, name=""):
    """Nested containers equal to the bit."""
    assert type(one) is type(other), name
    if isinstance(one, dict):
        assert one.keys() == other.keys(), name
        for key in one:
            assert_same(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), name
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{name}[{i}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), name
    else:
        assert one == other, name


def assert_equal_runs(whole, other):
    a, b = Results.load(whole), Results.load(other)
    assert (a.status, b.status) == ("completed", "completed")
    for field in ("perplexity", "guard", "drift", "moved", "data", "monitor", "region"):
        mine, theirs = getattr(a, field), getattr(b, field)
        if field == "region":
            mine, theirs = ({k: v for k, v in each.items() if k != "file"} for each in (mine, theirs))
        assert mine == theirs, field
    for file in ("perplexity.csv", "logs/metrics.csv", "flagged.jsonl"):
        assert (whole / file).read_text() == (other / file).read_text(), file
    assert len((whole / "flagged.jsonl").read_text().splitlines()) > 3
    a, b = (load_file(folder / "model/model.safetensors") for folder in (whole, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    last = {folder: max(folder.glob("checkpoints/step=*.ckpt"), key=resume.step_of) for folder in (whole, other)}
    assert last[whole].name == last[other].name
    a, b = (torch.load(path, weights_only=True) for path in last.values())
    assert a["optimizer_states"][0]["state"]
    assert_same(without_paths(a), without_paths(b))


def test_a_killed_run_ends_as_the_one_that_was_not(work):
    run(work, *LONG, "hydra.run.dir=whole")
    killed = work / "killed"
    with held(work, *LONG, "hydra.run.dir=killed", after=23) as process:
        process.send_signal(signal.SIGKILL)
    ended(process)
    assert process.returncode == -signal.SIGKILL
    assert Results.load(killed).status == "interrupted"
    (killed / "checkpoints/.step=99.ckpt.part").write_bytes(b"half")  # as a kill leaves it while one is written
    newest = max(killed.glob("checkpoints/step=*.ckpt"), key=resume.step_of)
    newest.write_bytes(newest.read_bytes()[:-1000])
    done = run(work, *LONG, "hydra.run.dir=killed")
    assert f"skipped: {newest.absolute()} is no whole checkpoint" in done.stderr
    assert f"resuming after step {resume.step_of(newest) - 7}, from" in done.stderr
    assert_equal_runs(work / "whole", killed)
    assert not list(killed.glob("checkpoints/.*"))
    assert len(list(killed.glob("checkpoints/*"))) == 2


def test_a_completed_run_is_not_run_again_and_another_configuration_is_refused(work):
    kept = (work / "whole/results.json").read_bytes()
    done = run(work, *LONG, "hydra.run.dir=whole", "callbacks.checkpoint.save_top_k=3", "paths.artifacts=./artifacts")
    assert "completed: not run again" in done.stderr
    assert "perturbed" in done.stdout
    done = run(work, *LONG, "hydra.run.dir=whole", "optimizer.lr=2e-3", expect=1)
    assert "holds a run with another configuration (optimizer.lr: 0.001 there, 0.002 here)" in done.stderr
    assert "choose another folder" in done.stderr
    assert (work / "whole/results.json").read_bytes() == kept
    assert "lr: 0.001" in (work / "whole/.hydra/config.yaml").read_text()
    run(work, *LONG, "hydra.run.dir=wrong", "data.languages=[xx]", expect=1)
    run(work, *LONG, "hydra.run.dir=wrong", "data.num_tokens=500")  # nothing was reached there
    assert Results.load(work / "wrong").status == "completed"


def test_sigterm_saves_between_two_optimizer_steps_and_says_so(work):
    """With accumulated gradients, of which a checkpoint knows nothing."""
    run(work, *ADDED_UP, "hydra.run.dir=summed")
    asked = work / "asked"
    with held(work, *ADDED_UP, "hydra.run.dir=asked", after=4 * 20 + 2) as process:
        assert len((asked / "logs/metrics.csv").read_text().splitlines()) > 5
        process.send_signal(signal.SIGTERM)
    err = ended(process)
    assert process.returncode == 143, err
    assert "SIGTERM received: saved" in err
    assert "interrupted; what was reached is in" in err
    assert "Traceback" not in err
    assert Results.load(asked).status == "interrupted"
    (saved,) = (asked / "checkpoints").iterdir()
    assert 0 < resume.step_of(saved) < 30
    assert f"resuming after step {resume.step_of(saved)}" in run(work, *ADDED_UP, "hydra.run.dir=asked").stderr
    assert_equal_runs(work / "summed", asked)


def test_sigterm_before_training_leaves_a_record(work, monkeypatch):
    monkeypatch.setattr("lightning_langcore.cli.run.run", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    done = run(work, *WORDS, "hydra.run.dir=early", expect=143)
    assert "interrupted" in done.stderr
    assert Results.load(work / "early").status == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_rank_that_dies_is_one_sentence(work, monkeypatch):
    def lost(_):
        raise RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:28060. This is typically ...")

    monkeypatch.setattr("lightning_langcore.cli.run.run", lost)
    done = run(work, *WORDS, "hydra.run.dir=lost", expect=1)
    assert "error: another rank has ended ([pair.cc:553] Connection closed by peer" in done.stderr
    assert "goes on from the last checkpoint" in done.stderr
    assert "Traceback" not in done.stderr
    assert Results.load(work / "lost").status == "failed"


def test_another_process_in_the_folder_is_waited_for_and_named(work, monkeypatch):
    monkeypatch.setattr("lightning_langcore.jobs.process.run_folder.WAIT_SECONDS", 0.1)
    monkeypatch.setattr("lightning_langcore.cli.run.run", None)
    code = "import sys, filelock as f; a = f.FileLock(sys.argv[1]); a.acquire(); print(1, flush=True); sys.stdin.read()"
    (work / "held").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(work / "held/.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "1\n"
        done = run(work, *WORDS, "hydra.run.dir=held", expect=1)
        other.stdin.close()
    assert "waiting for another process that works in" in done.stderr
    assert "choose another hydra.run.dir" in done.stderr
