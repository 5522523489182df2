"""Overviews of regions: densities and pairs."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread

from lightning_langcore import plots
from tests.support.region_plots import numbers, small

Q, DOWN = "model.layers.{}.self_attn.q_proj.weight", "model.layers.{}.mlp.down_proj.weight"


def test_density_overview_counts_the_weights(tmp_path, drawn):
    shapes, held = small()
    plots.density_overview({name: len(flat) for name, flat in held.items()}, shapes, tmp_path / "overview.png", "core")
    axes, bar = drawn[0].axes
    assert numbers(axes) == {(0, 0): "3.33", (1, 0): "0", (0, 1): "3.33", (1, 1): "0.83"}
    assert f"{100 * (20 + 20 + 10) / 3600:.3g} %" in bar.get_ylabel()
    with pytest.raises(ValueError, match="density_overview: no shape for x"):
        plots.density_overview({"x": 3}, shapes, tmp_path / "x.png")


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "written"), [(80, True), (200, False)])
def test_a_deep_model_stays_on_a_screen(tmp_path, drawn, layers, written):
    shapes = {Q.format(layer): (4, 4) for layer in range(layers)}
    plots.density_overview(dict.fromkeys(shapes, 4), shapes, tmp_path / "overview.png")
    assert drawn[0].get_figheight() < 14
    assert bool(drawn[0].axes[0].texts) == written


def test_pairs_are_centred_and_leave_out_what_is_not_known(tmp_path, drawn_on_disk):
    values = np.array([[1.0, 3.0, np.nan], [-0.5, 1.5, 1.0]])
    plots.pair_heatmap(values, ["a", "b"], ["x", "y", "z"], tmp_path / "p.png", "t", "l", centre=1.0, text="{:+.1f}")
    axes = drawn_on_disk[0].axes[0]
    assert numbers(axes) == {(0, 0): "+1.0", (1, 0): "+3.0", (0, 1): "-0.5", (1, 1): "+1.5", (2, 1): "+1.0"}
    (image,) = axes.images
    assert image.get_clim() == (-1.0, 3.0)
    white, red, grey = (image.to_rgba(image.get_array())[place][:3] for place in ((0, 0), (0, 1), (0, 2)))
    assert white.min() > 0.95
    assert red[0] > 2 * red[2]
    assert to_hex(grey) == "#e5e5e5"
    assert imread(tmp_path / "p.png").shape[2] == 4


@pytest.mark.slow
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


def test_of_many_experts_the_first_and_the_last_have_a_column(tmp_path, drawn):
    expert = "model.layers.{}.mlp.experts.{}.{}.weight"
    shapes = {
        expert.format(i, n, kind): (4, 4) for i in range(2) for n in range(128) for kind in ("up_proj", "gate_proj")
    }
    shapes |= {Q.format(layer): (4, 4) for layer in range(2)}
    held = {expert.format(1, 127, "up_proj"): 4, expert.format(1, 3, "up_proj"): 8}
    plots.density_overview(held, shapes, tmp_path / "overview.png")
    axes = drawn[0].axes[0]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    kinds = [f"{kind}\nexpert {number} of 128" for kind in ("gate_proj", "up_proj") for number in (0, 127)]
    assert columns == ["q", *kinds]
    assert numbers(axes)[4, 1] == "25.0"
    assert {text for place, text in numbers(axes).items() if place != (4, 1)} == {"0"}
