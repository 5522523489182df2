"""One weight, or one dimension, named in words."""

import pytest

from lightning_langcore.regions.single_weight import dimension_region
from tests.support.outliers import DOWN


def pairs(region):
    return {(name, int(flat)) for name, indices in region for flat in indices}


@pytest.mark.parametrize(
    ("target", "name", "flat"),
    [
        ("model.layers.1.input_layernorm.weight[21]", "model.layers.1.input_layernorm.weight", 21),
        ("model.layers.1.mlp.down_proj.weight[2,63]", DOWN.format(1), 2 * 64 + 63),
        (" model.layers.1.mlp.down_proj.weight[31, 0] ", DOWN.format(1), 31 * 64),
        ("model.norm.weight[0]", "model.norm.weight", 0),
        ("lm_head.weight[299,31]", "lm_head.weight", 300 * 32 - 1),
    ],
)
def test_a_target_is_one_weight(llama, target, name, flat):
    region = dimension_region(llama, target)
    assert pairs(region) == {(name, flat)}
    assert name in region.shapes
    assert region.meta["target"] == target


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("model.layers.9.input_layernorm.weight[0]", r"no parameter model\.layers\.9\.input_layernorm\.weight"),
        ("input_layernorm.weight[0]", r"no parameter input_layernorm\.weight"),
        ("model.norm.weight[32]", r"model\.norm\.weight\[32\] lies outside the shape \(32,\)"),
        ("model.norm.weight[-1]", r"model\.norm\.weight\[-1\] lies outside"),
        ("model.layers.1.mlp.down_proj.weight[0,64]", r"\[0,64\] lies outside the shape \(32, 64\)"),
        ("model.layers.1.mlp.down_proj.weight[32,0]", r"\[32,0\] lies outside"),
        (
            "model.layers.1.mlp.down_proj.weight[3]",
            r"down_proj\.weight has shape \(32, 64\): it takes 2 indices, not 1",
        ),
        ("model.norm.weight[3,0]", r"takes 1 indices, not 2"),
        ("model.norm.weight", "not of the form"),
        ("model.norm.weight[]", "not of the form"),
        ("model.norm.weight[1.5]", "not of the form"),
        ("model.norm.weight[1,]", "not of the form"),
        ("model.norm.weight[1][2]", "not of the form"),
        ("[3]", "not of the form"),
    ],
)
def test_a_target_that_is_no_weight_is_refused_by_name(llama, target, says):
    with pytest.raises(ValueError, match=says):
        dimension_region(llama, target)
