"""Repeated spans, against a search that tries every span at every place."""

import numpy as np
import pytest
import torch

from lightning_langcore.metrics.repetition import Repeat, longest_repeat, repeat_counts


def copies(tokens, start, period):
    """How often the span at ``start`` stands there one after the other."""
    span = tokens[start : start + period]
    count = 1
    while tokens[start + count * period : start + (count + 1) * period] == span:
        count += 1
    return count


def search(tokens, max_period):
    best = Repeat(1, 1, 0)
    for period in range(1, min(max_period, len(tokens)) + 1):
        for start in range(len(tokens) - period + 1):
            count = copies(tokens, start, period)
            if count > best.count:
                best = Repeat(count, period, start)
    return best


@pytest.mark.parametrize("alphabet", [1, 2, 3, 5])
@pytest.mark.parametrize("max_period", [1, 2, 3, 13])
def test_finds_what_a_search_of_every_span_finds(alphabet, max_period):
    random = np.random.default_rng(alphabet)
    for _ in range(60):
        tokens = random.integers(0, alphabet, random.integers(0, 40))
        assert longest_repeat(tokens, max_period) == search(tokens.tolist(), max_period)


@pytest.mark.parametrize("period", range(1, 14))
def test_finds_a_planted_span(period):
    span = list(range(100, 100 + period))
    tokens = [1, 2, 3, *span * 40, *span[: period // 2], 4, 5]
    assert longest_repeat(tokens) == Repeat(40, period, 3)
    if period > 1:
        assert longest_repeat(tokens, period - 1) == Repeat(1, 1, 0)


def test_of_equals_the_shortest_span_then_the_first():
    assert longest_repeat([1, 2, 1, 2, 9, 5, 5, 9, 7, 7]) == Repeat(2, 1, 5)
    # the first two pairs repeat longer, but not one whole pair more
    assert longest_repeat([1, 2, 1, 2, 9, 3, 4, 3, 4, 3]) == Repeat(2, 2, 0)


def test_takes_words_tensors_and_small_types():
    words = ["no", "no", "no", "yes"]
    assert longest_repeat(words) == Repeat(3, 1, 0)
    tokens = torch.tensor([7, 1, 2, 1, 2, 1, 2])
    assert longest_repeat(tokens) == longest_repeat(tokens.numpy().astype(np.uint16)) == Repeat(3, 2, 1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (5, 40), (32, 17), (0, 8), (4, 0)])
def test_each_row_of_a_batch_is_counted_by_itself(shape):
    rows = np.random.default_rng(sum(shape)).integers(0, 2, shape)
    counts = repeat_counts(rows, 5)
    assert counts.shape == shape[:1]
    assert counts.tolist() == [search(row.tolist(), 5).count for row in rows]


def test_a_repeat_does_not_go_on_into_the_next_row():
    rows = torch.tensor([[1, 2, 8, 8], [8, 8, 8, 5], [1, 2, 3, 4]])
    assert repeat_counts(rows).tolist() == [2, 3, 1]


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="max_period=0"):
        longest_repeat([1, 2], 0)
    with pytest.raises(ValueError, match=r"\(2, 2\) must be one row"):
        longest_repeat([[1, 2], [1, 2]])
