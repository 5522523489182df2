"""What regions share: against masks in numpy, against random regions, and by hand."""

import numpy as np
import pytest
import torch

from lightning_langcore import Region
from lightning_langcore.regions.overlap import Overlap, jaccard_matrix, overlap, overlaps, write_csv

SHAPES = {"a": (40, 50), "b": (30, 20)}
GENERATOR = np.random.default_rng(7)


def region_of(masks, shapes=SHAPES):
    return Region(shapes, {name: torch.from_numpy(np.flatnonzero(mask)) for name, mask in masks.items()})


def drawn(generator, sizes):
    """A mask a tensor with exactly so many weights."""
    masks = {}
    for name, size in sizes.items():
        numel = SHAPES[name][0] * SHAPES[name][1]
        masks[name] = np.zeros(numel, bool)
        masks[name][generator.permutation(numel)[:size]] = True
    return masks


@pytest.mark.parametrize("sizes", [({"a": 300, "b": 60}, {"a": 900, "b": 20}), ({"a": 1, "b": 1}, {"a": 1999})])
def test_sizes_jaccard_and_shares_equal_those_of_masks(sizes):
    masks = [drawn(np.random.default_rng(seed), size) for seed, size in enumerate(sizes)]
    row = overlap(*map(region_of, masks), ("x", "y"))
    one, other = (np.concatenate([m.get(n, np.zeros(np.prod(SHAPES[n]), bool)) for n in SHAPES]) for m in masks)
    assert (row.one, row.other, row.num_one, row.num_other) == ("x", "y", one.sum(), other.sum())
    assert row.num_shared == (one & other).sum()
    assert row.jaccard == pytest.approx((one & other).sum() / (one | other).sum())
    assert row.share_of_one == pytest.approx((one & other).sum() / one.sum())


def test_figures_by_hand():
    shapes = {"a": (10, 10), "b": (5, 4)}
    one = Region(shapes, {"a": torch.arange(0, 20), "b": torch.arange(0, 10)})
    other = Region(shapes, {"a": torch.arange(15, 45), "b": torch.arange(10, 20)})
    row = overlap(one, other)
    assert (row.num_one, row.num_other, row.num_shared) == (30, 40, 5)
    assert row.jaccard == pytest.approx(5 / 65)
    assert row.share_of_one == pytest.approx(5 / 30)
    expected = 20 * 30 / 100 + 10 * 10 / 20  # shared by chance, tensor by tensor
    assert row.chance == pytest.approx(expected / (70 - expected))


def test_chance_is_what_random_regions_share():
    """The sizes differ much between the tensors, so that a chance over all tensors at once would be wrong."""
    sizes = {"a": 200, "b": 300}, {"a": 500, "b": 450}
    rows = [overlap(*(region_of(drawn(GENERATOR, size)) for size in sizes)) for _ in range(300)]
    found = np.array([row.jaccard for row in rows])
    assert abs(found.mean() - rows[0].chance) < 4 * found.std() / np.sqrt(len(found))
    pooled = 500 * 950 / 2600
    assert abs(found.mean() - pooled / (1450 - pooled)) > 20 * found.std() / np.sqrt(len(found))


def test_identical_disjoint_and_empty_regions():
    full, empty = region_of(drawn(GENERATOR, {"a": 100, "b": 10})), Region(SHAPES, {})
    same = overlap(full, full)
    assert (same.jaccard, same.share_of_one, same.num_shared) == (1.0, 1.0, 110)
    everything = Region(SHAPES, {"a": torch.arange(2000), "b": torch.arange(600)})
    assert overlap(full, everything - full).num_shared == 0
    assert overlap(everything, everything).chance == 1.0
    for pair in ((full, empty), (empty, full), (empty, empty)):
        row = overlap(*pair)
        assert (row.num_shared, row.jaccard, row.chance, row.share_of_one) == (0, 0.0, 0.0, 0.0)


def test_regions_of_other_models_are_refused_by_name():
    regions = {
        "core": Region(SHAPES, {}),
        "random": Region(SHAPES, {"a": torch.arange(3)}),
        "foreign": Region({"a": (40, 51)}, {"a": torch.arange(3)}),
    }
    with pytest.raises(
        ValueError, match=r"^core and foreign: the regions belong to different models: a has two shapes"
    ):
        overlaps(regions)


def test_every_ordered_pair_in_order_each_as_if_compared_alone():
    regions = {name: region_of(drawn(GENERATOR, {"a": 50 * n, "b": 9 * n})) for n, name in enumerate("zyx")}
    rows = overlaps(regions)
    assert [row.one + row.other for row in rows] == ["zy", "zx", "yz", "yx", "xz", "xy"]
    for row in rows:
        alone = overlap(regions[row.one], regions[row.other], (row.one, row.other))
        assert (alone.num_one, alone.num_other, alone.num_shared) == (row.num_one, row.num_other, row.num_shared)
        for field in ("jaccard", "chance", "share_of_one"):
            assert getattr(row, field) == pytest.approx(getattr(alone, field))


def test_matrix_leaves_the_diagonal_out():
    pairs = {("p", "q"): 0.25, ("p", "r"): 0.5, ("q", "p"): 0.25, ("q", "r"): 0.0, ("r", "p"): 0.5, ("r", "q"): 0.0}
    rows = [Overlap(*pair, 4, 4, 0, value, value / 5, 0.0) for pair, value in pairs.items()]
    names, values, chance = jaccard_matrix(rows)
    assert names == ["p", "q", "r"]
    nan = np.nan
    np.testing.assert_array_equal(values, [[nan, 0.25, 0.5], [0.25, nan, 0.0], [0.5, 0.0, nan]])
    assert chance == pytest.approx((0.25 + 0.5 + 0.0) / 3 / 5)
    with pytest.raises(ValueError, match="needs two regions"):
        jaccard_matrix([])


def test_csv_holds_a_line_a_pair(tmp_path):
    rows = [
        Overlap("core", "mono:zh, new", 4, 6, 2, 0.25, 1 / 3, 0.5),
        Overlap("mono:zh, new", "core", 6, 4, 2, 0, 1, 1.0),
    ]
    write_csv(rows, tmp_path / "new" / "overlap.csv")
    assert (tmp_path / "new" / "overlap.csv").read_text().splitlines() == [
        "one,other,num_one,num_other,num_shared,jaccard,chance,share_of_one",
        'core,"mono:zh, new",4,6,2,0.250000,0.333333,0.500000',
        '"mono:zh, new",core,6,4,2,0,1,1.000000',
    ]
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["overlap.csv"]
