"""Selection against sorting; ties; random regions."""

import numpy as np
import pytest
import torch
from helpers import tiny_llama

from lightning_langcore import random_region, select
from lightning_langcore.params import candidates, named_shapes
from lightning_langcore.select import check_fraction, kth_smallest, select_tensor

NAME = "model.layers.0.mlp.up_proj.weight"


def scores_of(kind, size=2000):
    rng = np.random.default_rng(0)
    plain = rng.random(size, dtype=np.float32)
    kinds = {
        "distinct": rng.permutation(size).astype(np.float32) / 7,
        "many ties": rng.integers(0, 5, size).astype(np.float32),
        "all equal": np.full(size, 0.25, dtype=np.float32),
        "nine tenths zero": np.where(rng.random(size) < 0.9, 0, plain).astype(np.float32),
        "all magnitudes": (10.0 ** rng.uniform(-44, 38, size)).astype(np.float32),
        "zeros of both signs": np.where(rng.random(size) < 0.5, -0.0, plain).astype(np.float32),
        "with infinities": np.where(rng.random(size) < 0.2, np.inf, plain).astype(np.float32),
        "neighbours": np.nextafter(np.float32(1), np.float32(2), dtype=np.float32)
        + rng.integers(0, 9, size).astype(np.float32) * np.float32(2**-23),
        "one": plain[:1],
    }
    return kinds[kind]


KINDS = [
    *("distinct", "many ties", "all equal", "nine tenths zero", "all magnitudes", "zeros of both signs"),
    *("with infinities", "neighbours", "one"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_kth_smallest_equals_that_of_a_sort(kind):
    values = np.abs(scores_of(kind))
    ordered = np.sort(values)
    for k in sorted({1, 2, len(values) // 10, len(values) // 2, len(values) - 1, len(values)} - {0}):
        if k > len(values):
            continue
        value, needed = kth_smallest(values, k)
        assert value == ordered[k - 1]
        assert needed == k - np.count_nonzero(values < ordered[k - 1])


@pytest.mark.parametrize("end", ["lowest", "highest"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_chosen_scores_are_those_of_a_sort(kind, end):
    values = scores_of(kind)
    ordered = np.sort(values) if end == "lowest" else np.sort(values)[::-1]
    for k in {0, 1, round(0.05 * len(values)), len(values) // 2, len(values)}:
        chosen, num_ties = select_tensor(NAME, torch.from_numpy(values), k, end, seed=0)
        chosen = chosen.numpy()
        assert len(chosen) == k
        assert (np.diff(chosen) > 0).all()
        assert np.array_equal(np.sort(values[chosen]), np.sort(ordered[:k]))
        cut = ordered[k - 1] if k else None
        at_cut = int(np.count_nonzero(ordered[:k] == cut)) if k else 0
        assert num_ties == (at_cut if at_cut < np.count_nonzero(values == cut) else 0)


def test_without_ties_the_order_of_a_stable_sort_decides():
    score = torch.from_numpy(scores_of("distinct")).view(40, 50)
    region = select([(NAME, score)], 0.1, "highest")
    assert region.indices[NAME].tolist() == sorted(score.flatten().argsort(descending=True)[:200].tolist())
    assert region.shapes == {NAME: (40, 50)}
    assert region.meta["num_ties"] == 0


def test_ties_are_counted_over_tensors_and_only_where_some_equals_stay_out():
    half_zero = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0]])
    region = select([("a", half_zero), ("b", torch.zeros(1, 8)), ("c", torch.arange(8.0)[None])], 0.25, "lowest")
    assert region.meta["num_ties"] == 2 + 2 + 0
    whole = select([("a", half_zero), ("b", torch.zeros(1, 8))], 0.5, "lowest")
    assert whole.meta["num_ties"] == 0 + 4
    assert whole.indices["a"].tolist() == [0, 1, 2, 3]


def test_ties_are_the_same_every_time_and_others_for_another_seed_or_name():
    equal = torch.zeros(64, 64)
    one = select_tensor(NAME, equal, 400, "lowest", seed=3)[0]
    assert torch.equal(one, select_tensor(NAME, equal.clone(), 400, "lowest", seed=3)[0])
    for other in (select_tensor(NAME, equal, 400, "lowest", 4)[0], select_tensor("b", equal, 400, "lowest", 3)[0]):
        shared = len(set(one.tolist()) & set(other.tolist()))
        assert shared < 400 * 0.25  # by chance about 400 * 400 / 4096 = 39


def test_ties_spread_over_all_rows_and_columns():
    size, k = 128, 1638
    chosen = select_tensor(NAME, torch.zeros(size, size), k, "lowest", seed=0)[0].numpy()
    for line in (chosen // size, chosen % size):
        counts = np.bincount(line, minlength=size)
        assert counts.min() > 0
        chi_square = float(((counts - k / size) ** 2 / (k / size)).sum())
        assert abs(chi_square - 127) < 4 * np.sqrt(2 * 127)  # 127 degrees of freedom


def test_ties_do_not_depend_on_scores_elsewhere():
    scores = torch.ones(1, 100)
    chosen = set(select_tensor(NAME, scores, 30, "lowest", seed=0)[0].tolist())
    outsider = next(i for i in range(100) if i not in chosen)
    scores[0, outsider] = 2.0
    assert set(select_tensor(NAME, scores, 30, "lowest", seed=0)[0].tolist()) == chosen


@pytest.mark.parametrize("bad", [float("nan"), -1e-6])
def test_broken_scores_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=r"up_proj\.weight holds NaN or negative"):
        select([(NAME, torch.tensor([[0.5, bad]]))], 0.5, "lowest")


@pytest.mark.parametrize("bad", [0, -0.1, 1.01, 5, float("nan"), float("inf"), True, None, "many", [0.1]])
def test_a_fraction_outside_the_open_closed_unit_interval_is_refused(bad):
    with pytest.raises(ValueError, match=r"region\.fraction=.* must be a number in \(0, 1\]"):
        check_fraction(bad)


def test_a_fraction_is_of_each_tensor_and_must_choose_something():
    scores = [("a", torch.rand(10, 10)), ("b", torch.rand(3, 10))]
    region = select(scores, 0.05, "lowest")
    assert {name: len(idx) for name, idx in region} == {"a": 5, "b": 2}  # 1.5 is rounded to the even
    assert len(select(scores, 1, "highest")) == 130
    with pytest.raises(ValueError, match=r"region\.fraction=0\.001 chooses no weight"):
        select(scores, 0.001, "lowest")


def test_a_random_region_has_as_many_weights_per_tensor_as_a_core_and_is_unlike_it():
    shapes = candidates(named_shapes(tiny_llama()))
    generator = torch.Generator().manual_seed(0)
    core = select(((n, torch.rand(s, generator=generator)) for n, s in shapes.items()), 0.1, "lowest")
    control = random_region(shapes, 0.1, seed=0)
    assert {n: len(i) for n, i in control} == {n: len(i) for n, i in core}
    assert control == random_region(dict(reversed(shapes.items())), 0.1, seed=0)
    for other in (core, random_region(shapes, 0.1, seed=1)):
        assert len(control & other) == pytest.approx(0.1 * len(core), rel=0.2)
    assert (control.meta["kind"], control.meta["num_ties"]) == ("random", 0)
