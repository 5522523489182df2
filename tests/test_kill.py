"""A run that is killed, or asked to end, and goes on by the same command ends equal to the one that was not."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from traceback import StackSummary

import lightning.pytorch as pl
import pytest
import torch
from cli_helpers import ROOT, environment, run, words_for, write_samples
from helpers import Plain, blocks, loader, random_half, state_of, tiny_llama
from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors.torch import load_file
from torch.distributed.checkpoint import CheckpointException

from lightning_langcore import ContinuedPretraining, CoreGuard
from lightning_langcore.results.record import Results
from lightning_langcore.training import resume
from lightning_langcore.training.checkpointing import StepCheckpoint
from lightning_langcore.training.csv_logger import CSVLog
from lightning_langcore.utils.atomic_files import system_error

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


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    write_samples(folder)
    return folder


def started(work, name, words):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words_for(work, *words), f"hydra.run.dir={name}"],
        cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def wait_for(process, happened):
    deadline = time.monotonic() + 200
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


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
    process = started(work, "killed", LONG)
    wait_for(process, (killed / "checkpoints/step=21.ckpt").exists)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert Results.load(killed).status == "interrupted"
    (killed / "checkpoints/.step=99.ckpt.part").write_bytes(b"half")  # as a kill leaves it while one is written
    newest = max(killed.glob("checkpoints/step=*.ckpt"), key=resume.step_of)
    newest.write_bytes(newest.read_bytes()[:-1000])
    done = run(work, *LONG, "hydra.run.dir=killed")
    assert f"passed over: {newest.absolute()} is no whole checkpoint" in done.stderr
    assert f"going on after step {resume.step_of(newest) - 7}, from" in done.stderr
    assert_equal_runs(work / "whole", killed)
    assert not list(killed.glob("checkpoints/.*"))
    assert len(list(killed.glob("checkpoints/*"))) == 2


def test_a_completed_run_is_not_run_again_and_another_configuration_is_refused(work):
    kept = (work / "whole/results.json").read_bytes()
    done = run(work, *LONG, "hydra.run.dir=whole", "callbacks.checkpoint.save_top_k=3", "paths.artifacts=./artifacts")
    assert "completed: not run again" in done.stderr
    assert "damaged" in done.stdout
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
    process = started(work, "asked", ADDED_UP)
    wait_for(process, lambda: len(lines(asked / "logs/metrics.csv")) > 5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "asked to end (SIGTERM): saved" in err
    assert "interrupted; what was reached is in" in err
    assert "Traceback" not in err
    assert Results.load(asked).status == "interrupted"
    (saved,) = (asked / "checkpoints").iterdir()
    assert 0 < resume.step_of(saved) < 30
    assert f"going on after step {resume.step_of(saved)}" in run(work, *ADDED_UP, "hydra.run.dir=asked").stderr
    assert_equal_runs(work / "summed", asked)


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


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


# --- the parts by themselves


def trained(folder, *, steps=12, wanted=None, every=3, region=None, settings=None, logger=None, **more):
    """A guarded training of 12 batches with AdamW; module and trainer."""
    module = ContinuedPretraining(tiny_llama(), partial(torch.optim.AdamW, lr=1e-2), "cosine")
    region = random_half(module) if region is None else region
    callbacks = [
        resume.RunFingerprint(settings or {"lr": 1}),
        CoreGuard(region),
        StepCheckpoint(folder / "checkpoints", every),
    ]
    callbacks += more.pop("callbacks", [])
    kept = Plain(folder, **{"max_epochs": -1, "max_steps": steps, **({"logger": logger} if logger else {}), **more})
    trainer = pl.Trainer(**kept, callbacks=callbacks)
    start = resume.choose(trainer, module, wanted)
    trainer.fit(module, loader(blocks(12)), ckpt_path=start, weights_only=True)
    return module, trainer


class StopAt(pl.Callback):
    """As Ctrl-C, or a kill, before a checkpoint of that step could be written."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise RuntimeError("stopped")


def test_the_last_two_are_kept_and_none_is_written_at_the_end(tmp_path):
    trained(tmp_path)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step=6.ckpt", "step=9.ckpt"}


