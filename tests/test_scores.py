"""Scores against plain numpy, and the file that collects changes over languages."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lightning_langcore.files import write_safetensors
from lightning_langcore.scores import (
    Changes,
    Weights,
    absolute_change,
    relative_change,
    union_table,
    weight_change,
    weight_scale,
)

SHAPES = {"model.layers.0.a.weight": (6, 4), "model.layers.0.b.weight": (3, 5), "model.norm.weight": (4,)}


def weights(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.02, shape).astype(np.float32) for name, shape in SHAPES.items()}


BASE = weights(0)
ENDS = {"zh": weights(1), "ar": weights(2), "ru": weights(3)}


def tensors(arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def collect(path, languages):
    changes = Changes(path)
    for language in languages:
        end = tensors(ENDS[language])
        changes.add(language, SHAPES, lambda name, end=end: absolute_change(torch.from_numpy(BASE[name]), end[name]))
    return changes


def test_the_absolute_change_of_bfloat16_weights_is_computed_in_float32():
    base, end = torch.tensor([1.0, -2.0]).bfloat16(), torch.tensor([1.0078125, 2.0]).bfloat16()
    change = absolute_change(base, torch.nn.Parameter(end))
    assert change.dtype == torch.float32
    assert change.tolist() == [0.0078125, 4.0]


def test_collected_changes_equal_numpy(tmp_path):
    changes = collect(tmp_path / "c.safetensors", ENDS)
    each = {name: np.stack([np.abs(end[name] - BASE[name]) for end in ENDS.values()]) for name in SHAPES}
    for name, summed in changes.summed():
        np.testing.assert_allclose(summed.numpy(), each[name].sum(0), rtol=1e-6)
        scale = np.maximum(np.abs(BASE[name]), 1e-3 * np.sqrt(np.mean(BASE[name].astype(np.float64) ** 2)))
        theta_0 = torch.from_numpy(BASE[name])
        np.testing.assert_allclose(relative_change(theta_0, summed).numpy(), each[name].sum(0) / scale, rtol=1e-5)
        assert torch.equal(weight_change(theta_0, summed), summed)
    for name, largest in changes.largest():
        assert np.array_equal(largest.numpy(), each[name].max(0))
    assert {name for name, _ in changes.summed()} == {name for name, _ in changes.largest()} == set(SHAPES)


def test_changes_of_opposite_sign_do_not_cancel(tmp_path):
    changes = Changes(tmp_path / "c.safetensors")
    zero = torch.zeros(1, 2)
    for language, end in (("zh", [[1.0, 0.5]]), ("ar", [[-1.0, 0.0]])):
        changes.add(language, {"w": (1, 2)}, lambda _, end=end: absolute_change(zero, torch.tensor(end)))
    assert dict(changes.summed())["w"].tolist() == [[2.0, 0.5]]
    assert dict(changes.largest())["w"].tolist() == [[1.0, 0.5]]


def test_collecting_in_two_sessions_equals_one(tmp_path):
    once = collect(tmp_path / "once.safetensors", ENDS)
    collect(tmp_path / "twice.safetensors", ["zh"])
    twice = collect(tmp_path / "twice.safetensors", ["ar", "ru"])
    assert once.languages == twice.languages == ["zh", "ar", "ru"]
    assert once.path.read_bytes() == twice.path.read_bytes()


def test_the_inputs_of_collecting_are_left_alone(tmp_path):
    change = torch.ones(2, 2)
    changes = Changes(tmp_path / "c.safetensors")
    changes.add("zh", {"w": (2, 2)}, lambda _: change)
    changes.add("ar", {"w": (2, 2)}, lambda _: change)
    assert torch.equal(change, torch.ones(2, 2))


def test_a_language_twice_and_another_model_are_refused_and_leave_the_file(tmp_path):
    changes = collect(tmp_path / "c.safetensors", ["zh"])
    before = changes.path.read_bytes()
    with pytest.raises(ValueError, match="already holds the changes of 'zh'"):
        collect(changes.path, ["zh"])
    with pytest.raises(ValueError, match="other parameters"):
        changes.add("ar", {"w": (2,)}, lambda _: torch.zeros(2))
    with pytest.raises(ValueError, match=r"expected float32 \(6, 4\)"):
        changes.add("ar", SHAPES, lambda name: torch.zeros(SHAPES[name], dtype=torch.float64))
    assert changes.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_a_file_that_holds_no_changes_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    assert Changes(path).languages == []
    for content in (None, {}, {"langcore_changes": "[]"}, {"langcore_changes": "{"}):
        path.write_bytes(b"\0" * 20)
        if content is not None:
            save_file({"w": torch.zeros(1)}, path, metadata=content)
        with pytest.raises(ValueError, match="not a file of weight changes"):
            _ = Changes(path).languages


def test_the_scale_has_a_floor_even_for_a_tensor_of_zeros():
    theta_0 = torch.tensor([0.0, 1e-9, -0.5, 3.0])
    floor = 1e-3 * np.sqrt((0.25 + 9.0) / 4)
    np.testing.assert_allclose(weight_scale(theta_0).numpy(), [floor, floor, 0.5, 3.0], rtol=1e-6)
    assert theta_0.tolist()[0] == 0.0
    still = relative_change(torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    assert still[:2].tolist() == [0.0, 0.0]
    assert still[2] > 1e30


def test_the_union_table_by_hand(tmp_path):
    theta_0 = {"w": torch.full((1, 4), 2.0), "norm": torch.ones(2)}
    shapes = {"w": (1, 4), "norm": (2,)}
    ends = {  # relative: 2 %, 0, 0, 4 %  and  0, 2 %, 0, 6 %: a sum would be 10 %, the largest is 6 %
        "zh": {"w": torch.tensor([[2.04, 2.0, 2.0, 2.08]]), "norm": torch.tensor([1.0, 1.02])},
        "ar": {"w": torch.tensor([[2.0, 1.96, 2.0, 1.88]]), "norm": torch.tensor([1.0, 1.02])},
    }
    changes = Changes(tmp_path / "c.safetensors")
    for language, end in ends.items():
        changes.add(language, shapes, lambda name, end=end: absolute_change(theta_0[name], end[name]))
    table = union_table(changes, theta_0, thresholds=(0.01, 0.03, 0.05, 0.07))
    assert table == {"w": [0.75, 0.25, 0.25, 0.0], "norm": [0.5, 0.0, 0.0, 0.0]}


def test_weights_reads_a_file_and_a_folder_of_shards(tmp_path, llama):
    llama.save_pretrained(tmp_path / "model", max_shard_size="50KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    read = Weights(tmp_path / "model")
    plain = dict(llama.named_parameters())
    assert set(read) == set(plain)
    assert all(torch.equal(read[name], p) for name, p in plain.items())
    with pytest.raises(ValueError, match="no safetensors weights at"):
        Weights(tmp_path)


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
