"""Many regions from one reading: each equals the one that a plain computation over everything finds."""

import itertools

import numpy as np
import pytest
import torch

from lightning_langcore import random_region, select
from lightning_langcore.importance.search import Query, locate
from lightning_langcore.importance.selectors import SelectionSpec

SHAPES = {"model.layers.0.a.weight": (12, 8), "model.layers.1.a.weight": (9, 14)}
NORM = "model.norm.weight"
LANGUAGES = ["zh", "ar", "ru"]


def made(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {n: torch.from_numpy((scale * rng.normal(0, 1, s)).astype(np.float32)) for n, s in everything().items()}


def everything():
    return {**SHAPES, NORM: (8,)}


THETA = made(0)


class Known:
    """Statistics kept in memory; counts how often each is read."""

    languages = LANGUAGES

    def __init__(self):
        self.read = []
        kinds = ("change", "gradient_sum", "gradient_abs", "gradient_square")
        self.values = {
            (language, kind): {n: t.abs() for n, t in made(10 * i + j + 1).items()}
            for i, language in enumerate(LANGUAGES)
            for j, kind in enumerate(kinds)
        }

    def has(self, name, statistic):
        return True

    def statistic(self, language, name, statistic):
        self.read.append((language, name, statistic))
        return self.values[language, statistic][name].clone()


def plain(score, language):
    """The score over some languages, in numpy."""
    kinds = {"fisher": "gradient_square", "taylor": "gradient_sum", "taylor_per_batch": "gradient_abs"}
    known = Known()
    found = {}
    for name in SHAPES:
        theta = THETA[name].numpy()
        parts = [
            known.values[lang, kinds.get(score, "change")][name].numpy()
            for lang in ([language] if language else LANGUAGES)
        ]
        total = np.sum(parts, 0, dtype=np.float32)
        if score == "relative_change":
            total = total / np.maximum(np.abs(theta), 1e-3 * np.sqrt(np.mean(theta.astype(np.float64) ** 2)))
        elif score.startswith("taylor"):
            total = total * np.abs(theta)
        elif score == "magnitude":
            total = np.abs(theta)
        found[name] = torch.from_numpy(np.ascontiguousarray(total, dtype=np.float32))
    return found


CASES = [
    *itertools.product(["weight_change", "relative_change"], ["lowest", "highest"], ["tensor", "model"], [None, "ar"]),
    *itertools.product(["taylor", "taylor_per_batch", "fisher"], ["highest"], ["tensor", "model"], [None, "zh"]),
    ("magnitude", "highest", "tensor", None),
    ("magnitude", "highest", "model", None),
]
WANTED = {
    f"{number}": Query(score, SelectionSpec(0.1, end, "element", scope), language)
    for number, (score, end, scope, language) in enumerate(CASES)
}


def search(queries=WANTED, known=None, **more):
    return locate(THETA, known or Known(), SHAPES, queries, **more)


def test_every_region_equals_its_own_selection_from_plain_scores():
    found = search()
    assert found.regions.keys() == WANTED.keys()
    for key, (score, end, scope, language) in zip(WANTED, CASES, strict=True):
        assert found.regions[key] == select(plain(score, language), 0.1, end, scope=scope), CASES[int(key)]
        assert found.regions[key].meta["score"] == score
        expected = None if score == "magnitude" else [language] if language else LANGUAGES
        assert found.regions[key].meta.get("languages") == expected


def test_each_statistic_is_read_once_a_pass():
    known = Known()
    search(known=known)
    assert max(known.read.count(one) for one in known.read) == 3  # two more for scope=model
    known = Known()
    tensor = {key: query for key, query in WANTED.items() if query.spec.scope == "tensor"}
    search(tensor, known)
    assert max(known.read.count(one) for one in known.read) == 1


def test_random_regions_of_several_seeds_and_lines_go_with_the_rest():
    queries = {f"r{seed}": Query("random", SelectionSpec(0.2, "lowest", seed=seed)) for seed in (0, 1)}
    queries["rows"] = Query("weight_change", SelectionSpec(0.5, "lowest", "row"))
    found = search(queries)
    assert found.regions["r0"] == random_region(SHAPES, 0.2, 0)
    assert found.regions["r1"] == random_region(SHAPES, 0.2, 1)
    assert found.regions["rows"] == select(plain("weight_change", None), 0.5, "lowest", granularity="row")


def test_the_union_table_counts_all_parameters_and_the_largest_change():
    found = search({}, thresholds=[0.5, 1.0], others=[NORM])
    known = Known()
    for name, shares in found.union.items():
        theta = THETA[name].double().numpy()
        scale = np.maximum(np.abs(theta), 1e-3 * np.sqrt(np.mean(theta**2)))
        each = np.stack([known.values[lang, "change"][name].numpy() / scale for lang in LANGUAGES])
        assert shares == [(each > t).any(0).mean() for t in (0.5, 1.0)]
    assert list(found.union) == [*SHAPES, NORM]


def test_weights_that_never_moved_are_counted():
    known = Known()
    name = next(iter(SHAPES))
    for language in LANGUAGES:
        known.values[language, "change"][name][:6] = 0
    known.values["ar", "change"][name][6:9] = 0
    unchanged = search(known=known).unchanged
    for key, query in WANTED.items():
        if query.statistic == "change":
            assert unchanged[key][name] == pytest.approx(0.75 if query.language == "ar" else 0.5)
        else:
            assert key not in unchanged


def test_of_whole_lines_those_count_that_did_not_move_at_all():
    known = Known()
    name = next(iter(SHAPES))
    for language in LANGUAGES:
        known.values[language, "change"][name][:3] = 0  # three of twelve rows
        known.values[language, "change"][name][:, 0] = 0  # and a weight of every row
    rows, columns = (Query("weight_change", SelectionSpec(0.5, "lowest", unit)) for unit in ("row", "column"))
    unchanged = search({"rows": rows, "columns": columns}, known).unchanged
    assert unchanged["rows"][name] == 3 / 12
    assert unchanged["columns"][name] == 1 / 8


class Stopped(Known):
    """Is interrupted after some readings."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def statistic(self, language, name, statistic):
        if len(self.read) >= self.after:
            raise KeyboardInterrupt
        return super().statistic(language, name, statistic)


@pytest.mark.parametrize("after", [3, 13, 20, 30])
def test_an_interrupted_search_goes_on_where_it_was_and_ends_the_same(tmp_path, after):
    whole = search(thresholds=[0.5], others=[NORM])
    with pytest.raises(KeyboardInterrupt):
        search(known=Stopped(after), thresholds=[0.5], others=[NORM], cache=tmp_path)
    known = Known()
    resumed = search(known=known, thresholds=[0.5], others=[NORM], cache=tmp_path)
    assert resumed.regions == whole.regions
    assert {k: r.meta for k, r in resumed.regions.items()} == {k: r.meta for k, r in whole.regions.items()}
    assert resumed.union == whole.union
    assert resumed.unchanged == whole.unchanged
    total = Known()
    search(known=total, thresholds=[0.5], others=[NORM])
    assert len(known.read) < len(total.read) or after == 3
    again = Known()
    assert search(known=again, thresholds=[0.5], others=[NORM], cache=tmp_path).regions == whole.regions
    assert again.read == []


def test_a_broken_file_of_findings_is_named(tmp_path):
    search(cache=tmp_path)
    next(tmp_path.iterdir()).write_bytes(b"half")
    with pytest.raises(ValueError, match=f"is broken: remove {tmp_path} to begin anew"):
        search(cache=tmp_path)
