"""Recovery curves: what is drawn, and where."""

import math

import numpy as np
import pytest
from matplotlib.image import imread

from lightning_langcore import plots
from lightning_langcore.results.conditions import points
from tests.support.recoveries import line, make, panel


def test_curves_show_the_geometric_mean_of_the_seeds(tmp_path, drawn_on_disk):
    runs = [make(tmp_path, seed=seed, values={"zh": (2.0, 7.0 + seed, 4.0, 3.0 + seed)}) for seed in (0, 1)]
    runs.append(make(tmp_path, frozen=False, values={"zh": (2.0, 7.0, 3.0, 2.0)}))
    plots.recovery_curves(runs, tmp_path / "plots" / "curves.png")
    axes = panel(drawn_on_disk[0], "zh")
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
    legend = [text.get_text() for text in drawn_on_disk[0].legends[0].get_texts()]
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


@pytest.mark.slow
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


def test_curves_of_kinds_of_one_colour_differ_in_the_marker(tmp_path, drawn):
    plots.recovery_curves([make(tmp_path, kind) for kind in ("core", "core-outliers", "mono:zh")], tmp_path / "x.png")
    looks = [(one.get_color(), one.get_marker()) for one in drawn[0].legends[0].get_lines()]
    assert len(set(looks)) == 4
    assert len({colour for colour, _ in looks}) == 3
