"""Checkpoints that can not be written: the disk is full, and what torch makes of it."""

import errno
import resource
from traceback import StackSummary

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.distributed.checkpoint import CheckpointException

from lightning_langcore.training.checkpointing import StepCheckpoint
from lightning_langcore.utils.atomic_files import system_error
from tests.support.guarded_training import trained
from tests.support.training import Plain


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
