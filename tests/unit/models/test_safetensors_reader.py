"""Tensors on disk: models in one file and in shards."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.models.safetensors_writer import write_safetensors

UP = "model.layers.0.mlp.up_proj.weight"


def test_weights_reads_a_file_and_a_folder_of_shards(tmp_path, llama):
    llama.save_pretrained(tmp_path / "model", max_shard_size="50KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    read = Weights(tmp_path / "model")
    plain = dict(llama.named_parameters())
    assert set(read) == set(plain)
    assert read.shapes == {name: tuple(p.shape) for name, p in plain.items()}
    assert all(torch.equal(read[name], p) for name, p in plain.items())
    assert read.num_bytes == sum(file.stat().st_size for file in (tmp_path / "model").glob("*.safetensors"))
    with pytest.raises(ValueError, match="no safetensors weights at"):
        Weights(tmp_path)


@pytest.mark.parametrize(
    ("start", "shape"), [((3, 0), (5, 32)), ((0, 4), (64, 7)), ((64, 0), (0, 32)), ((0, 0), (64, 32))]
)
def test_a_part_of_a_tensor_is_its_slice(tmp_path, llama, start, shape):
    llama.save_pretrained(tmp_path / "model")
    (i, j), (rows, cols) = start, shape
    whole = dict(llama.named_parameters())[UP]
    part = Weights(tmp_path / "model").part(UP, start, shape)
    assert part.shape == shape
    assert torch.equal(part, whole[i : i + rows, j : j + cols])


def test_a_missing_shard_and_a_shard_without_its_tensor_are_named(tmp_path, llama):
    llama.save_pretrained(tmp_path, max_shard_size="50KB")
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    content = load_file(shard)
    shard.unlink()
    with pytest.raises(ValueError, match=shard.name):
        Weights(tmp_path)
    lost = sorted(content)[0]
    save_file({name: t for name, t in content.items() if name != lost} or {"x": torch.zeros(1)}, shard)
    with pytest.raises(ValueError, match=f"the shard {shard.name} lacks {lost}"):
        Weights(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(ValueError, match="not a readable index of shards"):
        Weights(tmp_path)


def test_files_that_the_index_does_not_name_are_left_alone(tmp_path, llama):
    llama.save_pretrained(tmp_path, max_shard_size="50KB")
    save_file({"consolidated": torch.zeros(3)}, tmp_path / "consolidated.safetensors")
    assert "consolidated" not in Weights(tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(Weights(tmp_path)) == set(index["weight_map"])


def test_streamed_safetensors_are_what_the_library_reads(tmp_path):
    values = {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.tensor(2.5), "空": torch.zeros(0, 4)}
    path = tmp_path / "s.safetensors"
    write_safetensors(path, {n: t.shape for n, t in values.items()}, iter(values.values()), {"note": "é"})
    read = Weights(path)
    assert set(read) == set(values)
    assert all(torch.equal(read[name], value) for name, value in values.items())
    with pytest.raises(ValueError, match="shorter"):
        write_safetensors(path, {"a": (1,), "b": (1,)}, iter([torch.zeros(1)]), {})
    assert set(Weights(path)) == set(values)
