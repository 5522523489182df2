"""Callbacks and statistics on a mixture of experts, whose experts share parameters in memory, against its files."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from lightning_langcore import (
    ContinuedPretraining,
    CoreGuard,
    NoiseSensitivity,
    Region,
    WeightDiff,
    candidates,
    named_shapes,
    random_region,
)
from lightning_langcore.callbacks.noise_sensitivity.gradient_watch import GradientWatch
from lightning_langcore.importance.recording import record
from lightning_langcore.metrics.functional import next_token_mean
from tests.support.architectures import small_model
from tests.support.training import blocks, fit

ADAMW = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.5)
GRADIENTS = ("gradient_sum", "gradient_abs", "gradient_square")


def files_of(model, folder):
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("from_file", [True, False])
def test_guarded_weights_of_experts_keep_their_bits_and_all_changes_are_collected(tmp_path, from_file):
    model = small_model("mixtral")
    before = files_of(model, tmp_path / "base")
    region = random_region(candidates(named_shapes(model)), 0.3, 0)
    loaded = Region.load(region.save(tmp_path / "region.safetensors"))
    module = ContinuedPretraining(model, ADAMW)
    guard = CoreGuard(loaded)
    reference = tmp_path / "base" if from_file else None
    diff = WeightDiff(1, reference, collect=tmp_path / "changes.safetensors", region=loaded)
    monitor = NoiseSensitivity("log", dirpath=tmp_path, region=loaded, signals=("core_share",))
    fit(module, blocks(4), [monitor, guard, diff], gradient_clip_val=0.5)
    after = files_of(model, tmp_path / "trained")
    assert guard.drift() == 0.0
    assert before.keys() == after.keys()
    for name, idx in region:
        assert torch.equal(after[name].view(-1)[idx], before[name].view(-1)[idx]), name
        free = torch.ones(after[name].numel(), dtype=torch.bool)
        free[idx] = False
        assert bool((after[name].view(-1)[free] != before[name].view(-1)[free]).all()), name
    collected = load_file(tmp_path / "changes.safetensors")
    assert collected.keys() == {f"{name}|change" for name in before}
    assert all(torch.equal(collected[f"{n}|change"], (after[n] - before[n]).abs()) for n in before)


def test_gradients_of_experts_are_slices_of_the_gradient_that_they_share(tmp_path):
    model = small_model("mixtral")
    batches = [{key: batch[key] for key in ("input_ids", "shift_labels")} for batch in blocks(3)]
    shapes = candidates(named_shapes(model))
    record(model, batches, shapes, GRADIENTS, tmp_path / "whole.safetensors", limit=1 << 40)
    record(model, batches, shapes, GRADIENTS, tmp_path / "groups.safetensors", limit=20_000)
    whole, groups = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "groups"))
    total = {"gate_up_proj": 0.0, "down_proj": 0.0}
    model.eval()
    for batch in batches:
        model.zero_grad()
        next_token_mean(model(input_ids=batch["input_ids"]).logits, batch["shift_labels"]).backward()
        for name, value in total.items():
            total[name] = value + getattr(model.model.layers[1].mlp.experts, name).grad
    for expert in range(3):
        first, last = total["gate_up_proj"][expert].abs().chunk(2)
        for part, expected in (("w1", first), ("w3", last), ("w2", total["down_proj"][expert].abs())):
            name = f"model.layers.1.block_sparse_moe.experts.{expert}.{part}.weight|gradient_sum"
            torch.testing.assert_close(whole[name], expected, rtol=1e-3, atol=1e-7)
            torch.testing.assert_close(groups[name], expected, rtol=1e-3, atol=1e-7)
    assert groups.keys() == whole.keys()


def test_the_share_of_the_gradients_counts_the_candidates_alone():
    model = small_model("mixtral")
    names = [f"model.layers.0.block_sparse_moe.experts.1.w{part}.weight" for part in (1, 2)]
    shapes = {name: named_shapes(model)[name] for name in [*names, "model.layers.0.self_attn.q_proj.weight"]}
    region = random_region(shapes, 0.2, 0)
    optimizer = torch.optim.SGD(model.parameters())
    batch = blocks(1)[0]
    next_token_mean(model(input_ids=batch["input_ids"]).logits, batch["shift_labels"]).backward()
    watch = GradientWatch(model, region, 0)
    found = watch.read({key: float(value) for key, value in watch.measure(optimizer, 1).items()}, 1.0)
    experts, layer = model.model.layers[0].mlp.experts, model.model.layers[0]
    gradients = [experts.gate_up_proj.grad[1, :24], experts.down_proj.grad[1], layer.self_attn.q_proj.weight.grad]
    by_name = dict(zip(shapes, gradients, strict=True))
    inside = sum(float(by_name[name].double().reshape(-1)[idx].square().sum()) for name, idx in region)
    every = sum(float(gradient.double().square().sum()) for gradient in gradients)
    assert abs(found.core_share - inside / every / region.fraction) < 1e-5 * found.core_share