def test_without_a_checkpoint_it_begins_at_the_beginning_and_with_one_after_it(tmp_path, capsys):
    whole, first = trained(tmp_path / "whole", wanted="auto")
    assert "going on" not in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="stopped"):
        trained(tmp_path / "part", callbacks=[StopAt(8)])
    other, second = trained(tmp_path / "part", wanted="auto")
    assert "going on after step 6, from" in capsys.readouterr().err
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), other.parameters(), strict=True))
    for a, b in zip(state_of(first.optimizers[0]), state_of(second.optimizers[0]), strict=True):
        assert torch.equal(a, b)


def test_rows_of_the_logger_neither_repeat_nor_are_lost(tmp_path):
    """Killed in the moment after a checkpoint, before Lightning logs that step."""

    class Rare(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            if trainer.global_step == 2:
                pl_module.log("rare", 7.0)

    def logger(folder):
        return CSVLog(folder, "logs", "")

    trained(tmp_path / "whole", logger=logger(tmp_path / "whole"), callbacks=[Rare()])
    part = tmp_path / "part"
    with pytest.raises(RuntimeError, match="stopped"):
        trained(part, logger=logger(part), callbacks=[Rare(), StopAt(5)])
    text = (part / "logs/metrics.csv").read_text().splitlines(keepends=True)
    (part / "logs/metrics.csv").write_text("".join(text[:3]) + text[3] * 2 + "0,1.2")  # rows of later, one torn off
    trained(part, wanted="auto", logger=logger(part), callbacks=[Rare()])
    whole = (tmp_path / "whole/logs/metrics.csv").read_text()
    assert (part / "logs/metrics.csv").read_text() == whole
    assert len(whole.splitlines()) == 13
    trained(part, logger=logger(part))  # a new run in the same place begins a new file
    assert len((part / "logs/metrics.csv").read_text().splitlines()) == 13


def test_a_disk_that_fills_leaves_the_checkpoint_before(tmp_path):
    class Full(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 4:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match="too large"):
            trained(tmp_path, callbacks=[Full()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step=3.ckpt"}
    trained(tmp_path, wanted="auto")


class FullOnce:
    """A file on a disk that is full for one write."""

    def __init__(self, file):
        self.file = file
        self.writes = 0

    def write(self, data):
        self.writes += 1
        if self.writes == 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_behind_an_error_of_torch_is_named(tmp_path, monkeypatch):
    save = torch.save
    monkeypatch.setattr(
        "lightning_langcore.training.checkpointing.torch.save", lambda state, file: save(state, FullOnce(file))
    )
    with pytest.raises(OSError, match=r"No space left on device: '.*step=3.ckpt'") as caught:
        trained(tmp_path)
    assert "unexpected pos" in str(caught.value.__cause__)  # what torch makes of it
    assert not list((tmp_path / "checkpoints").iterdir())


FULL = OSError(errno.ENOSPC, "No space left on device")
ERRORS = {
    "FSDP2": (
        CheckpointException("", {1: (FULL, StackSummary())}),
        OSError,
        r"No space left on device: '.*step=3.ckpt'",
    ),
    "torch": (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected"), OSError, "step=3.ckpt: .enforce"),
    "a bug": (CheckpointException("", {0: (KeyError("x"), StackSummary())}), KeyError, "x"),
    "other": (RuntimeError("Connection closed by peer"), RuntimeError, "^Connection closed by peer$"),
    "end": (SIGTERMException(), SIGTERMException, "^$"),
    "stop": (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
}


@pytest.mark.parametrize("what", ERRORS)
def test_what_keeps_a_checkpoint_from_being_written_is_told_as_it_is(tmp_path, monkeypatch, what):
    error, kind, text = ERRORS[what]

    def fail(trainer, path, **_):
        path.write_bytes(b"half")
        raise error

    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setattr(pl.Trainer, "save_checkpoint", fail)
    trainer = pl.Trainer(**Plain(tmp_path))
    with pytest.raises(kind, match=text):
        StepCheckpoint(tmp_path / "checkpoints")._save(trainer, 3)
    assert not list((tmp_path / "checkpoints").iterdir())


def edited(path, **changes):
    state = torch.load(path, weights_only=True)
    stamp = state["langcore"] | {k: v for k, v in changes.items() if k in state["langcore"]}
    state["langcore"] = {k: v for k, v in stamp.items() if v is not None}
    state = {k: v for k, v in state.items() if changes.get(k, v) is not None}
    torch.save(state, path)


REFUSED = {
    "strategy": ({"strategy": "fsdp2 on 2 ranks"}, "was written with fsdp2 on 2 ranks, and this run has one device"),
    "version": ({"format": 0}, r"another version of lightning-langcore.*\(checkpoint format 0, here 2\)"),
    "program": ({"langcore": None}, "or another program"),
    "weights only": ({"optimizer_states": None}, "lacks optimizer_states: training can't go on from it"),
    "region": ({"regions": {"CoreGuard core": "f" * 16}}, r"other regions .*\(CoreGuard core: f+ there, [0-9a-f]+ h"),
    "no guard": ({"regions": {}}, r"with other regions guarded or damaged \(CoreGuard core: – there, [0-9a-f]+ here"),
    "damage": ({"regions": {"damage": "f" * 16}}, r"with other regions .*damage: f+ there, – here"),
    "no settings": ({"settings": None}, "another version of lightning-langcore, or another program"),
    "settings": ({"settings": {"lr": 2}}, r"with other settings \(lr: 2 there, 1 here\)"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    trained(folder, steps=5)
    return folder / "checkpoints/step=3.ckpt"


@pytest.mark.parametrize("what", REFUSED)
def test_a_checkpoint_of_another_run_is_refused_in_a_sentence(checkpoint, tmp_path, what):
    changes, message = REFUSED[what]
    (tmp_path / "c.ckpt").write_bytes(checkpoint.read_bytes())
    edited(tmp_path / "c.ckpt", **changes)
    with pytest.raises(ValueError, match=message):
        trained(tmp_path, wanted=str(tmp_path / "c.ckpt"))


def test_a_checkpoint_that_holds_another_model_or_is_of_the_end_is_refused(checkpoint, tmp_path):
    trainer = pl.Trainer(**Plain(tmp_path), callbacks=[resume.RunFingerprint({"lr": 1})], max_steps=12)
    other = ContinuedPretraining(tiny_llama(intermediate_size=80), partial(torch.optim.AdamW))
    edited(checkpoint, regions={})
    with pytest.raises(
        ValueError, match=r"holds another model \(.*gate_proj.weight: \(64, 32\) there, \(80, 32\) here"
    ):
        resume.choose(trainer, other, str(checkpoint))
    trainer.fit_loop.epoch_loop.max_steps = 3
    with pytest.raises(ValueError, match="is of step 3, the last of this run"):
        resume.choose(trainer, ContinuedPretraining(tiny_llama(), partial(torch.optim.AdamW)), str(checkpoint))


def test_a_folder_of_shards_says_what_it_lacks_and_who_wrote_it(checkpoint, tmp_path):
    """Half a folder, as FSDP2 leaves one that is killed, and a whole one for a run on one device."""
    shards = tmp_path / "step=3.ckpt"
    shards.mkdir()
    state = torch.load(checkpoint, weights_only=True)
    state["langcore"]["strategy"] = "fsdp2 on 2 ranks"
    torch.save({k: v for k, v in state.items() if k not in ("state_dict", "optimizer_states")}, shards / "meta.pt")
    with pytest.raises(ValueError, match=r"step=3.ckpt is no whole checkpoint \(no .metadata in it\)"):
        trained(tmp_path, wanted=str(shards))
    (shards / ".metadata").touch()
    with pytest.raises(ValueError, match="was written with fsdp2 on 2 ranks, and this run has one device"):
        trained(tmp_path, wanted=str(shards))


def test_the_systems_error_is_found_behind_others_and_in_a_circle_none():
    full, wrapper, again = OSError(28, "No space left on device"), RuntimeError("writer"), ValueError("refused")
    wrapper.__context__ = full
    assert system_error(wrapper) is full
    again.__cause__, wrapper.__context__ = wrapper, again
    assert system_error(again) is None
    again.__cause__, again.__context__, again.__suppress_context__ = None, full, True  # raised from None
    assert system_error(again) is None


@pytest.mark.parametrize("bad", [{"every_n_train_steps": 0}, {"save_top_k": 0}, {"save_top_k": -2}])
def test_bad_arguments(tmp_path, bad):
    with pytest.raises(ValueError, match=rf"callbacks.checkpoint.{next(iter(bad))}={next(iter(bad.values()))} must be"):
        StepCheckpoint(tmp_path, **bad)
