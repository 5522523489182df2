"""Concentration of a region in few rows or columns of a matrix, compared with random regions of equal size.

The index is the share of the region's weights of a matrix that lie in the fullest 1 % of its rows (or columns). A
random region also has more than 1 % there, because the fullest rows are chosen afterwards, and the share increases as
the number of weights decreases. So the index is compared with its distribution for random regions: a row of L weights
then holds c_i of them, where (c_1, ..., c_n) is multivariate hypergeometric with n colours of L balls each and sum c_i
drawn.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lightning_langcore.utils import tables
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import track


class Concentration(NamedTuple):
    """The index of one matrix in one direction.

    Attributes:
        share: share (0..1) of the region's weights of the matrix that lie in the fullest rows or columns.
        expected: mean share of random regions of equally many weights.
        low: 2.5th percentile of the random regions.
        high: 97.5th percentile. Of many matrices of a random region one in twenty lies outside low..high.
    """

    share: float
    expected: float
    low: float
    high: float


class MatrixConcentration(NamedTuple):
    """The index of one matrix by rows and by columns; ``num_weights`` of its weights are in the region."""

    num_weights: int
    rows: Concentration
    columns: Concentration


def concentration(counts: np.ndarray, length: int, top: float = 0.01, draws: int = 200, seed: int = 0) -> Concentration:
    """The share of the region in the fullest ``top`` of the rows (or columns), and that of random regions.

    About 0.3 s for 11008 rows of 4096 weights; the result for random regions is cached for matrices of equal shape and
    equally many weights. Memory: 16 bytes x rows x draws.

    Args:
        counts: weights of the region in each row (or column), from ``WeightSet.row_column_counts``.
        length: weights in a row (or column).
        top: share (0..1) of the rows, rounded; at least one row.
        draws: number of random regions.
        seed: seed of the random regions.

    Raises:
        LangcoreError: no weights, more weights in a row than its length, ``top`` outside 0..1, or a matrix of 10^9
            elements.
    """
    num_weights = int(counts.sum())
    if not num_weights or counts.max() > length:
        raise LangcoreError(f"concentration: {num_weights} weights, {counts.max()} in a row or column of {length}")
    if not 0 <= top <= 1:
        raise LangcoreError(f"concentration: top is {top}, not a share 0..1 of the rows or columns")
    num_top = max(1, round(top * len(counts)))
    share = float(_fullest(counts[None], num_top)[0]) / num_weights
    return Concentration(share, *_random_shares(len(counts), length, num_weights, num_top, draws, seed))


def concentration_table(
    counts: Mapping[str, tuple[np.ndarray, np.ndarray]], top: float = 0.01, draws: int = 200, seed: int = 0
) -> dict[str, MatrixConcentration]:
    """Both indices of each matrix, by parameter name; matrices without a weight of the region are left out.

    Args:
        counts: row and column counts by parameter name, from ``WeightSet.row_column_counts``.
        top: see :func:`concentration`.
        draws: see :func:`concentration`.
        seed: see :func:`concentration`.

    Raises:
        LangcoreError: see :func:`concentration`.
    """
    table = {}
    for name, (rows, columns) in track(counts.items(), "concentration", unit="matrix"):
        if rows.any():
            table[name] = MatrixConcentration(
                int(rows.sum()),
                concentration(rows, len(columns), top, draws, seed),
                concentration(columns, len(rows), top, draws, seed),
            )
    return table


def write_csv(table: Mapping[str, MatrixConcentration], path: Path | str) -> None:
    """Write one row per parameter: ``parameter, num_weights, rows_share, rows_expected, ..., columns_high``."""
    fields = [f"{way}_{field}" for way in ("rows", "columns") for field in Concentration._fields]
    rows = (
        [name, matrix.num_weights, *(f"{value:.6g}" for value in (*matrix.rows, *matrix.columns))]
        for name, matrix in table.items()
    )
    tables.write_csv(path, ["parameter", "num_weights", *fields], rows, line_terminator="\n")


@lru_cache(maxsize=64)
def random_band(
    num_rows_columns: int, length: int, num_weights: int, draws: int = 200, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """2.5th and 97.5th percentile of the weights in the fullest, second fullest, ... row (or column) of random regions.

    Raises:
        LangcoreError: more weights than the matrix has, or a matrix of 10^9 elements.
    """
    ranked = np.sort(_random_counts(num_rows_columns, length, num_weights, draws, seed), axis=1)[:, ::-1]
    low, high = np.percentile(ranked, [2.5, 97.5], axis=0)
    return low, high


@lru_cache(maxsize=1024)
def _random_shares(
    num_rows_columns: int, length: int, num_weights: int, num_top: int, draws: int, seed: int
) -> tuple[float, float, float]:
    """Mean, 2.5th and 97.5th percentile of the index."""
    shares = _fullest(_random_counts(num_rows_columns, length, num_weights, draws, seed), num_top) / num_weights
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(shares.mean()), float(low), float(high)


def _random_counts(num_rows_columns: int, length: int, num_weights: int, draws: int, seed: int) -> np.ndarray:
    """One random region per row. ``marginals`` draws once per row or column; ``count`` would list every element."""
    balls = np.full(num_rows_columns, length)
    generator = np.random.default_rng(seed)
    return generator.multivariate_hypergeometric(balls, num_weights, size=draws, method="marginals")


def _fullest(counts: np.ndarray, num_top: int) -> np.ndarray:
    """For each row of ``counts``, the sum of its ``num_top`` largest values."""
    kept = counts.shape[1] - num_top
    total: np.ndarray = np.partition(counts, kept - 1, axis=1)[:, kept:].sum(axis=1) if kept else counts.sum(axis=1)
    return total
