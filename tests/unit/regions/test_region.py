"""Regions: algebra against Python sets, files against what was saved, and files made to deceive."""

import json
import random

import lightning.pytorch as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lightning_langcore import Region
from lightning_langcore.models.parameters import candidates, match, named_shapes
from lightning_langcore.regions.serialization import fingerprint
from tests.support.models import random_half, tiny_llama

SHAPES = {"model.layers.0.a.weight": (8, 16), "model.layers.0.b.weight": (5, 5), "model.layers.1.a.weight": (8, 16)}
A, B, C = SHAPES


def as_sets(region):
    return {name: set(idx.tolist()) for name, idx in region}


def region_of(sets):
    return Region(SHAPES, {name: torch.tensor(sorted(s), dtype=torch.int64) for name, s in sets.items()})


def some_sets(seed):
    rng = random.Random(seed)
    counts = {A: rng.randrange(128), B: rng.randrange(25), C: 0}
    return {name: set(rng.sample(range(128 if name != B else 25), count)) for name, count in counts.items()}


def write(path, tensors, shapes=SHAPES, **changes):
    """A region file by hand, with anything in its header changed."""
    plain = {name: list(shape) for name, shape in shapes.items()}
    header = {"format": 1, "fingerprint": fingerprint(shapes), "candidates": plain, **changes}
    save_file(tensors, path, metadata={"langcore": json.dumps(header)})
    return path


def int32(*values):
    return torch.tensor(values, dtype=torch.int32)


@pytest.mark.parametrize("seed", range(5))
def test_algebra_equals_that_of_sets(seed):
    one, two = some_sets(seed), some_sets(seed + 100)
    for combined, expected in (
        (region_of(one) | region_of(two), {name: one[name] | two[name] for name in SHAPES}),
        (region_of(one) & region_of(two), {name: one[name] & two[name] for name in SHAPES}),
        (region_of(one) - region_of(two), {name: one[name] - two[name] for name in SHAPES}),
    ):
        assert as_sets(combined) == {name: members for name, members in expected.items() if members}
        assert len(combined) == sum(map(len, expected.values()))
        assert combined.fraction == len(combined) / (128 + 25 + 128)


def test_algebra_refuses_models_with_other_shapes_and_joins_other_candidates():
    with pytest.raises(ValueError, match="different models"):
        region_of(some_sets(0)) | Region({A: (16, 8)}, {})
    joined = region_of({A: {1}}) | Region({"norm": (4,)}, {"norm": int32(3)})
    assert as_sets(joined) == {A: {1}, "norm": {3}}
    assert joined.num_candidates == 128 + 25 + 128 + 4


@pytest.mark.parametrize("bad", [[3, 2], [2, 2], [-1, 4], [0, 128], [[1, 2]], [0.5], [True]])
def test_indices_that_do_not_fit_are_refused_with_the_name(bad):
    with pytest.raises(ValueError, match=r"model\.layers\.0\.a\.weight"):
        Region(SHAPES, {A: torch.tensor(bad)})


def test_from_indices_sorts_and_names_what_is_wrong(llama):
    name = "model.layers.1.mlp.down_proj.weight"
    region = Region.from_indices(llama, {name: [9, 2, 5], "model.norm.weight": []})
    assert as_sets(region) == {name: {2, 5, 9}}
    assert dict(region)[name].tolist() == [2, 5, 9]
    assert "model.norm.weight" in region.shapes
    with pytest.raises(ValueError, match="no parameter down_proj"):
        Region.from_indices(llama, {"down_proj": [1]})
    with pytest.raises(ValueError, match="not strictly ascending"):
        Region.from_indices(llama, {name: [1, 1]})


