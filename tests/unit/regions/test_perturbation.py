"""Damage: what it writes, what it leaves, and that undoing it restores every bit."""

import copy

import numpy as np
import pytest
import torch

from lightning_langcore import ContinuedPretraining, Region, perturb_, perturbed
from lightning_langcore.regions.perturbation import METHODS
from tests.support.models import random_half, tiny_llama

UP = "model.layers.0.mlp.up_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"
SPECIAL = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 0.0, 1e-40])
STRENGTH = {"reinit": 5.0, "zero": 1.0, "scale": -3.0, "set": 0.5}


def bits(module):
    return {name: p.detach().clone().view(torch.uint8) for name, p in module.named_parameters()}


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def changed(before, after, name, itemsize=4):
    """Flat indices of the weights whose bits differ."""
    differs = (before[name] != after[name]).reshape(-1, itemsize).any(1)
    return differs.nonzero().flatten()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_undo_restores_every_bit(llama, method, dtype):
    llama.to(dtype)
    llama.get_parameter(UP).data.view(-1)[:6] = SPECIAL.to(dtype)
    region = random_half(llama) | Region.from_indices(llama, {UP: list(range(6))})
    before = bits(llama)
    with perturbed(llama, region, method, STRENGTH[method], seed=1) as inside:
        assert inside is llama
        assert not same(bits(llama), before)
    assert same(bits(llama), before)


@pytest.mark.parametrize("method", METHODS)
def test_only_the_region_changes(llama, method):
    region = random_half(llama, fraction=0.2)
    before = bits(llama)
    perturb_(llama, region, method, STRENGTH[method])
    after = bits(llama)
    for name, parameter in llama.named_parameters():
        if name not in region.parts:
            assert torch.equal(before[name], after[name]), name
        else:
            assert torch.equal(changed(before, after, name), dict(region)[name]), name
            assert parameter.requires_grad


def test_values_are_restored_after_an_error_in_the_block(llama):
    before = bits(llama)
    with pytest.raises(RuntimeError, match="in the block"), perturbed(llama, random_half(llama), "zero"):
        raise RuntimeError("in the block")
    assert same(bits(llama), before)


def test_two_damages_are_undone_in_any_nesting(llama):
    before = bits(llama)
    one, two = random_half(llama, seed=0), random_half(llama, seed=1)
    with perturbed(llama, one, "set", 2.0):
        between = bits(llama)
        with perturbed(llama, two, "reinit", 3.0):
            pass
        assert same(bits(llama), between)
    assert same(bits(llama), before)


def test_zero_scale_and_set_write_what_numpy_computes(llama):
    region = random_half(llama)
    for method, strength, expected in (
        ("zero", 7.0, np.zeros_like),
        ("scale", -2.5, lambda w: np.float32(-2.5) * w),
        ("set", 0.125, lambda w: np.full_like(w, 0.125)),
    ):
        intact = {name: p.detach().numpy().reshape(-1).copy() for name, p in llama.named_parameters()}
        with perturbed(llama, region, method, strength):
            for name, idx in region:
                found = llama.get_parameter(name).detach().numpy().reshape(-1)[idx]
                assert np.array_equal(found, expected(intact[name][idx.numpy()]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("strength", [0.5, 1.0, 5.0])
def test_reinitialised_weights_have_the_mean_and_spread_of_the_intact_tensor(llama, strength, dtype):
    llama.get_parameter(UP).data.add_(0.3)
    llama.get_parameter(UP).data[:16].mul_(3.0)  # the region's own mean and spread are not the tensor's
    llama.to(dtype)
    intact = llama.get_parameter(UP).detach().double().numpy().copy()
    count = intact.size // 2
    region = Region.from_indices(llama, {UP: list(range(count))})
    perturb_(llama, region, "reinit", strength, seed=5)
    new = llama.get_parameter(UP).detach().double().numpy().reshape(-1)[:count]
    spread = strength * intact.std()
    assert abs(new.mean() - intact.mean()) < 4 * spread / np.sqrt(count) + 0.002
    assert new.std() == pytest.approx(spread, rel=4 / np.sqrt(2 * count))
    normal = (new - intact.mean()) / spread
    assert np.mean(np.abs(normal) < 1) == pytest.approx(0.6827, abs=4 * np.sqrt(0.22 / count))


def test_strength_zero_reinitialises_to_the_mean(llama):
    mean = llama.get_parameter(UP).detach().double().numpy().mean()
    perturb_(llama, Region.from_indices(llama, {UP: [0, 5]}), "reinit", 0.0)
    assert llama.get_parameter(UP).detach().view(-1)[[0, 5]].tolist() == [np.float32(mean)] * 2


def test_the_noise_depends_on_seed_and_name_alone(llama):
    def values(region, seed=0, module=None):
        module = copy.deepcopy(llama) if module is None else module
        perturb_(module, region, "reinit", 2.0, seed)
        return region.match(module)[UP].detach().view(-1)[dict(region)[UP]]

    alone = Region.from_indices(llama, {UP: [1, 50, 700]})
    reference = values(alone)
    assert torch.equal(values(alone | Region.from_indices(llama, {DOWN: [3, 4]})), reference)
    backwards = Region(dict(reversed(alone.shapes.items())), {DOWN: torch.tensor([9]), UP: dict(alone)[UP]})
    assert torch.equal(values(backwards), reference)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    wrapped = ContinuedPretraining(torch.compile(copy.deepcopy(llama)), torch.optim.SGD)
    assert torch.equal(values(alone, module=wrapped), reference)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(values(alone, seed=1), reference)


def test_tensors_and_neighbouring_seeds_get_noise_of_their_own(llama):
    names = [name for name, shape in random_half(llama).shapes.items() if shape == (64, 32)]
    region = Region.from_indices(llama, {name: list(range(2048)) for name in names})
    drawn = []
    for seed in (0, 1, -1):
        module = copy.deepcopy(llama)
        perturb_(module, region, "reinit", 1.0, seed)
        drawn += [module.get_parameter(name).detach().numpy().reshape(-1) for name in names]
    correlation = np.corrcoef(np.stack(drawn)) - np.eye(len(drawn))
    assert np.abs(correlation).max() < 5 / np.sqrt(2048)


def test_what_can_not_be_honoured_is_refused_before_anything_is_damaged(llama):
    region = random_half(llama)
    before = bits(llama)
    with pytest.raises(ValueError, match=r"perturbation\.method='noise' is none of reinit, zero, scale, set"):
        perturb_(llama, region, "noise")
    for strength in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"perturbation\.strength="):
            perturb_(llama, region, "scale", strength)
    with pytest.raises(ValueError, match="belongs to another model"):
        perturb_(llama, random_half(tiny_llama(num_hidden_layers=3)), "zero")
    assert same(bits(llama), before)


@pytest.mark.parametrize("how", ["not contiguous", "int8"])
def test_a_last_tensor_that_can_not_be_written_leaves_the_first_ones_alone(llama, how):
    layer = llama.model.layers[1].mlp.down_proj
    broken = layer.weight.data.T.contiguous().T if how == "not contiguous" else layer.weight.data.to(torch.int8)
    layer.weight = torch.nn.Parameter(broken, requires_grad=False)
    before = {name: p.detach().clone() for name, p in llama.named_parameters()}
    with pytest.raises(ValueError, match=r"is not contiguous|down_proj\.weight is Parameter of torch\.int8"):
        perturb_(llama, random_half(llama), "set", 9.0)
    assert all(torch.equal(before[name], p) for name, p in llama.named_parameters())
