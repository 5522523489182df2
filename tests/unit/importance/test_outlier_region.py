"""The region of outliers: rows that write, columns that read, and super weights."""

import dataclasses

import pytest
import torch

from lightning_langcore.importance.outliers import Outliers, find_outliers, outlier_region
from tests.support.architectures import small_model
from tests.support.models import random_half, tiny_llama
from tests.support.outliers import COLUMN, DOWN, ROW, ids, plant_super_weight


def pairs(region):
    return {(name, int(flat)) for name, indices in region for flat in indices}


def test_the_region_is_the_rows_of_writers_the_columns_of_readers_and_the_super_weights():
    model = tiny_llama(num_key_value_heads=1)
    dimensions = (9, ROW)
    plant_super_weight(model)
    found = find_outliers(model, ids())
    nine = dataclasses.replace(found.dimensions[0], dimension=9)
    other = dataclasses.replace(found.super_weights[0], name=DOWN.format(1), row=2, column=63, layer=1)
    found = dataclasses.replace(
        found, dimensions=(*found.dimensions, nine), super_weights=(*found.super_weights, other)
    )
    expected = {(DOWN.format(0), ROW * 64 + COLUMN), (DOWN.format(1), 2 * 64 + 63)}
    for name, parameter in model.named_parameters():
        if parameter.ndim != 2 or "layers" not in name:
            continue
        writes = "o_proj" in name or "down_proj" in name
        for row in range(parameter.shape[0]):
            for column in range(parameter.shape[1]):
                if (row if writes else column) in dimensions:
                    expected.add((name, row * parameter.shape[1] + column))
    region = outlier_region(model, found)
    assert pairs(region) == expected
    assert region.num_candidates == sum(
        p.numel() for n, p in model.named_parameters() if p.ndim == 2 and ".layers." in n
    )
    assert region.meta["dimensions"] == [9, ROW]
    assert region.meta["super_weights"] == [f"{DOWN.format(0)}[{ROW},{COLUMN}]", f"{DOWN.format(1)}[2,63]"]


def test_super_weights_without_a_massive_dimension_stand_alone_and_a_core_can_do_without(llama, tmp_path):
    plant_super_weight(llama)
    found = dataclasses.replace(find_outliers(llama, ids()), dimensions=())
    region = outlier_region(llama, found)
    assert pairs(region) == {(DOWN.format(0), ROW * 64 + COLUMN)}
    core = random_half(llama) | region
    assert pairs(core - region) == pairs(core) - pairs(region)
    saved = type(region).load(region.save(tmp_path / "outliers.safetensors"))
    assert saved == region
    assert saved.meta["super_weights"] == [f"{DOWN.format(0)}[{ROW},{COLUMN}]"]


def test_no_outliers_make_a_valid_region_without_weights(llama):
    region = outlier_region(llama, find_outliers(llama, ids()))
    assert len(region) == 0
    core = random_half(llama)
    assert core - region == core
    assert pairs(core & region) == set()


def test_outliers_of_another_model_are_refused(llama):
    plant_super_weight(llama)
    found = find_outliers(llama, ids())
    with pytest.raises(ValueError, match=r"q_proj\.weight has shape \(48, 48\).* 32 dimensions"):
        outlier_region(tiny_llama(hidden_size=48), found)
    with pytest.raises(ValueError, match=r"down_proj\.weight\[21,40\] lies outside the shape \(32, 40\)"):
        outlier_region(tiny_llama(intermediate_size=40), found)
    weight = dataclasses.replace(found.super_weights[0], name=DOWN.format(7))
    with pytest.raises(ValueError, match=r"no parameter model\.layers\.7"):
        outlier_region(llama, Outliers((), (), (weight,), weight, 32))


@pytest.mark.parametrize(("name", "reads", "writes"), [("mixtral", 3 + 1 + 2 * 3, 1 + 3), ("gemma3", 3 + 2, 2)])
def test_experts_and_the_layers_beside_a_tower_have_rows_and_columns_of_the_residual_stream(name, reads, writes):
    model = small_model(name)
    found = find_outliers(model, torch.arange(8)[None], magnitude=1e-9, ratio=1e-9, num_ranked=1)
    assert {layer for dimension in found.dimensions for layer in dimension.layers} == {0, 1}
    one = dataclasses.replace(found, dimensions=found.dimensions[:1], super_weights=())
    region, at = outlier_region(model, one), found.dimensions[0].dimension
    kinds = []
    for parameter, idx in region:
        row, column = idx // region.shapes[parameter][1], idx % region.shapes[parameter][1]
        kinds.append("writes" if set(row.tolist()) == {at} else "reads")
        assert {at} in (set(row.tolist()), set(column.tolist())), parameter
    assert (kinds.count("reads"), kinds.count("writes")) == (2 * reads, 2 * writes)
