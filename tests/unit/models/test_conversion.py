"""Weights by the names of their files, where transformers has other names or shapes in memory."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Model, Qwen3_5TextConfig
from transformers.core_model_loading import Transpose, WeightConverter

from lightning_langcore import LangcoreError, Region, candidates, named_shapes, perturb_, random_region
from lightning_langcore.models import loading, sharding
from lightning_langcore.models.parameter_part import ParameterPart
from lightning_langcore.models.parameters import saved_parameters, stored_weights
from lightning_langcore.models.safetensors_reader import Weights
from tests.support.architectures import small_model

W1 = "model.layers.1.block_sparse_moe.experts.2.w1.weight"
W2 = "model.layers.1.block_sparse_moe.experts.2.w2.weight"
W3 = "model.layers.1.block_sparse_moe.experts.2.w3.weight"


@pytest.mark.parametrize(
    "name", ["mixtral", "qwen3_moe", "olmoe", "granitemoe", "gpt_oss", "gpt_neox", "gpt2", "gemma3"]
)
def test_names_and_bits_are_those_that_save_pretrained_writes(tmp_path, name):
    model = small_model(name)
    model.save_pretrained(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    for made in (model, loading.load_model(tmp_path, attention="eager")):
        weights = saved_parameters(made)
        assert weights.keys() == written.keys()
        assert all(torch.equal(sharding.local(weight), written[name]) for name, weight in weights.items())
        assert named_shapes(made) == {name: tuple(written[name].shape) for name in weights}
    assert loading.load_weights(tmp_path).shapes == {n: tuple(t.shape) for n, t in written.items()}
    assert sum(weight.numel() for weight in weights.values()) == sum(p.numel() for p in model.parameters())


def test_experts_are_parts_of_the_parameter_that_holds_them_all():
    model = small_model("mixtral")
    held = model.model.layers[1].mlp.experts
    weights = saved_parameters(model)
    assert torch.equal(sharding.local(weights[W1]), held.gate_up_proj[2, :24])
    assert torch.equal(sharding.local(weights[W3]), held.gate_up_proj[2, 24:])
    assert torch.equal(sharding.local(weights[W2]), held.down_proj[2])
    assert {type(weight) for name, weight in weights.items() if ".experts." in name} == {ParameterPart}


def test_a_region_of_an_expert_changes_its_weights_in_memory_and_nothing_else():
    model = small_model("mixtral")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    undo = perturb_(model, Region.from_indices(model, {W3: [0, 17], W2: [5]}), "set", 2.0)
    expected = {name: tensor.clone() for name, tensor in before.items()}
    expected["model.layers.1.mlp.experts.gate_up_proj"][2, 24, 0] = 2.0
    expected["model.layers.1.mlp.experts.gate_up_proj"][2, 25, 1] = 2.0
    expected["model.layers.1.mlp.experts.down_proj"][2, 0, 5] = 2.0
    assert all(torch.equal(p, expected[name]) for name, p in model.named_parameters())
    undo.restore()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_region_finds_its_experts_inside_a_wrapper_and_not_in_another_number_of_experts():
    model = small_model("mixtral")
    region = random_region(candidates(named_shapes(model)), 0.1, 0)
    wrapped = torch.nn.ModuleDict({"model": torch.compile(model)})
    assert (
        sharding.local(region.match(wrapped)[W1]).data_ptr()
        == model.model.layers[1].mlp.experts.gate_up_proj[2].data_ptr()
    )
    assert saved_parameters(wrapped).keys() == saved_parameters(model).keys()
    with pytest.raises(LangcoreError, match="belongs to another model"):
        region.match(small_model("olmoe"))


def test_the_candidates_are_the_matrices_of_the_language_model_and_of_every_expert():
    def of(name):
        return {n for n in candidates(named_shapes(small_model(name))) if ".self_attn." not in n}

    experts = {f"experts.{number}.w{part}.weight" for number in range(3) for part in (1, 2, 3)}
    start = "model.layers.0.block_sparse_moe."
    assert {n.removeprefix(start) for n in of("mixtral") if n.startswith(start)} == {*experts, "gate.weight"}
    assert all(n.startswith("language_model.model.layers.") for n in of("gemma3"))
    assert len(of("gemma3")) == 2 * 3
    stacks = {"block_sparse_moe.input_linear.weight", "block_sparse_moe.output_linear.weight"}
    assert stacks < {n.removeprefix("model.layers.0.") for n in of("granitemoe")}
    shapes = {"model.layers.0.conv1d.weight": (8, 1, 4), "model.layers.0.up.weight": (8, 4)}
    assert list(candidates(shapes)) == ["model.layers.0.up.weight"]


def test_files_without_the_prefix_of_the_language_model_are_read_by_its_names(tmp_path):
    model = small_model("gpt2")
    base = GPT2Model(model.config)
    base.load_state_dict(model.transformer.state_dict())
    base.save_pretrained(tmp_path)
    assert "h.0.attn.c_attn.weight" in Weights(tmp_path)
    stored = loading.load_weights(tmp_path)
    expected = saved_parameters(model)
    assert stored.shapes.keys() == expected.keys()
    assert all(torch.equal(stored[name], sharding.local(weight)) for name, weight in expected.items())
    part = stored.part("transformer.h.0.attn.c_attn.weight", (1, 2), (3, 4))
    assert torch.equal(part, stored["transformer.h.0.attn.c_attn.weight"][1:4, 2:6])


def test_tensors_that_the_model_does_not_use_are_left_out(tmp_path):
    model = small_model("mixtral")
    model.save_pretrained(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    save_file({**written, "mtp.layers.0.proj.weight": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    assert set(loading.load_weights(tmp_path)) == set(saved_parameters(model))
    assert set(stored_weights(torch.nn.Linear(2, 2), Weights(tmp_path))) == set()


def test_an_architecture_whose_files_hold_joined_parameters_is_refused_by_name():
    model = small_model("gpt_neox")
    model._weight_conversions = [WeightConverter("dense.weight", "dense.weight", [Transpose(0, 1)])]
    with pytest.raises(LangcoreError, match=r"GPTNeoXForCausalLM: save_pretrained writes .*dense\.weight neither"):
        saved_parameters(model)


def test_a_model_without_weights_gets_the_names_of_the_files(tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    heads = {"num_key_value_heads": 1, "head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 2}
    config = Qwen3_5TextConfig(**sizes, **heads, vocab_size=64, layer_types=["full_attention"])
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    renamed = {name.replace("model.", "model.language_model."): t for name, t in load_file(file).items()}
    save_file(renamed, file, metadata={"format": "pt"})  # as the checkpoints with a vision tower have them
    loaded = loading.load_model(tmp_path)
    assert saved_parameters(loaded).keys() == loading.load_weights(tmp_path).shapes.keys()
    empty = loading.model_without_weights(config)
    assert stored_weights(empty, Weights(tmp_path)).shapes.keys() == saved_parameters(empty).keys()
