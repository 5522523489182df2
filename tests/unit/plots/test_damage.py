"""Bars of the damage: what is drawn, and where."""

import math

import pytest
from matplotlib.colors import to_rgba

from lightning_langcore import plots
from lightning_langcore.plots.style import colours
from lightning_langcore.results.conditions import points
from lightning_langcore.results.record import Results
from tests.support.recoveries import make


def test_bars_are_the_perturbed_perplexities(tmp_path, drawn):
    runs = [make(tmp_path, kind, values={"zh": (2.0, nats)}) for kind, nats in (("core", 7.0), ("random", 3.0))]
    runs.append(make(tmp_path, "core", frozen=False, values={"zh": (2.0, 7.0, 4.0, 3.0)}))
    runs.append(make(tmp_path, "peripheral", values={"zh": (2.0, math.inf)}))
    plots.damage_bars(runs, tmp_path / "bars.png")
    axes = drawn[0].axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    top = axes.get_ylim()[1]
    assert heights == pytest.approx([math.exp(2), math.exp(3), top, math.exp(7)])
    assert [text.get_text() for text in axes.texts] == ["∞"]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["base", "random", "peripheral", "core"]


def test_damage_has_a_panel_for_each_setting(tmp_path):
    run = make(tmp_path, values={"zh": (2.0,)})
    for fraction, strength, nats in ((0.01, 1.0, 4.0), (0.05, 1.0, 6.0), (0.05, 5.0, 8.0)):
        place = {"stage": "perturbed", "samples": 0, "lang": "zh", "split": "test", "seed": 0}
        condition = {"variant": "core", "fraction": fraction, "method": "reinit", "strength": strength}
        run.add(place | condition | {"nats_per_token": nats, "bits_per_byte": 1.0, "num_tokens": 1, "num_bytes": 1})
    table = plots.perturbed_points(points([run]))
    nats = {
        title: {label: [point.nats for point in own] for label, own in bars.items()} for title, bars in table.items()
    }
    assert nats == {
        "1 %, strength 1": {"base": [2.0], "core": [4.0]},
        "5 %, strength 1": {"base": [2.0], "core": [6.0]},
        "5 %, strength 5": {"base": [2.0], "core": [8.0]},
    }
    plots.damage_bars([run], tmp_path / "bars.png")


def variants(folder, nats, languages=("zh",), seed=0):
    """Perturbed rows of many variants in one run; ``nats`` by variant."""
    run = Results(folder, experiment="damage", seed=seed, model={"name": "tiny"})
    measured = {"bits_per_byte": 1.0, "num_tokens": 1, "num_bytes": 1}
    for lang in languages:
        place = {"samples": 0, "lang": lang, "split": "test", "seed": seed} | measured
        run.add(place | {"stage": "base", "nats_per_token": 2.0})
        for variant, value in nats.items():
            run.add(place | {"stage": "perturbed", "variant": variant, "nats_per_token": value})
    return run


def test_a_region_without_outliers_is_hatched_in_the_colour_of_the_whole(tmp_path, drawn):
    nats = {"core": 8.0, "core-outliers": 7.0, "magnitude": 6.0, "mono:zh": 5.0, "mono:ar": 4.0, "random": 3.0}
    plots.damage_bars([variants(tmp_path, nats)], tmp_path / "bars.png")
    bars = drawn[0].axes[0].patches
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels == ["base", "random", "magnitude", "mono:ar", "mono:zh", "core", "core-outliers"]
    assert [bar.get_height() for bar in bars] == pytest.approx([math.exp(nats.get(label, 2.0)) for label in labels])
    colour = {label: bar.get_facecolor() for label, bar in zip(labels, bars, strict=True)}
    assert colour["core"] == colour["core-outliers"] == to_rgba(plots.COLOURS["core"])
    assert len(set(colour.values())) == 6
    assert [label for label, bar in zip(labels, bars, strict=True) if bar.get_hatch()] == ["core-outliers"]


def test_colours_of_the_monolingual_regions_do_not_depend_on_the_others():
    some = colours(["core", "mono:zh", "mono:ar", "mono:zh-outliers"])
    assert some == colours(["mono:ar", "mono:zh", "mono:zh-outliers", "core"])
    assert some["mono:zh"] == some["mono:zh-outliers"] != some["mono:ar"]
    assert sum(to_rgba(some["mono:ar"])[:3]) > sum(to_rgba(some["mono:zh"])[:3]), "light to dark in alphabetical order"
    assert not {some["mono:zh"], some["mono:ar"]} & set(plots.COLOURS.values())


def test_bars_of_thirty_languages_stay_wide_enough_to_see(tmp_path, drawn):
    languages = [f"l{number}" for number in range(30)]
    nats = dict.fromkeys(["core", "core-outliers", "random", "peripheral", "magnitude", "mono:zh", "mono:ar"], 3.0)
    plots.damage_bars([variants(tmp_path, nats, languages)], tmp_path / "bars.png")
    (figure,) = drawn
    assert figure.get_figwidth() <= 16
    shown = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in figure.axes]
    assert [lang for line in shown for lang in line] == languages
    for axes in figure.axes:
        ends = axes.patches[0].get_window_extent().extents
        assert ends[2] - ends[0] >= 0.05 * figure.dpi  # pixels
        assert len(axes.patches) == 15 * 8
