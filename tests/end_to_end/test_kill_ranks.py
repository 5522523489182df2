"""Runs of two ranks that lose one, or are asked to end, go on by the same command and end equal to one that was not.

The ranks are processes of ``train.py`` on gloo; each strategy has one run that nobody stops, for all comparisons.
"""

import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from lightning_langcore.results.record import Results
from lightning_langcore.training import resume
from tests.support.commands import run_process
from tests.support.processes import ended, held, rank_of

CALLBACKS = {  # what looks at whole gradients can't under FSDP2
    "ddp": ["callbacks=[multilingual_perplexity,checkpoint,weight_diff,noise_sensitivity,core_guard]"],
    "fsdp2": [
        "callbacks=[multilingual_perplexity,checkpoint,weight_diff,core_guard]",
        "callbacks.weight_diff.reference=${paths.base}",
    ],
}


def words_of(trainer):
    return [
        "+experiment=recovery_frozen", *CALLBACKS[trainer], f"trainer={trainer}", "trainer.accelerator=cpu",
        "data.max_epochs=9", "data.batch_size=2", "data.num_tokens=9000", "data.eval_languages=[es]",
        "job.milestones=[0,20,60]", "trainer.log_every_n_steps=4", "callbacks.weight_diff.every_n_steps=6",
        "callbacks.weight_diff.region=${region.file}",
        "callbacks.checkpoint.every_n_train_steps=5",
    ]  # fmt: skip


@pytest.fixture(scope="module", params=["ddp", "fsdp2"])
def whole(work, request):
    """A run that nobody stops: strategy, folder, what it printed."""
    done = run_process(work, *words_of(request.param), f"hydra.run.dir=whole_{request.param}")
    return request.param, work / f"whole_{request.param}", done


def content_of(checkpoint, tmp_path):
    if not checkpoint.is_dir():
        return torch.load(checkpoint, weights_only=True)
    dcp_to_torch_save(checkpoint, tmp_path / "together.pt")
    rest = torch.load(checkpoint / "meta.pt", weights_only=True)
    return {**rest, "shards": torch.load(tmp_path / "together.pt", weights_only=True)}


def differing(one, other, name=""):
    """Names of what is not equal to the bit in two nested containers; paths apart."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one | other:
            if "dirpath" not in str(key):
                yield from differing(one.get(key), other.get(key), f"{name}.{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for i, pair in enumerate(zip(one, other, strict=True)):
            yield from differing(*pair, f"{name}[{i}]")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if not torch.equal(one, other):
            yield name
    elif type(one) is not type(other) or one != other:
        yield name


def assert_equal_runs(whole, other, tmp_path):
    a, b = Results.load(whole), Results.load(other)
    assert (a.status, b.status) == ("completed", "completed")
    for field in ("perplexity", "guard", "drift", "moved", "data", "monitor"):
        assert not list(differing(getattr(a, field), getattr(b, field), field))
    assert (a.guard["max_abs_drift"], len(a.drift)) == (0.0, 4)
    for file in ("perplexity.csv", "logs/metrics.csv"):
        assert (whole / file).read_text() == (other / file).read_text(), file
    a, b = (load_file(folder / "model/model.safetensors") for folder in (whole, other))
    assert not list(differing(a, b, "model"))
    last = [max(folder.glob("checkpoints/step=*.ckpt"), key=resume.step_of) for folder in (whole, other)]
    assert last[0].name == last[1].name
    a, b = (content_of(path, tmp_path) for path in last)
    assert "exp_avg" in repr(a)
    assert not list(differing(a, b))


def test_one_of_the_ranks_prints_the_table(whole):
    assert whole[2].stdout.count("perturbed") == 1


def test_asked_to_end_and_then_robbed_of_a_rank_it_ends_as_the_one_that_was_not(work, whole, tmp_path):
    """Under DDP the rank that Lightning started is killed; under FSDP2 the first, and the newest folder is damaged."""
    trainer, uninterrupted, _ = whole
    folder = work / f"stopped_{trainer}"
    words = [*words_of(trainer), f"hydra.run.dir={folder.name}"]
    with held(work, *words, after=6) as process:
        assert (folder / "checkpoints/step=5.ckpt").exists()
        process.send_signal(signal.SIGTERM)
    err = ended(process)
    assert process.returncode == 143, err
    assert "SIGTERM received: saved" in err
    assert "Traceback" not in err
    assert Results.load(folder).status == "interrupted"
    step = max(resume.step_of(path) for path in folder.glob("checkpoints/step=*.ckpt"))

    with held(work, *words, after=15) as process:
        assert (folder / "checkpoints/step=20.ckpt").exists()
        os.kill(process.pid if trainer == "fsdp2" else rank_of(process, 1), signal.SIGKILL)
    err = ended(process)
    assert process.returncode in (1, -signal.SIGKILL), err  # Lightning kills a first rank that has not ended in 5 s
    assert f"resuming after step {step}, from" in err
    assert "error: another rank has ended" in err or "terminated with code" in err
    assert "Traceback" not in err
    assert Results.load(folder).status in ("failed", "interrupted")

    passed_over = damaged(folder / "checkpoints") if trainer == "fsdp2" else []
    err = run_process(work, *words).stderr
    for path, reason in passed_over:
        assert f"skipped: {path} is no whole checkpoint ({reason}" in err
    assert "resuming after step" in err
    assert "waiting for another process" not in err
    assert_equal_runs(uninterrupted, folder, tmp_path)
    assert not list(folder.glob("checkpoints/.*"))


def damaged(checkpoints):
    """What a kill and a bad disk leave: half a folder, one whose shard is cut off, one without it; path and reason."""
    whole = max(checkpoints.glob("step=*.ckpt"), key=resume.step_of)
    half, cut, lost = (checkpoints / name for name in (".step=99.ckpt.part", "step=26.ckpt", "step=27.ckpt"))
    half.mkdir()
    (half / "__0_0.distcp").write_bytes(b"half")
    for folder in (cut, lost):
        shutil.copytree(whole, folder)
    shard = cut / "__1_0.distcp"
    shard.write_bytes(shard.read_bytes()[:-1])
    (lost / "__0_0.distcp").unlink()
    return [(cut, "__1_0.distcp is cut off"), (lost, "[Errno 2] No such file or directory")]
