"""The monitor's actions against plain loops that leave steps out, and against everything it must not disturb."""

import copy
from functools import partial

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from lightning_langcore import ContinuedPretraining, CoreGuard
from lightning_langcore.callbacks.noise_sensitivity.callback import NoiseSensitivity
from tests.support.models import random_half, tiny_llama
from tests.support.monitored import ADAMW, SGD, Monitor, assert_equal, lines, noisy
from tests.support.plain_loop import plain_loop
from tests.support.training import ClipBlocks, fit, state_of


@pytest.mark.parametrize("action", ["log", "skip"])
def test_attached_and_silent_training_is_bit_identical(tmp_path, action):
    model = tiny_llama(attention_dropout=0.1)
    states = []
    for watched in (False, True):
        module = ContinuedPretraining(copy.deepcopy(model), ADAMW, "cosine")
        monitor = NoiseSensitivity(action, dirpath=tmp_path, adam_every_n_steps=2, region=random_half(model))
        pl.seed_everything(1)
        batches = noisy(40, (), rows=2)
        more = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5, "max_steps": 20}
        trainer = fit(module, batches, [monitor] if watched else [], **more)
        states.append([*module.parameters(), *state_of(trainer.optimizers[0])])
    assert monitor.summary()["num_steps"] == 20
    assert lines(tmp_path) == []
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


@pytest.mark.parametrize("make_optimizer", [ADAMW, SGD, partial(ADAMW, fused=True)])
@pytest.mark.parametrize(("accumulate", "clip"), [(1, None), (2, 0.5)])
def test_a_skipped_step_was_never_made(tmp_path, make_optimizer, accumulate, clip):
    model = tiny_llama()
    reference = copy.deepcopy(model)
    bad = {2: 1, 9: 4, 11: 5} if accumulate == 2 else {0: 0, 5: 5}  # the first step too
    batches = noisy(12, bad)
    module = ContinuedPretraining(model, make_optimizer)
    monitor = Monitor("skip", dirpath=tmp_path)
    trainer = fit(module, batches, [monitor], accumulate_grad_batches=accumulate, gradient_clip_val=clip)
    optimizer = plain_loop(
        reference, make_optimizer, batches, accumulate=accumulate, clip=clip, leave_out=set(bad.values())
    )
    assert_equal(model, reference)
    for mine, theirs in zip(state_of(trainer.optimizers[0]), state_of(optimizer), strict=True):
        assert torch.equal(mine, theirs)
    assert trainer.global_step == 12 // accumulate
    assert [line["step"] - 1 for line in lines(tmp_path)] == sorted(bad.values())
    assert [d["document"] for line in lines(tmp_path) for d in line["documents"]] == [f"{i}-0" for i in bad]


def test_the_schedule_goes_on_over_a_skipped_step(tmp_path):
    rates = []
    for bad in ((), (3,)):
        module = ContinuedPretraining(tiny_llama(), SGD, "cosine", num_warmup_steps=2)
        trainer = fit(module, noisy(8, bad), [Monitor("skip", dirpath=tmp_path)], max_steps=8, max_epochs=-1)
        rates.append((trainer.global_step, trainer.lr_scheduler_configs[0].scheduler.last_epoch))
    assert rates == [(8, 8), (8, 8)]


def test_clip_scales_down_to_the_mean_norm_of_the_accepted_steps(tmp_path):
    class Norms(pl.Callback):
        seen = ()

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            norm = torch.nn.utils.get_total_norm([p.grad for p in pl_module.parameters() if p.grad is not None])
            self.seen = (*self.seen, float(norm))

    module = ClipBlocks(tiny_llama(), partial(torch.optim.SGD, lr=0.0))
    batches, norms = noisy(6, (5,)), Norms()
    fit(module, batches, [norms, Monitor("clip", dirpath=tmp_path)], gradient_clip_val=1.0)
    assert norms.seen[5] > np.mean(norms.seen[:5])
    assert module.norm == pytest.approx(np.mean(norms.seen[:5]), rel=1e-4)
    assert [(line["step"], line["action"]) for line in lines(tmp_path)] == [(6, "clip")]


class Fainter(ClipBlocks):
    """The last batch counts for little."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (0.01 if batch_idx == 5 else 1.0)


def test_clip_never_scales_up(tmp_path):
    norms = []
    for bad in ((), (5,)):
        module = Fainter(tiny_llama(), partial(torch.optim.SGD, lr=0.0))
        batches = noisy(6, bad)
        batches[5] = noisy(6, (5,))[5]
        monitor = Monitor("clip" if bad else "log", dirpath=tmp_path)
        fit(module, batches, [monitor], gradient_clip_val=1.0)
        norms.append(module.norm)
        assert monitor.summary()["num_flagged"] == 1
    assert norms[0] == norms[1]


def test_clip_skips_where_nothing_is_usual_yet(tmp_path):
    model = tiny_llama()
    module = ContinuedPretraining(copy.deepcopy(model), ADAMW)
    fit(module, noisy(1, (0,)), [Monitor("clip", dirpath=tmp_path)])
    assert_equal(module.model, model)
    assert [line["action"] for line in lines(tmp_path)] == ["skip"]


def test_stop_ends_training_with_the_weights_before_the_step(tmp_path):
    model = tiny_llama()
    reference = copy.deepcopy(model)
    batches = noisy(8, (3,))
    module = ContinuedPretraining(model, ADAMW)
    with pytest.warns(UserWarning, match=r"training ends before step 4, which is flagged: repetition"):
        trainer = fit(module, batches, [Monitor("stop", dirpath=tmp_path)])
    plain_loop(reference, ADAMW, batches[:3])
    assert_equal(model, reference)
    assert trainer.global_step == 4


def test_a_guard_behind_the_monitor_works_and_one_before_it_is_refused(tmp_path):
    model, batches = tiny_llama(), noisy(8, (0, 5))
    region = random_half(model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    module = ContinuedPretraining(model, ADAMW)
    guard, monitor = CoreGuard(region), Monitor("skip", dirpath=tmp_path, region=region)
    fit(module, batches, [monitor, guard], gradient_clip_val=0.5)
    clean = ContinuedPretraining(tiny_llama(), ADAMW)
    fit(clean, [b for i, b in enumerate(batches) if i not in (0, 5)], [CoreGuard(region)], gradient_clip_val=0.5)
    assert_equal(module, clean)
    for name, idx in region:
        assert torch.equal(dict(model.named_parameters())[name].view(-1)[idx], before[name].view(-1)[idx])
    with pytest.raises(ValueError, match="put NoiseSensitivity before CoreGuard"):
        fit(module, batches, [guard, monitor])
