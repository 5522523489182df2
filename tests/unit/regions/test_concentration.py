"""How much a region gathers in few rows or columns, against sums over dense masks and random regions."""

import csv
import math

import numpy as np
import pytest

from lightning_langcore.regions import weight_set
from lightning_langcore.regions.concentration import concentration, concentration_table, random_band, write_csv
from tests.support.regions import row_column_counts


def uniform(rows, cols, num_weights, seed):
    """Independent of the hypergeometric: weights drawn one by one."""
    return np.random.default_rng(seed).choice(rows * cols, num_weights, replace=False)


@pytest.mark.parametrize("shape", [(7, 3), (1, 40), (40, 1), (128, 344)])
def test_counts_equal_sums_over_a_dense_mask(shape, monkeypatch):
    monkeypatch.setattr(weight_set, "_CHUNK", 100)
    mask = np.random.default_rng(0).random(shape) < 0.3
    rows, cols = row_column_counts(np.flatnonzero(mask).astype(np.int32), *shape)
    assert rows.dtype == cols.dtype == np.int64
    assert rows.tolist() == mask.sum(1).tolist()
    assert cols.tolist() == mask.sum(0).tolist()


def test_counts_of_nothing():
    rows, cols = row_column_counts(np.empty(0, np.int32), 3, 5)
    assert rows.tolist() == [0] * 3
    assert cols.tolist() == [0] * 5


def test_share_by_hand():
    counts = np.array([1, 7, 0, 2, 5, 5, 0, 0, 0, 0])
    assert concentration(counts, 9).share == 7 / 20  # one line at least
    assert concentration(counts, 9, top=0.2).share == 12 / 20
    assert concentration(counts, 9, top=1.0) == (1.0, 1.0, 1.0, 1.0)


def test_a_full_matrix_is_certain():
    assert concentration(np.full(200, 30), 30) == pytest.approx((0.01,) * 4)


def test_expectation_of_one_weight_of_two_in_the_fullest_line():
    # two weights in n lines of L: both in one line with p = (L - 1) / (nL - 1), index 1, else one half
    lines, length = 5, 4
    together = (length - 1) / (lines * length - 1)
    found = concentration(np.array([1, 1, 0, 0, 0]), length, draws=20_000)
    assert found.expected == pytest.approx(0.5 + together / 2, abs=0.005)
    assert (found.share, found.low, found.high) == (0.5, 0.5, 1.0)


def test_random_regions_lie_inside_the_interval_and_clustered_ones_far_outside():
    rows, cols, num_weights = 344, 128, 2202
    draws = [row_column_counts(uniform(rows, cols, num_weights, seed), rows, cols)[0] for seed in range(200)]
    found = [concentration(counts, cols) for counts in draws]
    assert len({one[1:] for one in found}) == 1
    inside = [one.low <= one.share <= one.high for one in found]
    assert 0.9 <= np.mean(inside) <= 0.99
    error = np.std([one.share for one in found]) / math.sqrt(200)
    assert found[0].expected == pytest.approx(np.mean([one.share for one in found]), abs=5 * error)
    column = np.arange(rows) * cols + 17
    others = uniform(rows, cols, num_weights, 0)
    rows_of, columns_of = (
        concentration(counts, length)
        for counts, length in zip(row_column_counts(np.union1d(column, others), rows, cols), (cols, rows), strict=True)
    )
    assert columns_of.share > 5 * columns_of.expected
    assert rows_of.share < 1.5 * rows_of.expected


def test_band_holds_the_ranks_of_random_regions():
    rows, cols, num_weights = 60, 40, 240
    low, high = random_band(rows, cols, num_weights)
    assert (np.diff(low) <= 0).all()
    draws = [row_column_counts(uniform(rows, cols, num_weights, seed), rows, cols)[0] for seed in range(300)]
    ranked = np.sort(draws, axis=1)[:, ::-1]
    assert ((ranked >= low) & (ranked <= high)).mean() > 0.93
    assert low[0] > num_weights / rows > high[-1]


def test_the_seed_decides():
    counts = row_column_counts(uniform(344, 128, 2000, 0), 344, 128)[0]
    assert concentration(counts, 128, seed=1) == concentration(counts, 128, seed=1)
    assert concentration(counts, 128, seed=1).expected != concentration(counts, 128, seed=2).expected


def test_what_can_not_be_is_refused():
    with pytest.raises(ValueError, match="0 weights"):
        concentration(np.zeros(4, np.int64), 3)
    with pytest.raises(ValueError, match="4 in a line of 3"):
        concentration(np.array([4, 0]), 3)
    with pytest.raises(ValueError, match="top is 2"):
        concentration(np.array([1, 0]), 3, top=2)


def test_the_file_says_what_the_table_says(tmp_path):
    shape = (20, 30)
    empty = row_column_counts(np.empty(0, np.int64), *shape)
    table = concentration_table({"a.weight": row_column_counts(uniform(*shape, 50, 0), *shape), "b.weight": empty})
    assert list(table) == ["a.weight"]
    write_csv(table, tmp_path / "concentration.csv")
    with (tmp_path / "concentration.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row.pop("parameter") == "a.weight"
    assert row.pop("num_weights") == "50"
    ways = [f"{way}_{field}" for way in ("rows", "columns") for field in ("share", "expected", "low", "high")]
    assert list(row) == ways
    expected = [*table["a.weight"].rows, *table["a.weight"].columns]
    assert [float(value) for value in row.values()] == pytest.approx(expected, rel=1e-5)