def test_a_saved_region_is_loaded_equal_with_its_header(tmp_path):
    few, many = {A: {3, 77}}, {A: set(range(0, 128, 2)), B: set(range(25))}  # as indices; as bits
    for number, sets in enumerate((few, many, {})):
        region = region_of(sets)
        region.meta.update(kind="core", languages=["zh", "ar"], fraction=0.05)
        path = region.save(tmp_path / f"{number}.safetensors")
        loaded = Region.load(path)
        assert loaded == region
        assert as_sets(loaded) == sets
        assert loaded.digest() == region.digest()
        assert region.meta.items() <= loaded.meta.items()
    with safe_open(tmp_path / "0.safetensors", framework="pt") as file:
        assert list(file.keys()) == [f"{A}|idx"]
    with safe_open(tmp_path / "1.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == [f"{A}|bits", f"{B}|bits"]
        assert file.get_tensor(f"{A}|bits").tolist() == [0b01010101] * 16  # little-endian: index 0 is the lowest bit


@pytest.mark.parametrize("fraction", [0.01, 0.031, 0.032, 0.5])
def test_each_parameter_takes_the_smaller_of_indices_and_bits(tmp_path, fraction):
    region = random_half(tiny_llama(), fraction=fraction)
    data = region.save(tmp_path / "r.safetensors").read_bytes()
    weights = {name: rows * cols for name, (rows, cols) in region.shapes.items()}
    smaller = sum(min(4 * round(fraction * n), (n + 7) // 8) for n in weights.values())
    assert len(data) - 8 - int.from_bytes(data[:8], "little") == smaller


HOSTILE = {
    "unsorted": {f"{A}|idx": int32(5, 4)},
    "repeated": {f"{A}|idx": int32(5, 5)},
    "negative": {f"{A}|idx": int32(-1, 5)},
    "out of bounds": {f"{A}|idx": int32(5, 128)},
    "float": {f"{A}|idx": torch.tensor([5.0])},
    "uint8 indices": {f"{A}|idx": torch.tensor([5], dtype=torch.uint8)},
    "matrix": {f"{A}|idx": int32(5, 6).reshape(1, 2)},
    "scalar": {f"{A}|idx": torch.tensor(5, dtype=torch.int32)},
    "both kinds": {f"{A}|idx": int32(5), f"{A}|bits": torch.ones(16, dtype=torch.uint8)},
    "unknown kind": {f"{A}|planes": int32(5)},
    "rows out of bounds": {f"{A}|rows": int32(5, 8)},
    "columns unsorted": {f"{A}|cols": int32(5, 4)},
    "columns and rows": {f"{A}|cols": int32(5), f"{A}|rows": int32(5)},
    "no kind": {A: int32(5)},
    "unknown name": {"model.layers.9.a.weight|idx": int32(5)},
    "bits beyond the end": {f"{B}|bits": torch.full((4,), 255, dtype=torch.uint8)},
    "too few bits": {f"{B}|bits": torch.ones(3, dtype=torch.uint8)},
    "bits of another type": {f"{B}|bits": torch.ones(4, dtype=torch.int8)},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_entries_that_do_not_fit_are_refused(tmp_path, case):
    with pytest.raises(ValueError, match=r"not a valid region file: .*\.weight"):
        Region.load(write(tmp_path / "r.safetensors", HOSTILE[case]))


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "0" * 64},
        {"format": 2},
        {"candidates": None},
        {"candidates": [1, 2]},
        {"candidates": {A: 3}},
        {"candidates": {A: [float("inf"), 2]}},
        {"candidates": {A: [-8, -16]}},
        {"candidates": {"\ud800": [2]}},
        {"kind": "\ud800"},
        {"num_weights": 2},
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path, changes):
    path = write(tmp_path / "r.safetensors", {f"{A}|idx": int32(5)})
    assert as_sets(Region.load(path)) == {A: {5}}  # without the change it is right
    with pytest.raises(ValueError, match="not a valid region file"):
        Region.load(write(path, {f"{A}|idx": int32(5)}, **changes))


@pytest.mark.parametrize("metadata", [None, {"other": "x"}, {"langcore": "{"}, {"langcore": "[" * 100_000}])
def test_a_header_that_is_missing_or_not_json_is_refused(tmp_path, metadata):
    save_file({f"{A}|idx": int32(5)}, tmp_path / "r.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match="not a valid region file: "):
        Region.load(tmp_path / "r.safetensors")


def test_a_huge_shape_is_refused_without_making_room_for_it(tmp_path):
    shapes = {A: (2**40, 2**20)}  # 2^57 bytes of bitmap
    with pytest.raises(ValueError, match="the bitmap is not"):
        Region.load(write(tmp_path / "r.safetensors", {f"{A}|bits": torch.ones(16, dtype=torch.uint8)}, shapes))
    sparse = Region.load(write(tmp_path / "r.safetensors", {f"{A}|idx": torch.tensor([1, 2**59])}, shapes))
    assert as_sets(sparse) == {A: {1, 2**59}}
    with pytest.raises(ValueError, match="outside"):
        Region.load(write(tmp_path / "r.safetensors", {f"{A}|idx": torch.tensor([1, 2**60])}, shapes))


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    data = region_of(some_sets(1)).save(tmp_path / "r.safetensors").read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in [*range(0, len(data) - 1, 13), len(data) - 1]:
        cut.write_bytes(data[:length])
        with pytest.raises(ValueError, match="not a readable region file"):
            Region.load(cut)
    with pytest.raises(ValueError, match="no region file at"):
        Region.load(tmp_path / "none.safetensors")


def wrapped_in_ddp(model):
    outer = torch.nn.Module()
    outer.module = model
    return outer


def wrapped_in_a_lightning_module(model):
    outer = pl.LightningModule()
    outer.net = torch.nn.ModuleDict({"student": model})
    return outer


@pytest.mark.parametrize("wrap", [torch.compile, wrapped_in_ddp, wrapped_in_a_lightning_module])
def test_a_region_finds_its_weights_in_whatever_wraps_the_model(llama, wrap):
    region = random_half(llama)
    wrapped = wrap(llama)
    plain = dict(llama.named_parameters())
    assert {name: id(p) for name, p in region.match(wrapped).items()} == {
        name: id(plain[name]) for name in region.shapes
    }
    assert named_shapes(wrapped) == {name: tuple(p.shape) for name, p in plain.items()}


def test_a_region_of_another_model_names_the_first_parameter(llama):
    first = "model.layers.0.self_attn.q_proj.weight"
    with pytest.raises(ValueError, match=rf"{first} has shape \(48, 48\), the model's \(32, 32\)"):
        random_half(tiny_llama(hidden_size=48)).match(llama)
    with pytest.raises(ValueError, match=r"model\.layers\.2\..* matches 0 parameters"):
        random_half(tiny_llama(num_hidden_layers=3)).match(llama)
    with pytest.raises(ValueError, match=f"{first} matches 2 parameters"):
        match(torch.nn.ModuleList([llama, tiny_llama()]), candidates(named_shapes(llama)))


def test_candidates_are_the_matrices_of_the_layers_unless_patterns_say_otherwise(llama):
    kinds = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    kinds += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    expected = {f"model.layers.{layer}.{kind}.weight" for layer in (0, 1) for kind in kinds}
    assert set(candidates(named_shapes(llama))) == expected
    assert set(candidates(named_shapes(llama), ["*norm.weight", "lm_*"])) >= {"model.norm.weight", "lm_head.weight"}
    with pytest.raises(ValueError, match=r"region\.parameters=\['x'\]"):
        candidates(named_shapes(llama), ["x"])
