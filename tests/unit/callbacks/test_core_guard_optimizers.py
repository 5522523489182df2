"""The guard under every optimizer and precision, against a plain loop with dense masks."""

import copy
import sys
from functools import partial

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from lightning_langcore import ContinuedPretraining, CoreGuard
from tests.support.configs import settings_of
from tests.support.models import random_half, tiny_llama
from tests.support.plain_loop import plain_loop
from tests.support.training import blocks, fit, state_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BNB = ["adamw8bit", "paged_adamw8bit"]
OPTIMIZERS = ["adamw_fused", "adamw_fused_clipped", "sgd_momentum", *BNB]
HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
PRECISIONS = ["32-true", "bf16-true", *HALF]


def maker(name):
    """What makes the optimizer, and the norm to clip at."""
    if name in BNB:
        pytest.importorskip("bitsandbytes")
        settings = settings_of(f"optimizer={name}", "optimizer.lr=1e-2", "optimizer.weight_decay=0.5")
        return settings.optimizer.build.make(), None
    if name == "sgd_momentum":
        return partial(torch.optim.SGD, lr=1e-1, momentum=0.9, weight_decay=0.5), None
    build = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.5, fused=True)
    return build, 0.5 if name.endswith("clipped") else None


def wide_llama():
    """Its smallest matrix has 5184 weights: bitsandbytes keeps float32 moments below 4096."""
    return tiny_llama(hidden_size=72, intermediate_size=96)


def trained(name, precision, guard, model):
    """Six accumulated steps in Lightning; the trainer."""
    build, clip = maker(name)
    # on a CPU Lightning takes the word 16-mixed for bf16-mixed, but not the plugin
    how = {"plugins": [MixedPrecision(precision, DEVICE)]} if precision in HALF else {"precision": precision}
    more = {"accelerator": DEVICE, "accumulate_grad_batches": 2, "gradient_clip_val": clip, **how}
    return fit(ContinuedPretraining(model, build), blocks(12), [guard], **more)


def trained_by_hand(name, precision, region, model):
    """The same steps without Lightning and without the guard."""
    build, clip = maker(name)
    model.to(DEVICE, torch.bfloat16 if precision == "bf16-true" else torch.float32)
    how = {"autocast": HALF.get(precision), "scaled": precision == "16-mixed"}
    return plain_loop(model, build, blocks(12), region=region, accumulate=2, clip=clip, **how)


def num_changed(model, region, start):
    """Guarded weights whose bits are no longer those of the start."""
    count = 0
    for f, indices in region:
        now = model.get_parameter(f).detach().cpu()
        bits = torch.int16 if now.dtype == torch.bfloat16 else torch.int32
        count += int((now.view(bits) != start[f].to(now.dtype).view(bits)).flatten()[indices].sum())
    return count


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_bits_stay_and_all_else_equals_the_plain_loop(name, precision):
    model = wide_llama()
    start = copy.deepcopy(model.state_dict())
    region = random_half(model)
    reference = copy.deepcopy(model)
    trainer = trained(name, precision, CoreGuard(region), model)
    optimizer = trained_by_hand(name, precision, region, reference)
    assert num_changed(model, region, start) == 0
    for (key, mine), (_, theirs) in zip(model.named_parameters(), reference.named_parameters(), strict=True):
        assert mine.dtype == (torch.bfloat16 if precision == "bf16-true" else torch.float32)
        assert torch.equal(mine.cpu(), theirs.cpu()), key
        if mine.ndim > 1:
            assert not torch.equal(mine.cpu(), start[key].to(mine.dtype)), key  # the free half has moved
    for mine, theirs in zip(state_of(trainer.optimizers[0]), state_of(optimizer), strict=True):
        assert torch.equal(mine.cpu(), theirs.cpu())
    if name in BNB:
        states = [trainer.optimizers[0].state[p] for p in model.parameters() if p.ndim > 1]
        assert {s[key].dtype for s in states for key in ("state1", "state2")} == {torch.uint8}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zeroed_gradients_alone_freeze_under_none_of_them(name):
    model = wide_llama()
    start = copy.deepcopy(model.state_dict())
    region = random_half(model)
    guard = CoreGuard(region)
    guard.restore = lambda *_: None
    with pytest.warns(UserWarning, match="guarded weights have moved"):
        trained(name, "32-true", guard, model)
    assert num_changed(model, region, start) > len(region) / 2


def test_without_bitsandbytes_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match=r"AdamW8bit needs the package bitsandbytes, .* pip install bitsandbytes"):
        settings_of("optimizer=adamw8bit").optimizer.build.make()
