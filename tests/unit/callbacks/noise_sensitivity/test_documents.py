"""Documents that the monitor skips, names and counts, over epochs, restarts and ranks."""

import copy
import json

import lightning.pytorch as pl
import pytest
import torch

from lightning_langcore import ContinuedPretraining
from lightning_langcore.callbacks.noise_sensitivity.flag_log import FlagLog
from tests.support.models import tiny_llama
from tests.support.monitored import ADAMW, SGD, Monitor, Shares, assert_equal, lines, noisy, two_epochs
from tests.support.training import Plain, blocks, fit, loader, state_of


class Labels(ContinuedPretraining):
    """Keeps the labels of each batch."""

    seen = ()

    def training_step(self, batch, batch_idx):
        self.seen = (*self.seen, batch["shift_labels"].clone())
        return super().training_step(batch, batch_idx)


def test_a_skipped_document_stays_skipped_in_the_next_epoch(tmp_path):
    batches = noisy(6, (1, 4))
    batches[3]["documents"][1] = batches[1]["documents"][0]  # the same document in another row
    batches[4]["documents"][1] = batches[4]["documents"][0]  # nothing is left of this step
    original = copy.deepcopy(batches)
    module = Labels(tiny_llama(), ADAMW)
    monitor = Monitor("skip", dirpath=tmp_path)
    two_epochs([monitor], module, batches, tmp_path)
    assert [line["step"] for line in lines(tmp_path)] == [2, 5]  # masked rows are not flagged anew
    masked = [[i for i in range(2) if (labels[i] == -100).all()] for labels in module.seen]
    assert masked == [[], [], [], [1], [], [], [], [0], [], [1], [0, 1], []]
    assert monitor.summary()["num_masked_rows"] == 5
    assert monitor.summary()["num_skipped"] == 3
    for batch, before in zip(batches, original, strict=True):
        assert torch.equal(batch["shift_labels"], before["shift_labels"])
    reference = ContinuedPretraining(tiny_llama(), ADAMW)
    left = [
        {"input_ids": batches[i % 6]["input_ids"], "shift_labels": labels, "num_documents": torch.ones(2)}
        for i, labels in enumerate(module.seen)
        if i not in (1, 4, 10)
    ]
    fit(reference, left, [])
    assert_equal(module, reference)


def test_translations_share_a_key_but_are_not_one_document(tmp_path):
    batches = noisy(2, (0,))
    entry = {"source": "files", "language": "en", "document": "0-0"}
    batches[1]["documents"][0] = json.dumps([entry])
    monitor = Monitor("skip", dirpath=tmp_path)
    fit(ContinuedPretraining(tiny_llama(), SGD), batches, [monitor])
    assert monitor.summary()["num_masked_rows"] == 0


