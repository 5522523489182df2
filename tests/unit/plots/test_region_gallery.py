"""Which pictures of a region are drawn: its share of each matrix only where the shares differ."""

import pytest
import torch

from lightning_langcore import Region, random_region
from lightning_langcore.plots.overviews import shares_differ
from lightning_langcore.plots.region_gallery import where_it_lies

SHAPES = {f"model.layers.{layer}.self_attn.q_proj.weight": (20, 30) for layer in range(3)}
SHAPES |= {"model.layers.0.mlp.down_proj.weight": (31, 43), "model.norm.weight": (20,)}
MATRICES = {name: shape for name, shape in SHAPES.items() if len(shape) == 2}


def sizes(region):
    return {name: len(part) for name, part in region.parts.items()}


@pytest.mark.parametrize("fraction", [0.003, 0.05, 0.0501, 0.5, 0.999, 1.0])
def test_a_region_of_each_tensor_has_one_share(fraction):
    region = random_region(MATRICES, fraction, seed=0)
    assert not shares_differ(sizes(region), region.shapes)


def test_a_region_of_the_whole_model_does_not():
    region = random_region(MATRICES, 0.2, seed=0, scope="model")
    assert shares_differ(sizes(region), region.shapes)


@pytest.mark.parametrize(("num", "differs"), [(30, False), (31, False), (32, True), (29, False), (28, True), (0, True)])
def test_one_weight_more_is_rounding_and_two_are_not(num, differs):
    first, second, *_ = SHAPES
    shapes = {name: SHAPES[name] for name in (first, second)}
    assert shares_differ({first: 30, second: num}, shapes) == differs


def test_set_algebra_makes_shares_differ():
    q = next(iter(SHAPES))
    region = random_region(MATRICES, 0.2, seed=0) - Region(MATRICES, {q: torch.arange(300)})
    assert shares_differ(sizes(region), region.shapes)


def test_what_is_no_matrix_of_a_layer_does_not_count():
    held = {name: shape[0] * shape[1] // 2 for name, shape in MATRICES.items()}
    assert not shares_differ(held | {"model.norm.weight": 20}, SHAPES)
    with pytest.raises(ValueError, match="shares_differ: no shape for x"):
        shares_differ({"x": 3}, SHAPES)


@pytest.mark.parametrize("scope", ["tensor", "model"])
def test_the_gallery_has_the_picture_of_shares_where_they_differ(tmp_path, scope):
    where_it_lies(random_region(MATRICES, 0.2, seed=0, scope=scope), "core", tmp_path)
    names = {"core.png", "core_lines.png", "core_concentration.png", "core_concentration.csv"}
    names |= {"core_density.png"} if scope == "model" else set()
    assert {file.name for file in tmp_path.iterdir()} == names
