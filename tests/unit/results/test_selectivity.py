"""Which language suffers from which monolingual region, against arithmetic by hand."""

import csv
import math

import numpy as np
import pytest

from lightning_langcore.results.record import Results
from lightning_langcore.results.selectivity import own_and_others, write_csv

BASE = {"zh": 1.0, "ar": 2.0, "en": 0.5}
INCREASE = {
    **{("zh", lang): nats for lang, nats in (("zh", 0.9), ("ar", 0.3), ("en", 0.3))},
    **{("ar", lang): nats for lang, nats in (("zh", 0.1), ("ar", 0.8), ("en", 0.0))},
}


def perturbed(folder, regions=("zh", "ar"), seeds=(0,), nats=None, increase=INCREASE):
    run = Results(folder, experiment="perturb", seed=0, model={"name": "tiny"}, region={"score": "taylor"})
    plain = {"samples": 0, "split": "test", "bits_per_byte": 1.0, "num_tokens": 9, "num_bytes": 20}
    for lang, value in BASE.items():
        run.add({**plain, "stage": "base", "lang": lang, "seed": 0, "nats_per_token": value})
    for region in regions:
        for seed in seeds:
            for lang, value in BASE.items():
                more = increase[region, lang] + (0.1 if seed else -0.1) * (len(seeds) > 1)
                row = {"stage": "perturbed", "lang": lang, "variant": f"mono:{region}", "fraction": 0.05, "seed": seed}
                figure = nats if nats is not None and lang == region == "zh" else value + more
                run.add({**plain, **row, "method": "reinit", "strength": 2.0, "nats_per_token": figure})
    return run


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_increase_and_excess_by_hand(tmp_path, seeds):
    (table,) = own_and_others([perturbed(tmp_path, seeds=seeds)])
    assert table.setting == "5 %, reinit, strength 2"
    assert (table.regions, table.languages) == (["zh", "ar"], ["zh", "ar", "en"])
    np.testing.assert_allclose(table.increase, [[0.9, 0.3, 0.3], [0.1, 0.8, 0.0]], atol=1e-12)
    mean = 2.4 / 6
    by_hand = 0.9 - (1.5 / 3) - (1.0 / 2) + mean
    assert table.own("zh") == pytest.approx(by_hand)
    np.testing.assert_allclose(table.excess.sum(0), 0, atol=1e-12)
    np.testing.assert_allclose(table.excess.sum(1), 0, atol=1e-12)
    assert math.isnan(table.own("ko"))


def test_additive_damage_has_no_excess(tmp_path):
    by_region, by_lang = {"zh": 0.1, "ar": 0.7}, {"zh": 0.3, "ar": 0.0, "en": 0.2}
    additive = {(region, lang): a + b for region, a in by_region.items() for lang, b in by_lang.items()}
    (table,) = own_and_others([perturbed(tmp_path, increase=additive)])
    np.testing.assert_allclose(table.excess, 0, atol=1e-12)


def test_one_region_makes_no_table_and_an_infinite_figure_is_left_out(tmp_path):
    assert own_and_others([perturbed(tmp_path, regions=("zh",))]) == []
    (table,) = own_and_others([perturbed(tmp_path, nats=math.inf)])
    assert math.isnan(table.increase[0, 0])
    assert np.isfinite(table.excess).sum() == 5


def test_the_csv_has_a_row_for_each_region_and_language(tmp_path):
    write_csv(own_and_others([perturbed(tmp_path)]), tmp_path / "m.csv")
    rows = list(csv.DictReader((tmp_path / "m.csv").open()))
    assert len(rows) == 6
    first = {"setting": "5 %, reinit, strength 2", "region": "zh", "lang": "zh"}
    assert rows[0] == {**first, "increase": "0.900000", "excess": "0.300000"}
