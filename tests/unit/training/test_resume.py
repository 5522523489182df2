"""A training that stops and goes on: the checkpoint it starts from, the logger's rows, what is refused."""

import itertools
import random
from functools import partial
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from lightning_langcore import ContinuedPretraining
from lightning_langcore.data.evaluation_batches import EvalLoader
from lightning_langcore.training import resume
from lightning_langcore.training.csv_logger import CSVLog
from tests.support.guarded_training import StopAt, trained
from tests.support.models import tiny_llama
from tests.support.training import Plain, blocks, state_of


def test_the_last_two_are_kept_and_none_is_written_at_the_end(tmp_path):
    trained(tmp_path)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step=6.ckpt", "step=9.ckpt"}


def test_without_a_checkpoint_it_begins_at_the_beginning_and_with_one_after_it(tmp_path, capsys):
    whole, first = trained(tmp_path / "whole", wanted="auto")
    assert "going on" not in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="stopped"):
        trained(tmp_path / "part", callbacks=[StopAt(8)])
    other, second = trained(tmp_path / "part", wanted="auto")
    assert "resuming after step 6, from" in capsys.readouterr().err
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), other.parameters(), strict=True))
    for a, b in zip(state_of(first.optimizers[0]), state_of(second.optimizers[0]), strict=True):
        assert torch.equal(a, b)


class Draws(pl.Callback):
    """Keeps what each generator gives at each step."""

    def __init__(self):
        self.drawn = {}

    def on_train_batch_end(self, trainer, *_):
        numbers = (random.random(), float(np.random.random()), float(torch.rand(())))  # noqa: NPY002
        self.drawn[trainer.global_step] = numbers


def test_a_model_with_dropout_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    def dropped(folder, **more):
        draws = Draws()
        module, trainer = trained(
            folder, model=tiny_llama(attention_dropout=0.2), callbacks=[draws, *more.pop("callbacks", [])], **more
        )
        return draws, [*module.parameters(), *state_of(trainer.optimizers[0])]

    pl.seed_everything(3)
    whole, expected = dropped(tmp_path / "whole")
    pl.seed_everything(3)
    with pytest.raises(RuntimeError, match="stopped"):
        dropped(tmp_path / "part", callbacks=[StopAt(8)])
    pl.seed_everything(3)
    other, found = dropped(tmp_path / "part", wanted="auto")
    assert other.drawn == {step: whole.drawn[step] for step in range(7, 13)}
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_an_average_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    def averaged(folder, **more):
        average = pl.callbacks.EMAWeightAveraging(decay=0.8)
        return trained(folder, callbacks=[average, *more.pop("callbacks", [])], **more)[0]

    whole = averaged(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="stopped"):
        averaged(tmp_path / "part", callbacks=[StopAt(8)])
    other = averaged(tmp_path / "part", wanted="auto")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), other.parameters(), strict=True))


class EndAt(pl.Callback):
    """Ends the training at a hook of its choice, once."""

    def __init__(self, hook, batch):
        self.batch = batch
        setattr(self, hook, self._end)

    def _end(self, trainer, *_):
        if trainer.fit_loop.epoch_loop.total_batch_idx == self.batch:
            trainer.should_stop = True


@pytest.mark.parametrize(
    ("hook", "batch", "accumulated", "step"),
    [
        ("on_train_batch_start", 4, 1, 5),
        ("on_train_batch_end", 4, 1, 5),
        ("on_train_batch_end", 4, 2, 3),  # in the middle of the third step
        ("on_train_batch_end", 5, 2, 3),
        ("on_validation_end", 3, 1, 4),
        ("on_validation_end", 5, 2, 3),
        ("on_validation_end", 3, 3, 2),  # in the middle of the second step
    ],
)
def test_a_training_that_a_callback_ends_keeps_its_end_and_goes_on_from_it(tmp_path, hook, batch, accumulated, step):
    def ended(folder, **more):
        validated = {"val_check_interval": 2, "num_sanity_val_steps": 0, "check_val_every_n_epoch": None}
        more |= {"every": 99, "steps": 12 // accumulated, "accumulate_grad_batches": accumulated}
        return trained(folder, validation=EvalLoader(blocks(1, seed=4)), **validated, **more)

    whole, first = ended(tmp_path / "whole")
    _, stopped = ended(tmp_path / "part", callbacks=[EndAt(hook, batch)])
    assert stopped.global_step == step < stopped.max_steps
    assert [path.name for path in (tmp_path / "part/checkpoints").iterdir()] == [f"step={step}.ckpt"]
    other, second = ended(tmp_path / "part", wanted="auto")
    assert second.global_step == first.global_step
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), other.parameters(), strict=True))


def test_a_time_limit_counts_from_each_start(tmp_path, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    limited = {"max_time": {"seconds": 5}, "every": 99}
    steps = [trained(tmp_path, wanted="auto", **limited)[1].global_step for _ in range(2)]
    assert 0 < steps[0] < steps[1] < 12
    module, trainer = trained(tmp_path, wanted="auto")
    assert trainer.global_step == 12
    whole, _ = trained(tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), module.parameters(), strict=True))


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
    "weights only": ({"optimizer_states": None}, "lacks optimizer_states: training can't resume from it"),
    "region": ({"regions": {"CoreGuard core": "f" * 16}}, r"other regions .*\(CoreGuard core: f+ there, [0-9a-f]+ h"),
    "no guard": ({"regions": {}}, r"with other regions guarded or perturbed \(CoreGuard core: – there, [0-9a-f]+ here"),
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
