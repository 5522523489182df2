"""The cost of freezing is paired by seed, and its sentence true either way."""

import math

import pytest

from lightning_langcore.reports import page as page_
from lightning_langcore.results import cost_of_freezing, number_format
from tests.support.reports import family, make


def test_price_is_paired_by_seed(tmp_path):
    finals = {("core", True, 0): 4.0, ("core", False, 0): 2.0, ("core", True, 1): 3.5, ("core", False, 1): 2.5}
    finals |= {("core", True, 2): 9.0}  # no free partner
    finals |= {("random", True, 0): 2.25, ("random", False, 0): 2.0}
    core, random, against = cost_of_freezing.cost_of_freezing(family(tmp_path, finals))
    assert (core.region, core.lang, core.nats) == ("core", "zh", {0: 2.0, 1: 1.0})
    assert (core.mean, core.low, core.high) == (1.5, 1.0, 2.0)
    assert core.ratio == pytest.approx(4.481689, rel=1e-6)
    assert core.text() == (
        "zh, core, frozen against free: 4.48 times (2.72–7.39);"
        " frozen ends higher than free; 2 seeds agree on the direction"
    )
    assert (random.region, random.nats) == ("random", {0: 0.25})
    assert "one seed" in random.text()
    assert (against.comparison, against.nats) == ("core minus random", {0: 1.75})
    assert "freezing core costs more than freezing random" in against.text()


@pytest.mark.parametrize(
    ("frozen", "words", "direction"),
    [(2.5, "higher than", 1), (2.0, "the same", 0), (2.009, "the same", 0), (1.5, "lower than", -1)],
)
def test_price_reads_either_way(tmp_path, frozen, words, direction):
    (cost,) = cost_of_freezing.cost_of_freezing(family(tmp_path, {("core", True, 0): frozen, ("core", False, 0): 2.0}))
    assert cost.direction == direction
    assert words in cost.reading()
    assert words in cost_of_freezing.summary([cost])


def test_price_says_when_seeds_disagree(tmp_path):
    finals = {("core", True, 0): 3.0, ("core", False, 0): 2.0, ("core", True, 1): 1.9, ("core", False, 1): 2.0}
    (cost,) = cost_of_freezing.cost_of_freezing(family(tmp_path, finals))
    assert "2 seeds disagree" in cost.reading()
    assert "In 1 the seeds disagree" in cost_of_freezing.summary([cost])


def test_price_is_empty_where_an_arm_is_missing_or_unequal(tmp_path):
    assert cost_of_freezing.cost_of_freezing([]) == []
    assert cost_of_freezing.cost_of_freezing([make(tmp_path)]) == []
    unequal = [make(tmp_path), make(tmp_path, frozen=False, samples=900)]
    assert cost_of_freezing.cost_of_freezing(unequal) == []
    unfinished = [make(tmp_path), make(tmp_path, frozen=False, values={"zh": (2.0, 7.0, 4.0)})]
    assert cost_of_freezing.cost_of_freezing(unfinished) == []
    both = {"zh": (2.0, 7.0, 4.0, math.inf)}
    assert (
        cost_of_freezing.cost_of_freezing([make(tmp_path, values=both), make(tmp_path, frozen=False, values=both)])
        == []
    )


def test_price_with_an_infinite_side_is_infinite(tmp_path):
    runs = family(tmp_path, {("core", True, 0): math.inf, ("core", False, 0): 2.0})
    (cost,) = cost_of_freezing.cost_of_freezing(runs)
    assert number_format.number(cost.ratio) == "∞"
    assert cost.direction == 1
    page_.write_html(runs, tmp_path / "report.html")


def test_without_damage_any_free_run_is_the_partner(tmp_path):
    frozen = make(tmp_path, "core", values={"zh": (2.0, None, 2.0, 1.9)}, method=None)
    control = make(tmp_path, "random", values={"zh": (2.0, None, 2.0, 1.6)}, method=None)
    free = make(tmp_path, None, frozen=False, values={"zh": (2.0, None, 2.0, 1.5)}, method=None)
    costs = cost_of_freezing.cost_of_freezing([frozen, control, free])
    assert [(cost.comparison, cost.nats[0]) for cost in costs] == [
        ("core, frozen against free", pytest.approx(0.4)),
        ("random, frozen against free", pytest.approx(0.1)),
        ("core minus random", pytest.approx(0.3)),
    ]
