import math

import numpy as np
import pytest
from helpers import row_column_counts
from matplotlib.colors import to_hex
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from lightning_langcore import plots
from lightning_langcore.regions.concentration import Concentration, Lines

Q, DOWN = "model.layers.{}.self_attn.q_proj.weight", "model.layers.{}.mlp.down_proj.weight"


@pytest.mark.parametrize("shape", [(128, 128), (344, 128), (128, 344), (300, 1), (7, 1000), (3, 2)])
def test_density_equals_a_count_in_a_dense_mask(shape):
    rng = np.random.default_rng(0)
    mask = rng.random(shape) < 0.05
    mask[shape[0] // 2] = True
    found = plots.density(np.flatnonzero(mask).astype(np.int32), *shape)
    assert max(found.shape) <= 64
    expected, held = np.zeros(found.shape), np.zeros(found.shape)
    for (row, column), inside in np.ndenumerate(mask):
        cell = row * found.shape[0] // shape[0], column * found.shape[1] // shape[1]
        expected[cell] += inside
        held[cell] += 1
    np.testing.assert_allclose(found, expected / held)


def test_density_of_large_int32_indices_does_not_overflow():
    rows, columns = 40_000, 40_000
    last = np.array([rows * columns - 1], dtype=np.int32)
    found = plots.density(last, rows, columns)
    assert found[-1, -1] == pytest.approx(1 / 625**2)
    assert np.count_nonzero(found) == 1


def test_heat_map_shows_six_of_many_layers_and_says_so(tmp_path, drawn):
    shapes = {f"model.layers.{layer}.mlp.up_proj.weight": (40, 16) for layer in range(32)}
    shapes |= {f"model.layers.{layer}.self_attn.q_proj.weight": (16, 16) for layer in range(32)}
    shapes |= {"model.embed_tokens.weight": (50, 16), "model.layers.0.input_layernorm.weight": (16,)}
    held = {"model.layers.31.self_attn.q_proj.weight": np.arange(16 * 4)}
    plots.region_heatmap(held, shapes, tmp_path / "region.png", "core")
    figure = drawn[0]
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel().startswith("layer")]
    assert labels == ["layer 0", "layer 6", "layer 12", "layer 19", "layer 25", "layer 31"]
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["q\n16 × 16", "up\n40 × 16"]
    assert figure.get_suptitle() == "core; 6 of 32 layers, evenly spaced"
    pictures = [axes.images[0] for axes in figure.axes if axes.images]
    assert len({picture.get_clim() for picture in pictures}) == 1
    assert pictures[-2].get_array()[0].tolist() == [1.0] * 4
    assert pictures[-2].get_array()[1:].max() == 0


def test_heat_map_refuses_what_it_can_not_place(tmp_path):
    with pytest.raises(ValueError, match="no shape for x"):
        plots.region_heatmap({"x": np.arange(3)}, {}, tmp_path / "region.png")
    with pytest.raises(ValueError, match="no matrix"):
        plots.region_heatmap({}, {"lm_head.weight": (8, 8)}, tmp_path / "region.png")


def small(num_layers=2):
    """Shapes of a model, and a region: column 3 of each q, ten scattered weights of each down but the first's."""
    shapes, held = {}, {}
    for layer in range(num_layers):
        shapes |= {Q.format(layer): (20, 30), DOWN.format(layer): (30, 40)}
        held[Q.format(layer)] = np.arange(20, dtype=np.int32) * 30 + 3
        held[DOWN.format(layer)] = np.arange(10, dtype=np.int32) * 117
    del held[DOWN.format(0)]
    return shapes, held


def counted(shapes, held):
    return {name: row_column_counts(flat, *shapes[name]) for name, flat in held.items()}


def numbers(axes):
    """Text by (column, row) of its cell."""
    return {text.get_position(): text.get_text() for text in axes.texts}


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


def test_density_overview_counts_the_weights(tmp_path, drawn):
    shapes, held = small()
    plots.density_overview({name: len(flat) for name, flat in held.items()}, shapes, tmp_path / "overview.png", "core")
    axes, bar = drawn[0].axes
    assert numbers(axes) == {(0, 0): "3.33", (1, 0): "0", (0, 1): "3.33", (1, 1): "0.83"}
    assert f"{100 * (20 + 20 + 10) / 3600:.3g} %" in bar.get_ylabel()
    with pytest.raises(ValueError, match="density_overview: no shape for x"):
        plots.density_overview({"x": 3}, shapes, tmp_path / "x.png")


@pytest.mark.parametrize(("layers", "written"), [(80, True), (200, False)])
def test_a_deep_model_stays_on_a_screen(tmp_path, drawn, layers, written):
    shapes = {Q.format(layer): (4, 4) for layer in range(layers)}
    plots.density_overview(dict.fromkeys(shapes, 4), shapes, tmp_path / "overview.png")
    assert drawn[0].get_figheight() < 14
    assert bool(drawn[0].axes[0].texts) == written


def test_pairs_are_centred_and_leave_out_what_is_not_known(tmp_path, drawn):
    values = np.array([[1.0, 3.0, np.nan], [-0.5, 1.5, 1.0]])
    plots.pair_heatmap(values, ["a", "b"], ["x", "y", "z"], tmp_path / "p.png", "t", "l", centre=1.0, text="{:+.1f}")
    axes = drawn[0].axes[0]
    assert numbers(axes) == {(0, 0): "+1.0", (1, 0): "+3.0", (0, 1): "-0.5", (1, 1): "+1.5", (2, 1): "+1.0"}
    (image,) = axes.images
    assert image.get_clim() == (-1.0, 3.0)
    white, red, grey = (image.to_rgba(image.get_array())[place][:3] for place in ((0, 0), (0, 1), (0, 2)))
    assert white.min() > 0.95
    assert red[0] > 2 * red[2]
    assert to_hex(grey) == "#e5e5e5"
    assert imread(tmp_path / "p.png").shape[2] == 4


@pytest.mark.parametrize(("count", "text", "written"), [(3, "{:.2f}", 9), (30, "{:.2f}", 900), (30, "{:.5f}", 0)])
def test_pairs_write_numbers_only_where_they_fit(tmp_path, drawn, count, text, written):
    labels = [f"l{number}" for number in range(count)]
    values = np.full((count, count), 0.25)
    plots.pair_heatmap(values, labels, labels, tmp_path / "pairs.png", "title", "Jaccard index", text=text)
    axes = drawn[0].axes[0]
    assert len(axes.texts) == written
    cell = axes.get_window_extent().width / count
    assert all(one.get_window_extent().width <= cell for one in axes.texts)
    assert max(drawn[0].get_size_inches()) < 14


def test_pairs_refuse_labels_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(2, 3\) for 2 and 2 labels"):
        plots.pair_heatmap(np.ones((2, 3)), ["a", "b"], ["x", "y"], tmp_path / "pairs.png", "title", "label")
    with pytest.raises(ValueError, match="no value is finite"):
        plots.pair_heatmap(np.full((1, 1), math.nan), ["a"], ["x"], tmp_path / "pairs.png", "title", "label")
