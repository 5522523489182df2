"""Tensors on disk: models in one file and in shards, recorded statistics, and changes between checkpoints."""

import json

import numpy as np
import pytest
import torch
from helpers import tiny_llama
from safetensors.torch import load_file, save_file

from lightning_langcore.importance.statistics import CheckpointChanges, RecordedStatistics
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


def test_recorded_statistics_come_from_the_folder_of_each(tmp_path):
    for folder, statistic, value in (("changes", "change", 1.0), ("fisher", "gradient_square", 2.0)):
        for number, language in enumerate(("zh", "ar")):
            (tmp_path / folder).mkdir(exist_ok=True)
            tensor = torch.full((2,), value + 10 * number)
            save_file({f"w|{statistic}": tensor}, tmp_path / folder / f"{language}.safetensors")
    known = RecordedStatistics({"change": tmp_path / "changes", "gradient_square": tmp_path / "fisher"}, ["zh", "ar"])
    assert known.languages == ["zh", "ar"]
    assert known.statistic("ar", "w", "change").tolist() == [11.0, 11.0]
    assert known.statistic("zh", "w", "gradient_square").tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="no safetensors weights at"):
        RecordedStatistics({"change": tmp_path / "changes"}, ["ru"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_changes_between_checkpoints_equal_plain_subtraction(tmp_path, dtype):
    base, after = tiny_llama().to(dtype), tiny_llama(seed=1).to(dtype)
    base.save_pretrained(tmp_path / "base", max_shard_size="40KB")
    after.save_pretrained(tmp_path / "zh")
    known = CheckpointChanges(Weights(tmp_path / "base"), {"zh": Weights(tmp_path / "zh")}, Weights(tmp_path / "base"))
    for (name, one), (_, other) in zip(base.named_parameters(), after.named_parameters(), strict=True):
        expected = np.abs(other.detach().float().numpy() - one.detach().float().numpy())
        assert np.array_equal(known.statistic("zh", name, "change").numpy(), expected)


def test_checkpoints_that_do_not_fit_or_are_not_finite_are_named(tmp_path):
    tiny_llama().save_pretrained(tmp_path / "base")
    tiny_llama(num_hidden_layers=1).save_pretrained(tmp_path / "shallow")
    tiny_llama(intermediate_size=48).save_pretrained(tmp_path / "narrow")
    base = Weights(tmp_path / "base")
    with pytest.raises(ValueError, match=r"job\.trained\.zh=.*shallow has model\.layers\.1\.\S+ not at all"):
        CheckpointChanges(base, {"zh": Weights(tmp_path / "shallow")}, base)
    with pytest.raises(ValueError, match=r"narrow has model\.layers\.0\.mlp\.\w+\.weight in shape .*48"):
        CheckpointChanges(base, {"zh": Weights(tmp_path / "narrow")}, base)
    for value, culprit in ((float("nan"), "zh"), (float("-inf"), "base")):
        broken, sound = tiny_llama(seed=2), tiny_llama()
        (broken if culprit == "zh" else sound).get_parameter(UP).data[3, 4] = value
        broken.save_pretrained(tmp_path / "zh")
        sound.save_pretrained(tmp_path / "base")
        known = CheckpointChanges(
            Weights(tmp_path / "base"), {"zh": Weights(tmp_path / "zh")}, Weights(tmp_path / "base")
        )
        with pytest.raises(ValueError, match=rf"{culprit}: {UP} holds a weight that is not finite"):
            known.statistic("zh", UP, "change")


def test_what_only_some_files_hold_need_not_match(tmp_path):
    """Files of LLaMA 2 hold buffers (rotary_emb.inv_freq), others a copy of a tied head."""
    for folder, more in (("base", {"inv_freq": torch.ones(3)}), ("zh", {}), ("ar", {"inv_freq": torch.ones(4)})):
        (tmp_path / folder).mkdir()
        save_file({"w": torch.ones(2), **more}, tmp_path / folder / "model.safetensors")
    trained = {lang: Weights(tmp_path / lang) for lang in ("zh", "ar")}
    known = CheckpointChanges(Weights(tmp_path / "base"), trained, ["w"])
    assert known.has("w", "change")
    assert not known.has("inv_freq", "change")
    assert not known.has("w", "gradient_sum")
    with pytest.raises(ValueError, match=r"job\.trained\.zh=\S+ has inv_freq not at all"):
        CheckpointChanges(Weights(tmp_path / "base"), trained, ["w", "inv_freq"])
