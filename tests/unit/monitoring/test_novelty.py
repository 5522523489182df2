"""Memory of pairs and of what tokens cost, against sets, dicts and all stretches tried."""

import math
from itertools import pairwise

import numpy as np
import pytest

from lightning_langcore.monitoring.novelty import CostMemory, Costs, PairMemory, text_places, unseen


def worst_stretch(marks):
    """The largest sum of neighbours: all stretches are tried."""
    return max(sum(marks[i:j]) for i in range(len(marks) + 1) for j in range(i, len(marks) + 1))


def look(memory, rows):
    """Excess of new pairs and their hashes, where everything is text."""
    pairs = np.ones((len(rows), rows.shape[1] - 1), dtype=bool)
    is_new, hashes = memory.look(rows, pairs)
    return unseen(is_new, pairs), hashes


def test_unseen_pairs_are_those_that_a_set_does_not_hold():
    rng = np.random.default_rng(0)
    memory, known = PairMemory(24), set()
    seen_values = []
    for _ in range(8):
        rows = rng.integers(0, 20, (4, 65))
        is_text = np.ones(rows.shape, dtype=bool)
        is_text[1, :20] = False
        counts = is_text[:, :-1] & is_text[:, 1:]
        is_new, hashes = memory.look(rows, counts)
        expected, new = [], []
        for row, text in zip(rows, is_text, strict=True):
            pairs = [(a, b) for (a, b), (c, d) in zip(pairwise(row), pairwise(text), strict=True) if c and d]
            new += [pair for pair in pairs if pair not in known]
            expected.append(worst_stretch([(pair not in known) - 0.6 for pair in pairs]))
        assert unseen(is_new, counts) == pytest.approx(expected)
        assert len(hashes) == len(new) == is_new.sum()
        memory.add(hashes)
        known |= set(new)
        seen_values.append(max(expected))
    assert seen_values[0] == pytest.approx(0.4 * 64)
    assert 0 < seen_values[-1] < 10


def test_a_stretch_ends_at_what_is_no_text():
    pairs = np.ones((1, 40), dtype=bool)
    pairs[0, 19:21] = False
    is_new, hashes = PairMemory(16).look(np.arange(41)[None], pairs)
    assert unseen(is_new, pairs)[0] == pytest.approx(0.4 * 19)
    assert len(hashes) == 38


def test_a_burst_counts_the_same_wherever_it_stands():
    known, burst = np.arange(100)[None], 1000 + np.arange(30)
    memory = PairMemory(20)
    memory.add(look(memory, known)[1])
    for place in (0, 35, 70):
        row = np.concatenate((known[0, :place], burst, known[0, place:70]))[None]
        assert look(memory, row)[0][0] == pytest.approx(0.4 * 30, abs=0.41)


def test_a_full_memory_takes_new_pairs_for_known_as_often_as_it_says():
    rng = np.random.default_rng(0)
    memory = PairMemory(16)
    rows = rng.integers(0, 1 << 30, (1, 30_001))
    memory.add(look(memory, rows)[1])
    new = look(memory, rng.integers(0, 1 << 30, (1, 30_001)))[1]
    assert len(new) / 30_000 == pytest.approx(math.exp(-30_000 / 2**16), abs=0.01)
    again = PairMemory(16)
    assert again.load(memory.state())
    assert look(again, rows)[0][0] == 0.0
    assert not PairMemory(17).load(memory.state())


class PlainCosts:
    """What :class:`CostMemory` remembers, token by token."""

    def __init__(self):
        self.usual, self.first, self.pairs = {}, [0.0, 0.0], [0.0, 0.0]

    def surprise(self, labels, nats, is_new):
        share = self.pairs[0] / self.pairs[1]
        marks = []
        for label, cost, new in zip(labels, nats, is_new, strict=True):
            total, times = self.usual.get(label, (0.0, 0.0))
            mean = (total + 3 * self.first[0] / self.first[1]) / (times + 3)
            marks.append((cost > mean + 0.5) - 0.6 + new - math.sqrt(share) if label >= 0 else 0.0)
        return worst_stretch(marks)

    def add(self, labels, nats, is_new):
        met = set(self.usual)
        self.pairs = [0.98 * self.pairs[0], 0.98 * self.pairs[1]]
        for label, cost, new in zip(labels, nats, is_new, strict=True):
            if label < 0:
                continue
            total, times = self.usual.get(label, (0.0, 0.0))
            self.usual[label] = (total + cost, times + 1)
            if label not in met:
                self.first = [self.first[0] + cost, self.first[1] + 1]
            self.pairs = [self.pairs[0] + new, self.pairs[1] + 1]
        for label, (total, times) in self.usual.items():
            if times > 256:
                self.usual[label] = (total * 256 / times, 256)
        if self.first[1] > 256:
            self.first = [self.first[0] * 256 / self.first[1], 256]


