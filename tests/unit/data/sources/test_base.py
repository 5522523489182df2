"""How documents are divided into splits and pools."""

from collections import Counter

import numpy as np
import pytest

from lightning_langcore.data.sources.base import Splitter
from tests.support.texts import ListSource

# --- splits


def test_shares_of_splits_and_pools_are_as_asked():
    splitter = Splitter(test=0.1, validation=0.05, pools={"base": 2, "locate": 1, "run": 1})
    count = 20_000
    found = Counter(splitter.place(f"document {i}") for i in range(count))
    expected = {"test": 0.1, "validation": 0.05, "base": 0.425, "locate": 0.2125, "run": 0.2125}
    assert found.keys() == expected.keys()
    for place, share in expected.items():
        assert abs(found[place] - share * count) < 4 * np.sqrt(share * (1 - share) * count), place


def test_a_document_stays_where_it_is_when_others_come_and_in_every_language():
    splitter = Splitter(0.2, 0.1, {"base": 1, "run": 1})
    few, many = ListSource(200), ListSource(900)
    places = ("test", "validation", "base", "run")
    parts = {place: list(splitter.texts(few, "ru", place)) for place in places}
    assert Counter(t for part in parts.values() for t in part) == Counter(d.text for d in few.documents("ru"))
    for place, part in parts.items():
        assert list(splitter.texts(many, "ru", place))[: len(part)] == part
        assert [t.replace("ru ", "zh ", 1) for t in part] == list(splitter.texts(few, "zh", place))


def test_a_pool_without_weight_gets_nothing_and_leaves_test_and_validation_alone():
    with_base, without = Splitter(0.2, 0.1, {"base": 1, "run": 1}), Splitter(0.2, 0.1, {"base": 0, "run": 1})
    for i in range(2000):
        one, other = with_base.place(str(i)), without.place(str(i))
        assert other == ("run" if one == "base" else one)


@pytest.mark.parametrize(("test", "validation", "pools"), [(0.6, 0.4, {"run": 1}), (-0.1, 0, {"run": 1}), (0, 0, {})])
def test_shares_that_leave_nothing_are_refused(test, validation, pools):
    with pytest.raises(ValueError, match=r"data\.(splits|pools)"):
        Splitter(test, validation, pools)
    with pytest.raises(ValueError, match=r"data\.pools"):
        Splitter(0, 0, {"run": 0, "base": 0})
