"""Selection against sorting; ties; random regions."""

import numpy as np
import pytest
import torch

from lightning_langcore import random_region, select
from lightning_langcore.importance.selection import matched_region
from lightning_langcore.importance.selectors import check_fraction
from lightning_langcore.importance.top_k import choose
from lightning_langcore.models.parameters import candidates, named_shapes
from tests.support.models import tiny_llama
from tests.support.scores import NAME, scores_of


def chosen_of(name, score, k, seed=0):
    return torch.from_numpy(choose(name, score.numpy().ravel(), k, "lowest", seed)[0])


def test_without_ties_the_order_of_a_stable_sort_decides():
    score = torch.from_numpy(scores_of("distinct")).view(40, 50)
    region = select({NAME: score}, 0.1, "highest")
    assert dict(region)[NAME].tolist() == sorted(score.flatten().argsort(descending=True)[:200].tolist())
    assert region.shapes == {NAME: (40, 50)}
    assert region.meta["num_ties"] == 0


def test_ties_are_counted_over_tensors_and_only_where_some_equals_stay_out():
    half_zero = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0]])
    region = select({"a": half_zero, "b": torch.zeros(1, 8), "c": torch.arange(8.0)[None]}, 0.25, "lowest")
    assert region.meta["num_ties"] == 2 + 2 + 0
    whole = select({"a": half_zero, "b": torch.zeros(1, 8)}, 0.5, "lowest")
    assert whole.meta["num_ties"] == 0 + 4
    assert dict(whole)["a"].tolist() == [0, 1, 2, 3]


def test_ties_are_the_same_every_time_and_others_for_another_seed_or_name():
    equal = torch.zeros(64, 64)
    one = chosen_of(NAME, equal, 400, 3)
    assert torch.equal(one, chosen_of(NAME, equal.clone(), 400, 3))
    for other in (chosen_of(NAME, equal, 400, 4), chosen_of("b", equal, 400, 3)):
        shared = len(set(one.tolist()) & set(other.tolist()))
        assert shared < 400 * 0.25  # by chance about 400 * 400 / 4096 = 39


def test_ties_spread_over_all_rows_and_columns():
    size, k = 128, 1638
    chosen = chosen_of(NAME, torch.zeros(size, size), k).numpy()
    for line in (chosen // size, chosen % size):
        counts = np.bincount(line, minlength=size)
        assert counts.min() > 0
        chi_square = float(((counts - k / size) ** 2 / (k / size)).sum())
        assert abs(chi_square - 127) < 4 * np.sqrt(2 * 127)  # 127 degrees of freedom


def test_ties_do_not_depend_on_scores_elsewhere():
    scores = torch.ones(1, 100)
    chosen = set(chosen_of(NAME, scores, 30).tolist())
    outsider = next(i for i in range(100) if i not in chosen)
    scores[0, outsider] = 2.0
    assert set(chosen_of(NAME, scores, 30).tolist()) == chosen


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1e-6])
def test_broken_scores_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=r"up_proj\.weight holds NaN, infinite or negative"):
        select({NAME: torch.tensor([[0.5, bad]])}, 0.5, "lowest")


@pytest.mark.parametrize("bad", [0, -0.1, 1.01, 5, float("nan"), float("inf"), True, None, "many", [0.1]])
def test_a_fraction_outside_the_open_closed_unit_interval_is_refused(bad):
    with pytest.raises(ValueError, match=r"region\.fraction=.* must be a number in \(0, 1\]"):
        check_fraction(bad)


def test_a_fraction_is_of_each_tensor_and_must_choose_something():
    scores = {"a": torch.rand(10, 10), "b": torch.rand(3, 10)}
    region = select(scores, 0.05, "lowest")
    assert {name: len(idx) for name, idx in region} == {"a": 5, "b": 2}  # 1.5 is rounded to the even
    assert len(select(scores, 1, "highest")) == 130
    with pytest.raises(ValueError, match=r"region\.fraction=0\.001 chooses no weight"):
        select(scores, 0.001, "lowest")


