import math

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.image import imread

from lightning_langcore import plots
from lightning_langcore.plots.style import colours
from lightning_langcore.results.conditions import points
from lightning_langcore.results.record import Results


def make(folder, kind="core", frozen=True, seed=0, values=None, stages=("base", "perturbed", "training", "final")):
    """``values``: nats by stage and language; the last two stages lie at 100 and 1000 documents."""
    run = Results(folder, experiment="recovery", seed=seed, model={"name": "tiny"}, region={"kind": kind})
    run.guard = {"num_frozen": 1, "max_abs_drift": 0.0} if frozen else None
    values = values or {"zh": (2.0, 7.0, 4.0, 3.0), "en": (2.5, 8.0, 5.0, 4.0)}
    samples = {"base": 0, "perturbed": 0, "training": 100 + seed, "final": 1000}
    for lang, nats in values.items():
        for stage, value in zip(stages, nats, strict=False):
            place = {"stage": stage, "samples": samples[stage], "lang": lang, "split": "test", "variant": kind}
            measured = {"nats_per_token": value, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
            run.add(place | measured | {"seed": seed})
    return run


def panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title() == title)


def line(axes, colour, dashed):
    lines = [one for one in axes.lines if one.get_color() == colour and len(one.get_xdata()) > 1]
    return next(one for one in lines if (one.get_linestyle() == "--") == dashed)


def test_curves_show_the_geometric_mean_of_the_seeds(tmp_path, drawn):
    runs = [make(tmp_path, seed=seed, values={"zh": (2.0, 7.0 + seed, 4.0, 3.0 + seed)}) for seed in (0, 1)]
    runs.append(make(tmp_path, frozen=False, values={"zh": (2.0, 7.0, 3.0, 2.0)}))
    plots.recovery_curves(runs, tmp_path / "plots" / "curves.png")
    axes = panel(drawn[0], "zh")
    frozen, free = line(axes, plots.COLOURS["core"], False), line(axes, plots.COLOURS["core"], True)
    assert list(frozen.get_xdata()) == [0, 100.5, 1000]
    expected = [math.sqrt(math.exp(7) * math.exp(8)), math.exp(4), math.sqrt(math.exp(3) * math.exp(4))]
    assert frozen.get_ydata() == pytest.approx(expected)
    assert free.get_ydata() == pytest.approx([math.exp(7), math.exp(3), math.exp(2)])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((math.exp(3), math.exp(8)))
    assert [one.get_ydata()[0] for one in axes.lines if one.get_color() == "#8C8C8C"] == pytest.approx([math.exp(2)])
    low, high = axes.get_xlim()
    assert low < 0
    assert high > 1000
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["core, frozen", "core, free", "intact base"]
    assert imread(tmp_path / "plots" / "curves.png").shape[2] == 4
    assert [file.name for file in (tmp_path / "plots").iterdir()] == ["curves.png"]


def test_milestones_join_near_counts_of_different_seeds_only(tmp_path):
    place = {"stage": "training", "lang": "zh", "split": "test"}
    measured = {"bits_per_byte": 1.0, "num_tokens": 1, "num_bytes": 1}
    run = make(tmp_path, values={"zh": ()})
    for seed, samples, nats in ((0, 100, 4.0), (1, 105, 6.0), (0, 109, 3.0), (1, 200, 2.0)):
        run.add(place | measured | {"seed": seed, "samples": samples, "nats_per_token": nats})
    found = plots.milestones(points([run]))
    assert [(samples, value.mean) for samples, value in found] == [(102.5, 5.0), (109.0, 3.0), (200.0, 2.0)]


def test_curves_without_a_perturbation_start_at_the_base(tmp_path, drawn):
    run = make(tmp_path, values={"zh": (2.0, 4.0, 3.0)}, stages=("base", "training", "final"))
    plots.recovery_curves([run], tmp_path / "curves.png")
    curve = line(panel(drawn[0], "zh"), plots.COLOURS["core"], False)
    assert list(curve.get_xdata()) == [0, 100, 1000]
    assert curve.get_ydata()[0] == pytest.approx(math.exp(2))


def test_curves_leave_a_gap_and_a_sign_where_perplexity_is_infinite(tmp_path, drawn):
    plots.recovery_curves([make(tmp_path, values={"zh": (2.0, math.inf, 800.0, 3.0)})], tmp_path / "curves.png")
    axes = panel(drawn[0], "zh")
    curve = line(axes, plots.COLOURS["core"], False)
    assert list(np.isnan(curve.get_ydata())) == [True, True, False]
    assert [text.get_text() for text in axes.texts] == ["∞", "∞"]


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (8, (2, 4)), (30, (5, 6))])
def test_one_panel_a_language_in_the_order_of_the_run(tmp_path, drawn, count, shape):
    languages = [f"l{number}" for number in range(count)]
    run = make(tmp_path, values=dict.fromkeys(reversed(languages), (2.0, 7.0, 4.0, 3.0)))
    plots.recovery_curves([run], tmp_path / "curves.png")
    shown = [axes for axes in drawn[0].axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == languages[::-1]
    grid = drawn[0].axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == shape


def test_nothing_to_draw_is_an_error(tmp_path):
    perturbed = make(tmp_path, values={"zh": (2.0, 7.0)})
    with pytest.raises(ValueError, match="training or final"):
        plots.recovery_curves([perturbed], tmp_path / "x.png")
    with pytest.raises(ValueError, match="perturbed"):
        plots.damage_bars([make(tmp_path, values={"zh": (2.0,)})], tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


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


def test_curves_of_kinds_of_one_colour_differ_in_the_marker(tmp_path, drawn):
    plots.recovery_curves([make(tmp_path, kind) for kind in ("core", "core-outliers", "mono:zh")], tmp_path / "x.png")
    looks = [(one.get_color(), one.get_marker()) for one in drawn[0].legends[0].get_lines()]
    assert len(set(looks)) == 4
    assert len({colour for colour, _ in looks}) == 3
