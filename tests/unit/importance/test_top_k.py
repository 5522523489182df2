"""The k smallest scores against sorting."""

import numpy as np
import pytest

from lightning_langcore.importance import top_k
from lightning_langcore.importance.top_k import choose, keys_of, smallest_k_key
from tests.support.scores import NAME, scores_of

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
        key, needed = smallest_k_key(keys_of(values, "lowest"), k)
        assert np.uint32(key).view(np.float32) == ordered[k - 1]
        assert needed == k - np.count_nonzero(values < ordered[k - 1])
        key, needed = smallest_k_key(keys_of(values, "highest"), k)
        assert (np.uint32(0x7F800000) - np.uint32(key)).view(np.float32) == ordered[-k]
        assert needed == k - np.count_nonzero(values > ordered[-k])


@pytest.mark.parametrize("end", ["lowest", "highest"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample", [1 << 16, 64])  # without and with a bound read off a sample
def test_the_chosen_scores_are_those_of_a_sort(kind, end, sample, monkeypatch):
    monkeypatch.setattr(top_k, "_SAMPLE", sample)
    values = scores_of(kind)
    ordered = np.sort(values) if end == "lowest" else np.sort(values)[::-1]
    for k in {0, 1, round(0.05 * len(values)), len(values) // 2, len(values)}:
        chosen, num_ties = choose(NAME, values, k, end, seed=0)
        assert len(chosen) == k
        assert (np.diff(chosen) > 0).all()
        assert np.array_equal(np.sort(values[chosen]), np.sort(ordered[:k]))
        cut = ordered[k - 1] if k else None
        at_cut = int(np.count_nonzero(ordered[:k] == cut)) if k else 0
        assert num_ties == (at_cut if at_cut < np.count_nonzero(values == cut) else 0)
