"""The four forms of a set of weights: each says the same as Python sets and plain masks."""

import random

import numpy as np
import pytest
import torch

from lightning_langcore.regions.weight_set import WeightSet

SHAPE = (7, 13)
NUMEL = 91


def some(form, seed=0, fraction=0.4):
    """A set of a form and the flat indices it must mean, by arithmetic here."""
    rng = random.Random(seed)
    if form == "rows":
        lines = sorted(rng.sample(range(7), 3))
        return WeightSet("rows", torch.tensor(lines), SHAPE), {r * 13 + c for r in lines for c in range(13)}
    if form == "cols":
        lines = sorted(rng.sample(range(13), 5))
        return WeightSet("cols", torch.tensor(lines), SHAPE), {r * 13 + c for r in range(7) for c in lines}
    flat = sorted(rng.sample(range(NUMEL), round(fraction * NUMEL)))
    if form == "idx":
        return WeightSet("idx", torch.tensor(flat), SHAPE), set(flat)
    bits = np.zeros(12, dtype=np.uint8)
    for i in flat:
        bits[i // 8] |= 1 << i % 8
    return WeightSet("bits", torch.from_numpy(bits), SHAPE), set(flat)


ENCODINGS = ["idx", "bits", "rows", "cols"]


@pytest.mark.parametrize("form", ENCODINGS)
def test_every_form_means_the_same_indices(form):
    made, expected = some(form)
    assert made.indices().tolist() == sorted(expected)
    assert made.indices().dtype == torch.int64
    assert len(made) == len(expected)
    as_bits = WeightSet("bits", made.bitmap(), SHAPE)
    as_idx = WeightSet("idx", made.indices(), SHAPE)
    assert as_bits == as_idx == made == made.compact() == made.for_speed()
    assert made.compact().encoding == "bits"  # 4 bytes an index are more than an eighth of a byte a weight
    rows, cols = made.row_column_counts()
    assert rows.tolist() == [sum(i // 13 == r for i in expected) for r in range(7)]
    assert cols.tolist() == [sum(i % 13 == c for i in expected) for c in range(13)]


@pytest.mark.parametrize("form", ENCODINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gather_fill_and_scatter_equal_a_mask(form, dtype):
    made, expected = some(form)
    mask = torch.zeros(NUMEL, dtype=torch.bool)
    mask[sorted(expected)] = True
    tensor = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)
    tensor.view(-1)[sorted(expected)[:3]] = torch.tensor([float("nan"), -0.0, float("inf")], dtype=dtype)
    values = made.gather(tensor)
    assert torch.equal(values.view(torch.uint8), tensor.view(-1)[mask].view(torch.uint8))
    changed = tensor.clone()
    made.fill_(changed, 2.5)
    assert torch.equal(changed.view(-1) == 2.5, mask)
    assert torch.equal(changed.view(-1)[~mask], tensor.view(-1)[~mask])
    made.scatter_(changed, values)
    assert torch.equal(changed.view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize("one", ENCODINGS)
@pytest.mark.parametrize("two", ENCODINGS)
def test_algebra_of_all_pairs_of_forms_equals_that_of_sets(one, two):
    (a, left), (b, right) = some(one, seed=1), some(two, seed=2)
    assert set((a | b).indices().tolist()) == left | right
    assert set((a & b).indices().tolist()) == left & right
    assert set((a - b).indices().tolist()) == left - right
    if one == two and one in ("rows", "cols"):
        assert (a | b).encoding == (a - b).encoding == one


def test_a_few_weights_are_indices_and_half_a_matrix_of_columns_is_their_numbers():
    few = WeightSet.of(torch.tensor([3, 4000]), (100, 100))
    assert (few.encoding, few.data.dtype, few.data.nbytes) == ("idx", torch.int32, 8)
    tenth = WeightSet.of(torch.arange(0, 10000, 10), (100, 100))
    assert (tenth.encoding, tenth.data.nbytes) == ("bits", 1250)
    assert tenth.for_speed().encoding == "idx"
    half = WeightSet.of(torch.arange(0, 10000, 2), (100, 100))
    assert half.for_speed().encoding == "bits"
    columns = WeightSet("cols", torch.arange(0, 100, 2), (100, 100))
    assert columns == half
    assert columns.data.nbytes == 200
    assert torch.equal(WeightSet("idx", torch.arange(10), (2**40, 3)).data, torch.arange(10))


@pytest.mark.parametrize(
    ("form", "data", "message"),
    [
        ("idx", [3, 3], "not strictly ascending"),
        ("idx", [-1], "outside the 91"),
        ("rows", [7], "outside the 7"),
        ("cols", [13], "outside the 13"),
        ("bits", [255] * 12, "beyond the 91 weights"),
        ("bits", [255] * 11, "not 12 bytes"),
        ("planes", [1], "unknown kind"),
    ],
)
def test_data_that_do_not_fit_are_refused(form, data, message):
    with pytest.raises(ValueError, match=message):
        WeightSet(form, torch.tensor(data, dtype=torch.uint8 if form == "bits" else torch.int64), SHAPE)


def test_a_scalar_parameter_has_one_weight():
    assert len(WeightSet.of(torch.tensor([0]), ())) == 1


def test_a_vector_has_no_rows():
    with pytest.raises(ValueError, match="only a matrix has rows"):
        WeightSet("rows", torch.tensor([0]), (5,))


BOXES = [((2, 0), (3, 13)), ((0, 4), (7, 5)), ((1, 3), (4, 6)), ((7, 0), (0, 13)), ((0, 0), SHAPE)]


@pytest.mark.parametrize(("start", "shape"), BOXES)
@pytest.mark.parametrize("form", ENCODINGS)
def test_what_lies_within_a_box_is_what_a_mask_of_it_says(form, start, shape):
    made, expected = some(form)
    mask = np.zeros(SHAPE, dtype=bool)
    mask.reshape(-1)[sorted(expected)] = True
    inside = mask[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]]
    part = made.within(start, shape)
    assert part.shape == shape
    assert part.indices().tolist() == np.flatnonzero(inside).tolist()
    tensor = torch.arange(91.0).view(SHAPE)[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]].contiguous()
    assert part.gather(tensor).tolist() == tensor.numpy()[inside].tolist()
    part.fill_(tensor, -1.0)
    assert (tensor.numpy() == -1.0).tolist() == inside.tolist()
