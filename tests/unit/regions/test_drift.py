"""How far a region moved against the rest, by a plain reference, and what the callback says of it."""

import numpy as np
import pytest
import torch

from lightning_langcore import ContinuedPretraining, CoreGuard, Region, WeightDiff
from lightning_langcore.models.parameters import saved_parameters
from lightning_langcore.regions.drift import drift
from tests.support.models import random_half, tiny_llama
from tests.support.training import blocks, fit

NAMES = ("model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.q_proj.weight")


def adamw(groups):
    return torch.optim.AdamW(groups, lr=1e-2)


def test_means_are_over_weights_and_lines_are_the_largest():
    generator = torch.Generator().manual_seed(0)
    changes = {"a": torch.rand(6, 4, generator=generator), "b": torch.rand(3, 5, generator=generator) + 3}
    norm = torch.tensor([1.0, 1.0, 7.0])
    region = Region({"a": (6, 4), "b": (3, 5)}, {"a": torch.tensor([0, 5, 23]), "b": torch.tensor([7])})
    found = drift([*changes.items(), ("norm", norm), ("embed", torch.rand(9, 9) * 99)], region, num_rows_columns=4)
    inside = [changes["a"].flatten()[i].item() for i in (0, 5, 23)] + [changes["b"].flatten()[7].item()]
    total = sum(float(c.sum(dtype=torch.float64)) for c in changes.values())
    assert found.region == pytest.approx(np.mean(inside), rel=1e-6)
    assert found.rest == pytest.approx((total - sum(inside)) / (24 + 15 - 4), rel=1e-6)
    expected = [(7 / 3, "norm", "weight", 2)]
    for name, change in changes.items():
        mean = change.double().mean().item()
        for axis, means in (("row", change.double().mean(1)), ("column", change.double().mean(0))):
            expected += [(m.item() / mean, name, axis, i) for i, m in enumerate(means)]
    expected.sort(reverse=True)
    assert [(line.name, line.axis, line.index) for line in found.lines] == [e[1:] for e in expected[:4]]
    assert [line.ratio for line in found.lines] == pytest.approx([e[0] for e in expected[:4]], rel=1e-5)
    assert found.lines[0].relative == 7.0


def test_what_did_not_move_has_no_lines_and_an_empty_side_is_nan():
    whole = Region({"a": (2, 2)}, {"a": torch.arange(4)})
    found = drift([("a", torch.zeros(2, 2))], whole)
    assert found.region == 0
    assert np.isnan(found.rest)
    assert np.isnan(found.unmoved)
    assert found.lines == []


def test_weights_that_never_moved_are_counted_outside_the_region_alone():
    change = torch.tensor([[0.0, 0.0, 1.0, 0.0], [2.0, 0.0, 3.0, 1.0]])
    found = drift([("a", change), ("norm", torch.zeros(3))], Region({"a": (2, 4)}, {"a": torch.tensor([0, 4])}))
    assert found.unmoved == 3 / 6  # of 1, 2, 3, 5, 6, 7 the weights 1, 3 and 5


def test_bfloat16_loses_small_updates_and_float32_does_not():
    shares = []
    for precision, dtype in (("bf16-true", torch.bfloat16), ("32-true", torch.float32)):
        module = ContinuedPretraining(tiny_llama(), lambda groups: torch.optim.AdamW(groups, lr=1e-5, weight_decay=0.0))
        start = {name: p.detach().to(dtype).clone() for name, p in module.named_parameters()}
        diff = WeightDiff(every_n_steps=1, region=random_half(module.model, fraction=0.01))
        trainer = fit(module, blocks(4), [diff], precision=precision)
        shares.append(diff.drift().unmoved)
        same = sum(int((p == start[name]).sum()) for name, p in module.named_parameters())
        total = sum(p.numel() for p in module.parameters())
        assert float(trainer.callback_metrics["diff/unmoved"]) == pytest.approx(same / total, rel=1e-5)
    assert shares[0] > 0.5
    assert shares[1] < 1e-3


@pytest.mark.parametrize("guarded", [True, False])
def test_the_callback_sets_the_region_against_the_rest(guarded):
    module = ContinuedPretraining(tiny_llama(), adamw)
    region = random_half(module.model, fraction=0.25)
    start = {name: p.detach().clone() for name, p in saved_parameters(module).items()}
    diff = WeightDiff(every_n_steps=2, region=region)
    guard = [CoreGuard(region)] if guarded else []
    trainer = fit(module, blocks(4), [diff, *guard])
    inside, outside = [], []
    for name, shape in region.shapes.items():
        theta_0, theta = start[name].double(), saved_parameters(module)[name].detach().double()
        floor = 1e-3 * theta_0.square().mean().sqrt()
        change = ((theta - theta_0).abs() / theta_0.abs().clamp(min=floor)).flatten().numpy()
        mask = np.zeros(int(np.prod(shape)), bool)
        mask[dict(region)[name].numpy()] = True
        inside.append(change[mask])
        outside.append(change[~mask])
    found = diff.drift()
    assert found.region == pytest.approx(np.concatenate(inside).mean(), rel=1e-4)
    assert found.rest == pytest.approx(np.concatenate(outside).mean(), rel=1e-4)
    assert (found.region == 0) == guarded
    logged = trainer.callback_metrics
    assert float(logged["diff/relative/region"]) == pytest.approx(found.region, rel=1e-4)
    assert float(logged["diff/relative/rest"]) == pytest.approx(found.rest, rel=1e-4)


def test_a_region_of_another_model_is_refused():
    module = ContinuedPretraining(tiny_llama(), adamw)
    diff = WeightDiff(every_n_steps=1, region=Region({"elsewhere": (2, 2)}, {"elsewhere": torch.tensor([0])}))
    with pytest.raises(ValueError, match="the region's parameter elsewhere matches 0 parameters"):
        fit(module, blocks(2), [diff])
