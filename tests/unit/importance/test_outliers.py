"""Outliers: planted ones are found exactly, figures against numpy, nothing is found where nothing is."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from lightning_langcore import ContinuedPretraining
from lightning_langcore.importance.outliers import find_outliers, outlier_region
from tests.support.models import VOCAB, tiny_llama
from tests.support.outliers import COLUMN, DOWN, ROW, ids, plant_dimension, plant_super_weight


def layer_outputs(model, input_ids):
    """(L, B, T, D) by transformers itself, the last one without the final norm."""
    norm, model.model.norm = model.model.norm, nn.Identity()
    with torch.no_grad():
        states = model.eval()(input_ids, output_hidden_states=True).hidden_states
    model.model.norm = norm
    return torch.stack(states[1:]).numpy()


def lower_median(values):
    return np.quantile(values, 0.5, method="lower")


def massive_by_loops(outputs_LBTD, magnitude, ratio):
    """Dimension -> layers, the definition written out."""
    found = {}
    for layer, output_BTD in enumerate(outputs_LBTD):
        for output_TD in np.abs(output_BTD):
            median = lower_median(output_TD)
            for dimension in range(output_TD.shape[1]):
                if any(h > magnitude and h / median >= ratio for h in output_TD[:, dimension]):
                    found.setdefault(dimension, set()).add(layer)
    return {dimension: tuple(sorted(layers)) for dimension, layers in found.items()}


def projections(model, input_ids):
    """Input and output (B, T, ...) of each down projection, the product in float64."""
    inputs = []
    handles = [
        layer.mlp.down_proj.register_forward_pre_hook(lambda _, args: inputs.append(args[0].numpy().astype(np.float64)))
        for layer in model.model.layers
    ]
    with torch.no_grad():
        model.eval()(input_ids)
    for handle in handles:
        handle.remove()
    weights = [layer.mlp.down_proj.weight.detach().numpy().astype(np.float64) for layer in model.model.layers]
    return [(x, x @ w.T, w) for x, w in zip(inputs, weights, strict=True)]


def candidate_by_loops(x_BTF, y_BTD, weight, spike):
    """(row, column, input spike, output spike, explained, sequence, token, found) of one projection."""
    each = []
    for b, (x_TF, y_TD) in enumerate(zip(x_BTF, y_BTD, strict=True)):
        for t, (x, y) in enumerate(zip(x_TF, y_TD, strict=True)):
            column, row = int(np.abs(x).argmax()), int(np.abs(y).argmax())
            into = abs(x[column]) / lower_median(np.abs(x_TF))
            out = abs(y[row]) / lower_median(np.abs(y_TD))
            share = weight[row, column] * x[column] / y[row]
            each.append((row, column, into, out, share, b, t, min(into, out) >= spike and share >= 0.5))
    return max(each, key=lambda c: (c[7], min(c[2], c[3])))


class Fixed(nn.Module):
    """A layer that puts out what it was given, as a tuple, and writes down how it was run."""

    def __init__(self, output):
        super().__init__()
        self.output, self.seen = output, []

    def forward(self, _):
        self.seen.append((self.training, torch.is_grad_enabled()))
        return (self.output, None)


class Toy(nn.Module):
    def __init__(self, *outputs, skip=0):
        super().__init__()
        self.layers = nn.ModuleList(Fixed(output) for output in outputs)
        self.skip = skip

    def forward(self, input_ids):
        for layer in self.layers[self.skip :]:
            layer(input_ids)


class Projected(nn.Module):
    """A layer that is ``mlp.down_proj`` of a fixed input."""

    def __init__(self, x, weight):
        super().__init__()
        self.x, self.mlp = x, nn.Module()
        self.mlp.down_proj = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.mlp.down_proj.weight.data = weight.clone()

    def forward(self, _):
        return self.mlp.down_proj(self.x)


def projecting(x, weight, *more):
    toy = Toy()
    toy.layers.extend([Projected(x, weight), *more])
    return toy


def hidden(size=8, value=0.125):
    return torch.full((1, 4, size), value)


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_a_planted_dimension_and_super_weight_are_found_exactly(llama):
    plant_super_weight(llama)
    found = find_outliers(llama, ids())
    assert [d.dimension for d in found.dimensions] == [ROW]
    assert found.dimensions[0].layers == (0, 1)
    assert found.ranking[0] == found.dimensions[0]
    assert len(found.ranking) == 8
    (weight,) = found.super_weights
    assert (weight.name, weight.row, weight.column, weight.layer) == (DOWN.format(0), ROW, COLUMN, 0)
    assert (weight.value, weight.found) == (30.0, True)
    assert weight.explained == pytest.approx(1, abs=1e-3)
    assert found.best_weight == weight


def test_a_dimension_from_one_token_is_found_there_without_a_super_weight(llama):
    input_ids = ids().clamp(min=5)
    input_ids[1, 7] = 3
    plant_dimension(llama, 9, token=3)
    found = find_outliers(llama, input_ids)
    assert [(d.dimension, d.layers, d.sequence, d.token) for d in found.dimensions] == [(9, (0, 1), 1, 7)]
    assert found.super_weights == ()
    assert not found.best_weight.found
    assert find_outliers(llama, input_ids[:1]).dimensions == ()


def test_a_super_weight_in_the_last_layer_belongs_to_that_layer(llama):
    plant_super_weight(llama, layer=1, row=3)
    found = find_outliers(llama, ids())
    assert [(d.dimension, d.layers) for d in found.dimensions] == [(3, (1,))]
    assert [(w.name, w.row, w.column) for w in found.super_weights] == [(DOWN.format(1), 3, COLUMN)]


def test_two_super_weights_stand_in_the_order_of_the_layers(llama):
    plant_super_weight(llama, layer=1, row=3, value=300.0)
    plant_super_weight(llama, layer=0)
    found = find_outliers(llama, ids())
    assert [(w.layer, w.row) for w in found.super_weights] == [(0, ROW), (1, 3)]


def test_a_spike_made_by_several_weights_is_no_super_weight(llama):
    plant_super_weight(llama, columns=(COLUMN, 5, 6))  # equal inputs and weights: a third each
    found = find_outliers(llama, ids())
    assert [d.dimension for d in found.dimensions] == [ROW]
    assert found.super_weights == ()
    best = found.best_weight
    assert (best.row, best.found) == (ROW, False)
    assert best.column in {COLUMN, 5, 6}
    assert min(best.input_spike, best.output_spike) > 1000
    assert best.explained == pytest.approx(1 / 3, abs=1e-3)


def test_an_ordinary_model_has_none_but_a_ranking(llama):
    input_ids = ids()
    found = find_outliers(llama, input_ids, num_ranked=5)
    assert (found.dimensions, found.super_weights, found.hidden_size) == ((), (), 32)
    magnitudes = np.abs(layer_outputs(llama, input_ids))
    ratios_LBTD = magnitudes / np.array([[[[lower_median(s)]] for s in layer] for layer in magnitudes])
    ratios = ratios_LBTD.max((0, 1, 2))
    assert [d.dimension for d in found.ranking] == np.argsort(-ratios)[:5].tolist()
    for d in found.ranking:
        assert d.layers == ()
        assert d.ratio == pytest.approx(ratios[d.dimension], rel=1e-5)
        assert d.ratio == pytest.approx(ratios_LBTD[d.layer, d.sequence, d.token, d.dimension], rel=1e-5)
        assert d.value == pytest.approx(magnitudes[..., d.dimension].max(), rel=1e-5)
    assert 1 < found.ranking[0].ratio < 100


@pytest.mark.parametrize("quantile", [0.9, 0.98])
def test_the_criterion_equals_loops_over_the_hidden_states_of_transformers(quantile):
    model = tiny_llama(num_hidden_layers=4)
    plant_super_weight(model, layer=1, value=0.05)
    input_ids = ids(3)
    outputs = layer_outputs(model, input_ids)
    magnitude, ratio = float(np.quantile(np.abs(outputs), quantile)), 4.0
    expected = massive_by_loops(outputs, magnitude, ratio)
    found = find_outliers(model, input_ids, magnitude, ratio)
    assert {d.dimension: d.layers for d in found.dimensions} == expected
    assert 0 < len(expected) < 32
    assert any(0 < len(layers) < 4 for layers in expected.values())


@pytest.mark.parametrize("value", [None, 0.05, 30.0])
def test_the_figures_of_the_best_weight_equal_loops_over_the_tokens(llama, value):
    if value is not None:
        plant_super_weight(llama, value=value)
    input_ids = ids(3)
    found = find_outliers(llama, input_ids, spike=20.0)
    each = [candidate_by_loops(*projection, spike=20.0) for projection in projections(llama, input_ids)]
    layer = max(range(2), key=lambda i: (each[i][7], min(each[i][2], each[i][3])))
    best = found.best_weight
    exact = (best.row, best.column, best.sequence, best.token, best.found)
    row, column, into, out, share, sequence, token, meets = each[layer]
    assert exact == (row, column, sequence, token, meets)
    assert best.layer == layer
    np.testing.assert_allclose([best.input_spike, best.output_spike, best.explained], [into, out, share], rtol=1e-4)
    assert best.value == llama.get_parameter(DOWN.format(layer))[row, column].item()
    assert [w.layer for w in found.super_weights] == [i for i in range(2) if each[i][7]]


def test_a_token_that_meets_the_criterion_wins_over_stronger_spikes_that_do_not():
    x, weight = torch.full((1, 6, 8), 0.01), torch.full((5, 8), 0.001)
    x[0, 1, :3], weight[0, :3] = 100.0, 1.0  # 300, of which each weight makes a third
    x[0, 4, 5], weight[3, 5] = -10.0, 2.0  # -20 from one weight
    best = find_outliers(projecting(x, weight), ids(1, 6)).best_weight
    assert (best.row, best.column, best.token, best.found) == (3, 5, 4, True)
    assert best.input_spike == pytest.approx(1000)
    median = 0.01 - 7e-5  # the 15th of 30: 12 outputs are 8e-5, then three of the token with -10
    assert best.output_spike == pytest.approx((20 - 7e-5) / median, rel=1e-4)


def test_a_layer_that_meets_the_criterion_wins_over_stronger_spikes_that_do_not():
    x, weight = torch.full((1, 6, 8), 0.5), torch.full((5, 8), 1 / 8)
    x[0, 2, 5], weight[3, 5] = 50.0, 2.0
    shared = torch.full((1, 6, 8), 0.5)
    shared[0, 2, :3] = 5000.0
    for layers in ([(x, weight), (shared, weight)], [(shared, weight), (x, weight)]):
        (first, second), which = layers, [x is layer[0] for layer in layers].index(True)
        found = find_outliers(projecting(*first, Projected(*second)), ids(1, 6))
        assert (found.best_weight.layer, found.best_weight.found) == (which, True)
        assert found.super_weights == (found.best_weight,)
    alone = find_outliers(projecting(shared, weight), ids(1, 6)).best_weight
    assert not alone.found
    assert alone.output_spike > found.best_weight.output_spike


def test_bfloat16_is_compared_in_float32():
    output = hidden(value=13 / 128)
    output[0, 1, 2] = 101.5
    ratio = 101.5 / (13 / 128)  # 999.4, which is 1000 in bfloat16
    found = find_outliers(Toy(output.bfloat16()), ids(1, 4))
    assert found.dimensions == ()
    assert found.ranking[0].ratio == pytest.approx(ratio, rel=1e-6)
    best = find_outliers(projecting(output.bfloat16(), torch.ones(5, 8).bfloat16()), ids(1, 4)).best_weight
    assert best.input_spike == pytest.approx(ratio, rel=1e-6)


def test_both_spikes_and_half_of_the_output_are_needed():
    x, weight = torch.full((1, 6, 8), 0.5), torch.full((5, 8), 1 / 8)  # outputs of 0.5
    x[0, 2, 5], weight[3, 5] = 25.0, 2.0  # 50 times the input's median; 50 + 7 / 16 from two terms
    for spike, found in ((50.0, True), (50.1, False)):
        outliers = find_outliers(projecting(x, weight), ids(1, 6), spike=spike)
        assert (outliers.best_weight.input_spike, outliers.best_weight.found) == (50.0, found)
        assert len(outliers.super_weights) == found
    weight[3, 5] = 0.9  # 22.9: less than 50 times the output's median
    best = find_outliers(projecting(x, weight), ids(1, 6)).best_weight
    assert (best.row, best.column, best.found) == (3, 5, False)
    assert best.output_spike == pytest.approx((22.5 + 7 / 16) / 0.5)
    weight[3] = 8.0  # 200 from the one, 28 from the seven others
    weight[3, 0] = 8.0 + 340  # now 200 of 398, then 200 of 402
    assert find_outliers(projecting(x, weight), ids(1, 6)).best_weight.found
    weight[3, 0] = 8.0 + 348
    assert not find_outliers(projecting(x, weight), ids(1, 6)).best_weight.found
    weight[3], weight[3, 5] = 240 / 7, -2.0  # 120 - 50: the weight works against the output
    best = find_outliers(projecting(x, weight), ids(1, 6)).best_weight
    assert (best.row, best.column, best.found) == (3, 5, False)
    assert best.explained == pytest.approx(-50 / 70)


def test_the_bounds_are_larger_than_the_magnitude_and_at_least_the_ratio():
    edge = hidden()
    edge[0, 2, 1] = -125.0  # 1000 times 0.125
    edge[0, 2, 3] = 124.99
    found = find_outliers(Toy(hidden(), edge), ids(1, 4))
    assert [(d.dimension, d.layers, d.value, d.ratio) for d in found.dimensions] == [(1, (1,), 125.0, 1000.0)]
    assert found.best_weight is None
    assert found.super_weights == ()
    assert find_outliers(Toy(edge), ids(1, 4), magnitude=125.0).dimensions == ()


def test_magnitude_and_ratio_must_meet_in_one_sequence():
    quiet, loud = torch.full((1, 4, 8), 0.01), torch.full((1, 4, 8), 1.0)
    quiet[0, 1, 5], loud[0, 1, 5] = 90.0, 200.0  # ratio 9000 but small; large but ratio 200
    found = find_outliers(Toy(torch.cat([quiet, loud])), ids(2, 4))
    assert found.dimensions == ()
    top = found.ranking[0]
    assert (top.dimension, top.value, top.sequence, top.token) == (5, 200.0, 0, 1)
    assert top.ratio == pytest.approx(9000)


def test_a_sequence_has_the_same_figures_alone_and_in_a_batch(llama):
    plant_super_weight(llama)
    input_ids = ids(2)
    both = find_outliers(llama, input_ids).dimensions[0]
    alone = find_outliers(llama, input_ids[both.sequence : both.sequence + 1]).dimensions[0]
    assert both.ratio == pytest.approx(alone.ratio, rel=1e-4)


def test_zeros_have_no_spikes_and_a_median_of_zero_is_infinite():
    zeros = torch.zeros(1, 4, 8)
    assert {d.ratio for d in find_outliers(Toy(zeros), ids(1, 4)).ranking} == {0.0}
    one = zeros.clone()
    one[0, 3, 6] = 101.0
    found = find_outliers(Toy(one), ids(1, 4))
    assert [(d.dimension, d.ratio, d.token) for d in found.dimensions] == [(6, float("inf"), 3)]


def test_bfloat16_finds_the_same(llama):
    plant_super_weight(llama)
    plain = find_outliers(llama, ids())
    low = find_outliers(llama.to(torch.bfloat16), ids())
    assert [(d.dimension, d.layers) for d in low.dimensions] == [(d.dimension, d.layers) for d in plain.dimensions]
    assert [(w.row, w.column, w.name) for w in low.super_weights] == [(ROW, COLUMN, DOWN.format(0))]
    assert low.dimensions[0].ratio == pytest.approx(plain.dimensions[0].ratio, rel=0.05)


def test_two_runs_are_equal_and_leave_the_model_alone(llama):
    plant_super_weight(llama)
    llama.model.layers[1].eval()
    before = {name: p.detach().clone() for name, p in llama.named_parameters()}
    modes = [m.training for m in llama.modules()]
    assert find_outliers(llama, ids()) == find_outliers(llama, ids())
    assert [m.training for m in llama.modules()] == modes
    assert True in modes
    assert False in modes
    assert hooks_of(llama) == 0
    assert all(torch.equal(before[n], p) and p.grad is None and p.requires_grad for n, p in llama.named_parameters())
    toy = Toy(hidden()).train()
    find_outliers(toy, ids(1, 4))
    assert toy.layers[0].seen == [(False, False)]
    assert toy.layers[0].training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("bad", ["infinite", "raises"])
def test_after_an_error_no_hook_is_left_and_the_mode_is_back(llama, bad, monkeypatch):
    llama.model.layers[0].eval()
    modes = [m.training for m in llama.modules()]
    if bad == "infinite":
        llama.model.embed_tokens.weight.data[:] = float("inf")
    else:
        monkeypatch.setattr(llama.model.layers[1].mlp, "forward", lambda _: 1 / 0)
    with pytest.raises((ValueError, ZeroDivisionError), match=r"output of layer 0 is not finite|division"):
        find_outliers(llama, ids())
    assert hooks_of(llama) == 0
    assert [m.training for m in llama.modules()] == modes
    assert torch.is_grad_enabled()


def test_a_lightning_module_has_the_names_of_its_model(llama):
    plant_super_weight(llama)
    module = ContinuedPretraining(llama, torch.optim.AdamW)
    found = find_outliers(module, ids())
    assert found == find_outliers(llama, ids())
    assert outlier_region(module, found) == outlier_region(llama, found)


def test_a_model_without_down_proj_has_dimensions_only():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=2, n_positions=64))
    with torch.no_grad():
        model.transformer.wte.weight[3, 9] = 500.0
    found = find_outliers(model, torch.tensor([[7, 3, 5, 8, 1, 3]]))
    assert [d.dimension for d in found.dimensions] == [9]
    assert (found.super_weights, found.best_weight) == ((), None)
    with pytest.raises(ValueError, match=r"h\.0\.attn\.c_attn\.weight: unknown whether it reads or writes"):
        outlier_region(model, found)
    nothing = dataclasses.replace(found, dimensions=())
    assert len(outlier_region(model, nothing)) == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"input_ids": torch.zeros(5, dtype=torch.int64)}, r"shape \(B, T\).*not \(5,\)"),
        ({"input_ids": torch.zeros(2, 0, dtype=torch.int64)}, r"not \(2, 0\)"),
        ({"magnitude": 0}, "magnitude=0, .* must be positive"),
        ({"ratio": -1.0}, "ratio=-1.0, .* must be positive"),
        ({"spike": float("nan")}, "spike=nan .* must be positive"),
        ({"num_ranked": 0}, "num_ranked=0 must be positive"),
        ({"model": nn.Linear(2, 2)}, r"Linear has 0 lists of decoder layers .*\(none\)"),
        ({"model": nn.ModuleDict({"a": Toy(hidden()), "b": Toy(hidden())})}, r"has 2 lists .*\(a\.layers, b\.layers\)"),
        ({"model": Toy(hidden(), hidden(), skip=1)}, "ran 1 of 2 layers"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(llama, change, says):
    with pytest.raises(ValueError, match=says):
        find_outliers(**({"model": llama, "input_ids": ids()} | change))


def test_quantized_projections_are_refused_by_name(llama):
    class Int8Params(nn.Parameter):
        pass

    down = llama.model.layers[1].mlp.down_proj
    down.weight = Int8Params(down.weight.detach())
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.down_proj\.weight is Int8Params"):
        find_outliers(llama, ids())
    assert hooks_of(llama) == 0
