"""Running diffs against plain subtraction; attached, training is bit-identical."""

import copy
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_langcore import ContinuedPretraining, WeightDiff
from tests.support.models import tiny_llama
from tests.support.training import Plain, blocks, fit, loader

ADAMW = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1)


def test_training_with_it_is_bit_identical(tmp_path):
    model = tiny_llama(attention_dropout=0.1)
    plain, watched = (ContinuedPretraining(copy.deepcopy(model), ADAMW) for _ in range(2))
    pl.seed_everything(1)
    fit(plain, blocks(6), [])
    pl.seed_everything(1)
    diff = WeightDiff(2, snapshot_steps=[0, 3], dirpath=tmp_path, collect=tmp_path / "c.safetensors")
    fit(watched, blocks(6), [diff])
    for (name, a), (_, b) in zip(plain.named_parameters(), watched.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_means_equal_plain_subtraction():
    module = ContinuedPretraining(tiny_llama(), ADAMW)
    before = copy.deepcopy(dict(module.model.named_parameters()))
    diff = WeightDiff(every_n_steps=1)
    trainer = fit(module, blocks(3), [diff])
    after = dict(module.model.named_parameters())
    ups = [f"model.layers.{i}.mlp.up_proj.weight" for i in (0, 1)]
    changes = torch.cat([(after[n] - before[n]).detach().abs().flatten() for n in ups])
    relative = []
    for n in ups:
        scale = before[n].detach().abs()
        floor = 1e-3 * scale.pow(2).mean().sqrt()
        relative.append(((after[n] - before[n]).detach().abs() / scale.clamp(min=floor)).flatten())
    logged = trainer.callback_metrics
    assert float(logged["diff/mean_abs/up_proj"]) == pytest.approx(float(changes.mean()), rel=1e-5)
    assert float(logged["diff/relative/up_proj"]) == pytest.approx(float(torch.cat(relative).mean()), rel=1e-5)
    layer = [n for n in before if ".layers.1." in n]
    total = sum(float((after[n] - before[n]).detach().abs().sum()) for n in layer)
    total /= sum(before[n].numel() for n in layer)
    assert float(logged["diff/mean_abs/layer_1"]) == pytest.approx(total, rel=1e-5)


def test_what_is_collected_is_how_far_each_parameter_moved(tmp_path):
    for language, seed in (("zh", 0), ("ar", 1)):
        module = ContinuedPretraining(tiny_llama(), ADAMW)
        start = {n: p.detach().clone() for n, p in module.model.named_parameters()}
        file = tmp_path / "changes" / f"{language}.safetensors"
        fit(module, blocks(3, seed=seed), [WeightDiff(0, collect=file)])
        stored = load_file(file)
        expected = {f"{n}|change": (p.detach() - start[n]).abs() for n, p in module.model.named_parameters()}
        assert stored.keys() == expected.keys()
        assert all(torch.equal(stored[key], value) for key, value in expected.items())


def test_reference_on_disk_gives_the_same_as_the_copy_in_memory(tmp_path):
    model = tiny_llama()
    model.save_pretrained(tmp_path / "base")
    files = []
    for reference in (None, tmp_path / "base"):
        module = ContinuedPretraining(copy.deepcopy(model), ADAMW)
        file = tmp_path / f"{reference is None}.safetensors"
        fit(module, blocks(3), [WeightDiff(1, reference, collect=file)])
        files.append(load_file(file))
    assert files[0].keys() == files[1].keys()
    assert all(torch.equal(files[0][key], files[1][key]) for key in files[0])


def test_snapshots_hold_the_weights_of_their_step(tmp_path):
    module = ContinuedPretraining(tiny_llama(), ADAMW)
    start = {n: p.detach().clone() for n, p in module.model.named_parameters()}
    fit(module, blocks(4), [WeightDiff(0, snapshot_steps=[0, 4], dirpath=tmp_path)])
    first, last = load_file(tmp_path / "step_000000.safetensors"), load_file(tmp_path / "step_000004.safetensors")
    assert all(torch.equal(first[name], value) for name, value in start.items())
    assert all(torch.equal(last[n], p) for n, p in module.model.named_parameters())


def test_resumed_run_compares_with_the_first_start(tmp_path):
    batches = blocks(8)
    whole = WeightDiff(0)
    one = ContinuedPretraining(tiny_llama(), ADAMW)
    fit(one, batches, [whole], max_steps=8)
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=4)
    module = ContinuedPretraining(tiny_llama(), ADAMW)
    pl.Trainer(**Plain(tmp_path, max_steps=4), callbacks=[WeightDiff(0), checkpoint]).fit(module, loader(batches))
    resumed = WeightDiff(0)
    other = ContinuedPretraining(tiny_llama(seed=9), ADAMW)
    trainer = pl.Trainer(**Plain(tmp_path, max_steps=8), callbacks=[resumed])
    trainer.fit(other, loader(batches), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert resumed.means() == whole.means()


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must not be negative"):
        WeightDiff(-1)
    tiny_llama(hidden_size=48, intermediate_size=96).save_pretrained(tmp_path / "other")
    save_file({"unknown": torch.zeros(1)}, tmp_path / "unknown.safetensors")
    with pytest.raises(ValueError, match="holds no parameter of this model"):
        fit(ContinuedPretraining(tiny_llama(), ADAMW), blocks(1), [WeightDiff(0, tmp_path / "unknown.safetensors")])
    with pytest.raises(ValueError, match="has shape"):
        fit(ContinuedPretraining(tiny_llama(), ADAMW), blocks(1), [WeightDiff(0, tmp_path / "other")])