def test_a_random_region_has_as_many_weights_per_tensor_as_a_core_and_is_unlike_it():
    shapes = candidates(named_shapes(tiny_llama()))
    generator = torch.Generator().manual_seed(0)
    core = select({n: torch.rand(s, generator=generator) for n, s in shapes.items()}, 0.1, "lowest")
    control = random_region(shapes, 0.1, seed=0)
    assert {n: len(i) for n, i in control} == {n: len(i) for n, i in core}
    assert control == random_region(dict(reversed(shapes.items())), 0.1, seed=0)
    for other in (core, random_region(shapes, 0.1, seed=1)):
        assert len(control & other) == pytest.approx(0.1 * len(core), rel=0.2)
    assert (control.meta["kind"], control.meta["num_ties"]) == ("random", 0)


def some_scores(seed=0, digits=None):
    """Three matrices of different shapes and scales; with ``digits``, many equals."""
    rng = np.random.default_rng(seed)
    made = {n: rng.random(s) * f for n, s, f in (("a", (12, 8), 1), ("b", (8, 20), 3), ("c", (5, 5), 0.1))}
    return {
        n: torch.from_numpy((v if digits is None else np.round(v, digits)).astype(np.float32)) for n, v in made.items()
    }


@pytest.mark.parametrize("end", ["lowest", "highest"])
@pytest.mark.parametrize("fraction", [0.003, 0.05, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("digits", [None, 1, 0])
def test_over_the_whole_model_one_cut_equals_a_sort_of_everything(end, fraction, digits):
    scores = some_scores(digits=digits)
    every = np.sort(np.concatenate([s.numpy().ravel() for s in scores.values()]))
    every = every if end == "lowest" else every[::-1]
    k = round(fraction * len(every))
    region = select(scores, fraction, end, scope="model")
    taken = np.concatenate([scores[name].numpy().ravel()[idx.numpy()] for name, idx in region])
    assert len(region) == k
    assert np.array_equal(np.sort(taken), np.sort(every[:k]))
    equal, inside = np.count_nonzero(every == every[k - 1]), np.count_nonzero(every[:k] == every[k - 1])
    assert region.meta["num_ties"] == (inside if inside < equal else 0)
    assert region.meta["scope"] == "model"
    again = select(dict(reversed(scores.items())), fraction, end, scope="model")
    assert {n: i.tolist() for n, i in again} == {n: i.tolist() for n, i in region}


@pytest.mark.parametrize("end", ["lowest", "highest"])
@pytest.mark.parametrize(("granularity", "axis"), [("row", 1), ("column", 0)])
def test_whole_lines_are_those_with_the_best_means(granularity, axis, end):
    scores = some_scores()
    region = select(scores, 0.5, end, granularity=granularity)
    for name, part in region.parts.items():
        means = scores[name].double().mean(axis).numpy()
        order = np.argsort(means if end == "lowest" else -means, kind="stable")
        count = {12: 6, 8: 4, 20: 10, 5: 2}[len(means)]  # of five the lower of 2 and 3
        assert part.encoding == ("rows" if granularity == "row" else "cols")
        assert part.data.tolist() == sorted(order[:count].tolist())
    assert region.meta["granularity"] == granularity
    assert region.meta["num_ties"] == 0


@pytest.mark.parametrize(("granularity", "axis"), [("row", 1), ("column", 0)])
def test_lines_over_the_whole_model_are_taken_until_they_hold_the_fraction(granularity, axis):
    scores = some_scores()
    lines = sorted(
        (float(mean), name, number, scores[name].shape[axis])
        for name in scores
        for number, mean in enumerate(scores[name].double().mean(axis))
    )
    budget, taken, held = 0.3 * (96 + 160 + 25), {name: [] for name in scores}, 0
    for _, name, number, size in lines:
        if abs(held + size - budget) >= abs(held - budget):
            break
        taken[name].append(number)
        held += size
    region = select(scores, 0.3, "lowest", granularity=granularity, scope="model")
    assert {name: part.data.tolist() for name, part in region.parts.items()} == {
        name: sorted(numbers) for name, numbers in taken.items() if numbers
    }


def test_equal_lines_are_drawn_by_hash_and_counted():
    region = select({"a": torch.ones(100, 7)}, 0.1, "lowest", granularity="row")
    assert (len(region), region.meta["num_ties"]) == (70, 70)
    rows = region.parts["a"].data.tolist()
    assert rows != list(range(10))
    assert select({"a": torch.ones(100, 7)}, 0.1, "lowest", seed=1, granularity="row").parts["a"].data.tolist() != rows


def test_what_selects_nothing_sensible_is_refused():
    with pytest.raises(ValueError, match=r"region\.granularity=row needs matrices, but norm has shape \(4,\)"):
        select({"norm": torch.ones(4)}, 0.5, "lowest", granularity="row")
    with pytest.raises(ValueError, match=r"region\.granularity=cell is none of element, row, column"):
        select(some_scores(), 0.5, "lowest", granularity="cell")
    with pytest.raises(ValueError, match=r"region\.scope=layer is none of tensor, model"):
        select(some_scores(), 0.5, "lowest", scope="layer")
    with pytest.raises(ValueError, match="NaN, infinite or negative"):
        select({"a": torch.tensor([[float("nan"), 1.0]])}, 0.5, "lowest", scope="model")


def test_half_of_the_columns_is_a_small_file(tmp_path):
    rng = np.random.default_rng(0)
    scores = {"w": torch.from_numpy(rng.random((512, 256)).astype(np.float32))}
    size = select(scores, 0.5, "lowest", granularity="column").save(tmp_path / "c.safetensors").stat().st_size
    assert size < 128 * 4 + 1500
    size = select(scores, 0.5, "lowest").save(tmp_path / "e.safetensors").stat().st_size
    assert size < 512 * 256 / 8 + 1500


@pytest.mark.parametrize("scope", ["tensor", "model"])
@pytest.mark.parametrize("granularity", ["element", "row", "column"])
def test_a_random_region_of_every_kind_has_the_size_and_depends_on_the_seed(granularity, scope):
    shapes = {"a": (40, 30), "b": (30, 60)}
    one, same, other = (random_region(shapes, 0.25, seed, granularity, scope) for seed in (0, 0, 1))
    assert one == same != other
    assert one.fraction == pytest.approx(0.25, abs=0.02)


def heavy_core():
    """A core that prefers large weights, of two tensors."""
    rng = np.random.default_rng(5)
    theta = {
        n: torch.from_numpy((rng.normal(0, f, s)).astype(np.float32))
        for n, s, f in (("a", (90, 80), 1), ("b", (50, 100), 9))
    }
    scores = {n: t.abs() * torch.from_numpy(rng.random(t.shape).astype(np.float32)) for n, t in theta.items()}
    return theta, select(scores, 0.05, "highest")


def test_a_matched_region_has_the_sizes_of_the_core_and_other_weights():
    theta, core = heavy_core()
    matched = matched_region(core, theta, seed=0, num_bins=32)
    assert {n: len(i) for n, i in matched} == {n: len(i) for n, i in core}
    own, drawn = dict(core), dict(matched)
    for name, values in theta.items():
        sizes = values.abs().numpy().ravel()
        near = np.log2(np.maximum(sizes, 1e-9)).round(1)  # classes of 7 %, coarser than those of the draw
        counts = [np.unique(near[r[name].numpy()], return_counts=True) for r in (own, drawn)]
        one, other = (dict(zip(*pair, strict=True)) for pair in counts)
        assert all(abs(one.get(size, 0) - other.get(size, 0)) <= 4 + one.get(size, 0) // 2 for size in {*one, *other})
        assert abs(sizes[own[name]].mean() / sizes[drawn[name]].mean() - 1) < 0.02
        classes = np.argsort(np.argsort(sizes)) * 32 // len(sizes)
        shares = np.bincount(classes[own[name].numpy()], minlength=32)
        expected = sum(c * c / (len(sizes) / 32) for c in shares)  # by chance, class by class
        shared = len(set(own[name].tolist()) & set(drawn[name].tolist()))
        assert abs(shared - expected) < 5 * np.sqrt(expected) + 5
    assert matched.meta["kind"] == "matched"


def test_a_matched_region_depends_on_the_seed_alone():
    theta, core = heavy_core()
    assert matched_region(core, theta, seed=1) == matched_region(core, theta, seed=1) != matched_region(core, theta, 2)
    with pytest.raises(ValueError, match="whole rows can't be matched"):
        matched_region(select(theta_sizes(theta), 0.5, "lowest", granularity="row"), theta, 0)


def theta_sizes(theta):
    return {name: values.abs() for name, values in theta.items()}