def test_resumed_equals_uninterrupted(tmp_path):
    batches = noisy(12, (2, 5, 9))
    batches[8]["documents"][0] = batches[2]["documents"][0]
    short = {"min_window": 4, "window": 6}  # so that windows decide too

    def run(folder, monitor_folder, max_steps, seed, **more):
        module = ContinuedPretraining(tiny_llama(seed), ADAMW)
        monitor = Monitor("skip", dirpath=monitor_folder, **short)
        save = pl.callbacks.ModelCheckpoint(folder, every_n_train_steps=8, save_top_k=-1)
        trainer = pl.Trainer(**Plain(folder, max_steps=max_steps), callbacks=[monitor, save])
        trainer.fit(module, loader(batches), **more)
        return module, monitor, trainer

    whole, one, trainer = run(tmp_path / "a", tmp_path / "a", 24, 0)
    run(tmp_path / "b", tmp_path / "b", 11, 0)  # crashed three steps after its last checkpoint
    assert [line["step"] for line in lines(tmp_path / "b")][-1] > 8
    (path,) = (tmp_path / "b").glob("*.ckpt")
    more = {"ckpt_path": path, "weights_only": True}
    resumed, two, again = run(tmp_path / "c", tmp_path / "b", 24, 1, **more)
    assert_equal(resumed, whole)
    for mine, theirs in zip(state_of(again.optimizers[0]), state_of(trainer.optimizers[0]), strict=True):
        assert torch.equal(mine, theirs)
    assert lines(tmp_path / "b") == lines(tmp_path / "a")
    assert {"grad_norm", "repetition"} <= {reason for line in lines(tmp_path / "a") for reason in line["reasons"]}
    assert two.summary() == one.summary()
    assert one.summary()["num_masked_rows"] > 3
    mine, theirs = two.state_dict(), one.state_dict()
    assert mine.pop("skipped") == theirs.pop("skipped")
    assert mine.pop("tally") == theirs.pop("tally")
    assert mine["judge"].pop("streak_reasons") == theirs["judge"].pop("streak_reasons")
    torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_other_settings_on_resume_start_their_windows_afresh(tmp_path):
    batches = noisy(12, ())
    save = pl.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=6, save_last=True)
    for window, step in ((20, 6), (30, 8)):
        monitor = Monitor(dirpath=tmp_path, window=window, min_window=4)
        trainer = pl.Trainer(**Plain(tmp_path, max_steps=step), callbacks=[monitor, save])
        module = ContinuedPretraining(tiny_llama(), SGD)
        if step == 6:
            trainer.fit(module, loader(batches))
        else:
            with pytest.warns(UserWarning, match="the checkpoint has other settings; afresh: loss, grad_norm"):
                trainer.fit(module, loader(batches), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert monitor.summary()["num_steps"] == 8


def test_counts_against_tags(tmp_path):
    batches = noisy(10, (2, 6))
    for i, row, tag in ((4, 0, "nonword:3"), (2, 1, None), (6, 0, "repeat:16")):
        more = {"source": "files", "language": "zh", "document": f"more-{i}-{row}"}
        entries = [more, *json.loads(batches[i]["documents"][row])]
        entries[0] |= {} if tag is None else {"tag": tag}
        batches[i]["documents"][row] = json.dumps(entries)
    batches[8]["input_ids"][1] = batches[8]["shift_labels"][1] = 9  # nobody knows of this noise
    monitor = Monitor(dirpath=tmp_path)
    fit(ContinuedPretraining(tiny_llama(), SGD), batches, [monitor])
    assert monitor.summary() == {
        "num_steps": 10, "num_flagged": 3, "num_skipped": 0, "num_masked_rows": 0, "num_clean_steps": 7,
        "num_false_alarms": 1, "num_tagged": 4, "num_caught": 3, "precision": 1 - 1 / 3, "recall": 0.75,
    }  # fmt: skip


def test_a_line_tells_documents_and_heads_of_the_rows_that_are_flagged(tmp_path, tokenizer):
    batches = noisy(3, (1,))
    batches[2]["input_ids"][1] = batches[2]["shift_labels"][1] = 8
    batches[2]["documents"][1] = "a plain name"
    monitor = Monitor("skip", dirpath=tmp_path / "new", tokenizer=tokenizer)
    fit(ContinuedPretraining(tiny_llama(), SGD), batches, [monitor])
    first, second = lines(tmp_path / "new")
    assert first["documents"] == [{"source": "files", "language": "zh", "document": "1-0", "tag": "repeat:16"}]
    assert first["heads"] == [tokenizer.decode([7] * 16)]
    assert first["reasons"] == {"repetition": 16.0}
    assert set(first["signals"]) == {"loss", "grad_norm", "repetition", "unseen_pairs", "surprise"}
    assert second["documents"] == ["a plain name"]
    long = blocks(1, size=200, rows=1)
    long[0]["input_ids"][0] = 40
    FlagLog(tmp_path / "new" / "flagged.jsonl", 0)
    fit(ContinuedPretraining(tiny_llama(), SGD), long, [monitor])
    assert lines(tmp_path / "new")[0]["heads"] == [tokenizer.decode([40] * 80)[:80]]


def test_a_file_keeps_whole_lines_up_to_the_resumed_step(tmp_path):
    path = tmp_path / "flagged.jsonl"
    path.write_text('{"step": 3}\n{"step": 8}\n{"step": 9}\n{"st')
    FlagLog(path, 8)
    assert path.read_text() == '{"step": 3}\n{"step": 8}\n'
    path.write_text("something else\n")
    with pytest.raises(ValueError, match=r"flagged.jsonl, line 1, is no flagged step"):
        FlagLog(path, 8)


class Both(pl.Callback):
    """Each rank writes its weights down."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_end(self, trainer, pl_module):
        torch.save(pl_module.state_dict(), self.folder / f"{trainer.global_rank}.pt")


def test_two_ranks_decide_alike_from_what_both_saw(tmp_path):
    batches = noisy(16, (5, 12), rows=2)
    batches[5]["input_ids"][[0, 1]] = batches[5]["input_ids"][[1, 0]]  # rank 1 has the noise of step 6, rank 0 of 13
    batches[5]["shift_labels"][[0, 1]] = batches[5]["shift_labels"][[1, 0]]
    batches[5]["documents"].reverse()

    def run(folder, max_steps, **more):
        monitor = Monitor("skip", dirpath=folder)
        save = pl.callbacks.ModelCheckpoint(folder, every_n_train_steps=8, save_top_k=-1)
        arguments = {"devices": 2, "strategy": "ddp_fork", "max_steps": max_steps, "use_distributed_sampler": False}
        trainer = pl.Trainer(**Plain(folder, **arguments), callbacks=[monitor, save, Both(folder)])
        module = Shares(tiny_llama(), SGD)
        module.batches = batches
        trainer.fit(module, **more)

    run(tmp_path / "two", 32)
    first, second = (torch.load(tmp_path / "two" / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first[name], value) for name, value in second.items())
    one = Monitor("skip", dirpath=tmp_path / "one")
    two_epochs([one], ContinuedPretraining(tiny_llama(), SGD), batches, tmp_path / "one")
    found, expected = lines(tmp_path / "two"), lines(tmp_path / "one")
    assert [line["step"] for line in found] == [line["step"] for line in expected] == [6, 13]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["documents"] == theirs["documents"]
        assert mine["heads"] == theirs["heads"]
        assert mine["signals"] == pytest.approx(theirs["signals"], rel=1e-4)
    path = next((tmp_path / "two").glob("*step=8.ckpt"))
    checkpoint = torch.load(path, weights_only=True)
    state = checkpoint["callbacks"]["NoiseSensitivity"]
    half, module = Monitor("skip", dirpath=tmp_path / "half"), ContinuedPretraining(tiny_llama(), SGD)
    two_epochs([half], module, batches, tmp_path / "half", max_steps=8)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(checkpoint["state_dict"][name], value, rtol=1e-4, atol=1e-6)
    mine, theirs = state["judge"]["text"], half.state_dict()["judge"]["text"]
    assert torch.equal(mine["pairs"], theirs["pairs"])
    torch.testing.assert_close(mine["costs"], theirs["costs"], rtol=1e-4, atol=1e-4)
    assert state["tally"] == half.state_dict()["tally"]
    assert state["skipped"] == half.state_dict()["skipped"] == ["files/zh/5-0"]
