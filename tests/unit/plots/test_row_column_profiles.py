"""Rows and columns of regions: their profiles and concentration."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from lightning_langcore import plots
from lightning_langcore.regions.concentration import Concentration, Lines
from tests.support.region_plots import numbers, small
from tests.support.regions import row_column_counts

Q, DOWN = "model.layers.{}.self_attn.q_proj.weight", "model.layers.{}.mlp.down_proj.weight"


def counted(shapes, held):
    return {name: row_column_counts(flat, *shapes[name]) for name, flat in held.items()}


def test_lines_go_from_the_fullest_to_the_emptiest(tmp_path, drawn):
    shapes, held = small()
    plots.row_column_histograms(counted(shapes, held), shapes, tmp_path / "lines.png", "core")
    q, empty, _, down = drawn[0].axes
    even, rows, columns = q.lines
    floor = q.get_ylim()[0]
    assert floor < 10 / 1200
    assert list(even.get_ydata()) == pytest.approx([20 / 600] * 2)
    assert list(rows.get_xdata()) == pytest.approx([0.5 / 20, *(rank / 20 for rank in range(1, 21))])
    assert list(rows.get_ydata()) == pytest.approx([1 / 30] * 21)
    assert list(columns.get_xdata()[:3]) == pytest.approx([0.5 / 30, 1 / 30, 2 / 30])
    assert list(columns.get_ydata()) == pytest.approx([1.0, 1.0, *[floor] * 29])
    assert [text.get_text() for text in empty.texts] == ["empty"]
    assert list(down.lines[0].get_ydata()) == pytest.approx([10 / 1200] * 2)
    assert drawn[0].legends[0].get_title().get_text() == "core"


def test_lines_of_a_random_region_lie_in_the_band(tmp_path, drawn):
    shapes = {Q.format(layer): (200, 300) for layer in range(9)}
    rng = np.random.default_rng(0)
    held = {name: rng.choice(60_000, 3000, replace=False) for name in shapes}
    plots.row_column_histograms(counted(shapes, held), shapes, tmp_path / "lines.png", max_layers=3)
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["layer 0", "layer 4", "layer 8"]
    assert "3 of 9 layers" in drawn[0].legends[0].get_title().get_text()
    for axes in drawn[0].axes:
        for band, curve in zip(axes.collections, axes.lines[1:], strict=True):
            corners = band.get_paths()[0].vertices
            inside = []
            for x, y in zip(curve.get_xdata(), curve.get_ydata(), strict=True):
                ends = corners[np.isclose(corners[:, 0], x)][:, 1]
                inside.append(ends.min() - 1e-9 <= y <= ends.max() + 1e-9)
            assert np.mean(inside) > 0.9


def test_lines_show_the_layers_that_hold_weights(tmp_path, drawn):
    shapes = {Q.format(layer): (20, 30) for layer in range(32)}
    held = {Q.format(3): np.array([17]), Q.format(20): np.arange(5)}
    plots.row_column_histograms(counted(shapes, held), shapes, tmp_path / "lines.png", max_layers=2)
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["layer 3", "layer 20"]


def test_lines_refuse_what_they_can_not_draw(tmp_path):
    shapes, _ = small(1)
    with pytest.raises(ValueError, match="line_histograms: no shape for x"):
        plots.row_column_histograms({"x": (np.ones(1), np.ones(1))}, shapes, tmp_path / "x.png")
    with pytest.raises(ValueError, match="no matrix of a layer holds"):
        plots.row_column_histograms({}, shapes, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_concentration_is_a_ratio_and_hatched_inside_the_interval(tmp_path, drawn):
    outside, inside = Concentration(0.6, 0.05, 0.04, 0.06), Concentration(0.045, 0.05, 0.04, 0.06)
    below = Concentration(0.02, 0.05, 0.04, 0.06)
    table = {Q.format(0): Lines(9, inside, outside), Q.format(7): Lines(9, outside, below)}
    table[DOWN.format(7)] = Lines(9, inside, inside)
    plots.concentration_overview(table, tmp_path / "overview.png", "core")
    rows, columns = drawn[0].axes[:2]
    assert numbers(rows) == {(0, 0): "0.9", (0, 1): "12", (1, 1): "0.9"}
    assert numbers(columns) == {(0, 0): "12", (0, 1): "0.4", (1, 1): "0.9"}
    assert [tick.get_text() for tick in rows.get_yticklabels()] == ["0", "7"]
    assert [tick.get_text() for tick in rows.get_xticklabels()] == ["q", "down"]
    hatched = {way: [patch.get_xy() for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_hatch()]
               for way, axes in (("rows", rows), ("columns", columns))}  # fmt: skip
    assert hatched == {"rows": [(-0.5, -0.5), (0.5, 0.5)], "columns": [(0.5, 0.5)]}
    low, high = columns.images[0].get_clim()
    assert (low * high, high) == pytest.approx((1, 12))
    with pytest.raises(ValueError, match="concentration_overview: no matrix"):
        plots.concentration_overview({}, tmp_path / "x.png")
