"""Heat maps of regions: densities against counts in a dense mask."""

import numpy as np
import pytest

from lightning_langcore import plots


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