def test_surprise_equals_plain_loops_over_tokens_and_stretches():
    rng = np.random.default_rng(0)
    memory, plain = CostMemory(), PlainCosts()
    for step in range(12):
        labels = rng.geometric(0.1, (3, 40)) + 3 * step  # some tokens often enough, and always new ones
        labels[0, 5:9] = -100
        nats, is_new = rng.exponential(4.0, labels.shape), rng.random(labels.shape) < 0.8 / (1 + step)
        found = memory.surprise(labels, nats, is_new)
        if step == 0:
            assert found is None
        else:
            expected = [plain.surprise(*row) for row in zip(labels.tolist(), nats, is_new, strict=True)]
            assert found == pytest.approx(expected)
            assert max(expected) > 0
        scored = labels >= 0
        ranks = [[a[rows][scored[rows]] for a in (labels, nats, is_new)] for rows in (slice(1), slice(1, 3))]
        memory.add([Costs.of(*parts) for parts in ranks])
        plain.add(*(a[scored].tolist() for a in (labels, nats, is_new)))


def test_a_mean_follows_a_level_that_changes():
    memory, labels, new = CostMemory(), np.zeros((1, 64), np.int64), np.zeros((1, 64), bool)
    for level, surprise in ((2.0, None), (6.0, 0.4 * 64), (6.0, 0.4 * 64)):
        found = memory.surprise(labels, np.full(labels.shape, level), new)
        assert found == (None if surprise is None else pytest.approx([surprise]))
        memory.add([Costs.of(labels[0], np.full(64, level), new[0])])
    for _ in range(20):
        memory.add([Costs.of(labels[0], np.full(64, 6.0), new[0])])
    assert memory.surprise(labels, np.full(labels.shape, 6.4), new)[0] == 0.0  # without an end it would be 5.8
    assert memory.surprise(labels, np.full(labels.shape, 6.6), new)[0] == pytest.approx(0.4 * 64)


def test_where_every_pair_is_new_only_costs_count():
    memory, labels = CostMemory(), np.arange(50)[None]
    memory.add([Costs.of(labels[0], np.full(50, 5.0), np.ones(50, bool))])
    assert memory.surprise(labels, np.full((1, 50), 5.0), np.ones((1, 50), bool))[0] == 0.0
    assert memory.surprise(labels, np.full((1, 50), 5.6), np.ones((1, 50), bool))[0] == pytest.approx(0.4 * 50)


def test_costs_go_on_from_their_state():
    rng = np.random.default_rng(0)
    one, two = CostMemory(), CostMemory()
    labels, nats, new = rng.integers(0, 30, (2, 40)), rng.exponential(4.0, (2, 40)), rng.random((2, 40)) < 0.3
    one.add([Costs.of(labels[0], nats[0], new[0])])
    two.load(one.state())
    assert np.array_equal(one.surprise(labels, nats, new), two.surprise(labels, nats, new))
    one.add([Costs.of(labels[1], nats[1], new[1])])
    assert not np.array_equal(one.surprise(labels, nats, new), two.surprise(labels, nats, new))


def test_padding_is_a_run_at_an_edge_that_no_label_scores():
    ids = np.array([[9, 9, 9, 4, 5, 5], [1, 2, 3, 0, 0, 0], [7, 7, 7, 7, 7, 7], [7, 7, 7, 7, 7, 7], [1, 2, 3, 4, 5, 6]])
    scored = np.zeros(ids.shape, dtype=bool)
    scored[0, 4] = scored[1, :2] = scored[3] = True
    expected = [[0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0] * 6, [1] * 6, [1] * 6]
    assert text_places(ids, scored).astype(int).tolist() == expected
