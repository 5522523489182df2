"""Models and tokenizers: saved so that transformers reads them, refused in one sentence."""

import json

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaForCausalLM
from transformers.utils import is_flash_attn_2_available

from lightning_langcore import LangcoreError
from lightning_langcore.data.tokenization import begin_token, encode, end_token
from lightning_langcore.models import from_scratch, fsdp2, loading
from lightning_langcore.models.safetensors_reader import Weights
from tests.support.models import tiny_llama

TEXTS = ["The cat  sleeps.", "Кошка\r\nспит", "猫 睡觉", "قطة", "🤖\u200d🔥 \x00 né e\u0301", " ", "\n\n\ttab"]


def state(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_saved_model_gives_equal_logits_in_transformers(tmp_path, llama, tokenizer):
    loading.save(llama, tokenizer, tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    ids = torch.tensor([tokenizer("The cat sleeps", add_special_tokens=False)["input_ids"]])
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    mine = loading.load_model(tmp_path)
    assert theirs.config.get_text_config().model_type == "llama"
    with torch.no_grad():
        expected = llama.eval()(ids).logits
        assert torch.equal(theirs.eval()(ids).logits, expected)
        assert torch.equal(mine.eval()(ids).logits, expected)
    assert equal(state(mine), state(llama))


def test_a_bfloat16_checkpoint_is_loaded_in_float32_and_in_train_mode(tmp_path):
    saved = tiny_llama().bfloat16()
    saved.save_pretrained(tmp_path)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).dtype == torch.bfloat16  # what transformers does by itself
    loaded = loading.load_model(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert all(torch.equal(p, dict(saved.named_parameters())[name].float()) for name, p in loaded.named_parameters())
    assert all(module.training for module in loaded.modules())
    assert loading.load_model(tmp_path, "float16").dtype == torch.float16


def refusal(path, **options):
    """The message of the ValueError, which must be a single line that names the setting."""
    with pytest.raises(ValueError, match=r"^model\.") as caught:
        loading.load_model(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_a_model_is_refused_in_one_sentence(tmp_path, llama):
    assert "there is no such folder" in refusal(tmp_path / "none")
    assert "there is no such folder" in refusal("./none")
    assert "no *.safetensors in this folder" in refusal(tmp_path)
    assert "give a hub id that you can reach" in refusal("nobody/has-this")
    llama.save_pretrained(tmp_path)
    assert "model.dtype=int8 is none of float32" in refusal(tmp_path, dtype="int8")
    assert isinstance(loading.load_model(tmp_path), LlamaForCausalLM)


def test_pickled_weights_are_not_read(tmp_path, llama):
    llama.config.save_pretrained(tmp_path)
    torch.save(llama.state_dict(), tmp_path / "pytorch_model.bin")
    assert "pickled weights are not read" in refusal(tmp_path)


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq"])
def test_quantized_weights_are_refused_before_they_are_read(tmp_path, llama, method):
    llama.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": method}}))
    assert "its weights are quantized" in refusal(tmp_path)
    for look in (loading.check_folder, loading.load_config):
        with pytest.raises(
            ValueError, match=r"model\.path=.*: its weights are quantized .* give the unquantized model"
        ):
            look(tmp_path)


def test_an_adapter_is_told_from_a_model(tmp_path, llama):
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    save_file({"lora_A.weight": torch.zeros(1, 2)}, tmp_path / "adapter_model.safetensors")
    said = refusal(tmp_path)
    assert "is an adapter of org/base (adapter_config.json), not a model: merge it into that model with PEFT's" in said
    for look in (loading.check_folder, loading.load_config):
        with pytest.raises(LangcoreError, match="merge_and_unload"):
            look(tmp_path)
    llama.save_pretrained(tmp_path)  # beside an adapter transformers would add it to the model
    assert refusal(tmp_path) == said


@pytest.mark.skipif(is_flash_attn_2_available(), reason="flash-attn is installed")
def test_an_attention_whose_package_is_missing_is_refused_in_one_sentence(tmp_path, llama):
    llama.save_pretrained(tmp_path)
    said = refusal(tmp_path, attention="flash_attention_2")
    assert said.startswith(
        "model.attention=flash_attention_2 is not possible here (FlashAttention2 has been toggled on"
    )


@pytest.mark.parametrize("broken", ["weights", "config", "no config", "unknown architecture"])
def test_broken_folders_are_refused_in_one_sentence(tmp_path, llama, broken):
    llama.save_pretrained(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    if broken == "weights":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif broken == "no config":
        config.unlink()
    else:
        config.write_text("{" if broken == "config" else '{"model_type": "unheard"}')
    assert "can't load it" in refusal(tmp_path)


def test_any_text_is_written_in_the_tokenizer_and_read_back(tmp_path, llama, tokenizer):
    assert len(tokenizer) == 300
    loading.save(llama, tokenizer, tmp_path)
    for reader in (tokenizer, loading.load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        for text in TEXTS:
            ids = reader(text, add_special_tokens=False)["input_ids"]
            assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
            assert reader.decode(ids) == text
            assert not set(ids) & set(reader.all_special_ids)


def test_a_tokenizer_without_a_begin_or_an_end_token_is_read_and_saved_as_it_is(tmp_path, llama):
    for lacking, other in (("bos_token", "</s>"), ("eos_token", "<s>")):
        folder = tmp_path / lacking
        changed = from_scratch.train_tokenizer(TEXTS, 260)
        setattr(changed, lacking, None)
        changed.chat_template = "{{ bos_token }}|{{ messages[0].content }}"
        changed.save_pretrained(folder)
        loaded = loading.load_tokenizer(folder)
        assert getattr(loaded, lacking) is None
        assert begin_token(loaded) == end_token(loaded) == loaded.convert_tokens_to_ids(other)
        loading.save(llama, loaded, tmp_path / "model")
        before, after = (AutoTokenizer.from_pretrained(path) for path in (folder, tmp_path / "model"))
        assert after.special_tokens_map == before.special_tokens_map
        messages = [{"role": "user", "content": "hola"}]
        rendered = [one.apply_chat_template(messages, tokenize=False) for one in (before, after)]
        assert rendered[0] == rendered[1] == ("|hola" if lacking == "bos_token" else "<s>|hola")


def test_a_folder_without_a_tokenizer_or_without_an_end_token_is_refused(tmp_path, llama):
    llama.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"model\.path=.*: no tokenizer there"):
        loading.load_tokenizer(tmp_path / "model")
    neither = from_scratch.train_tokenizer(TEXTS, 260)
    neither.bos_token = neither.eos_token = None
    neither.save_pretrained(tmp_path / "neither")
    with pytest.raises(ValueError, match="has no end token"):
        loading.load_tokenizer(tmp_path / "neither")


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path, tokenizer):
    loading.save(tiny_llama(), tokenizer, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks model\.layers\.1\.mlp\.up_proj\.weight"):
        loading.load_model(tmp_path)


def test_an_end_token_written_in_the_text_is_text(tokenizer):
    (tokens,) = encode(["a</s>b"], tokenizer)
    assert tokenizer.eos_token_id not in tokens
    assert tokenizer.decode(tokens) == "a</s>b"


def test_a_hub_id_in_the_cache_is_a_folder_and_another_is_one_sentence(tmp_path, monkeypatch, llama):
    """Laid out as the hub's cache is; offline, as conftest says."""
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("a" * 40)
    llama.save_pretrained(snapshot)
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert loading.local_folder("org/name") == snapshot
    assert loading.local_folder(snapshot) == snapshot
    weights = Weights(loading.local_folder("org/name"))
    assert all(torch.equal(weights[name], p) for name, p in llama.named_parameters())
    with pytest.raises(ValueError, match=r"model\.path=org/other: its weights can't be fetched \("):
        loading.local_folder("org/other")


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_the_type_is_a_name_or_that_of_torch(tmp_path, dtype):
    tiny_llama().save_pretrained(tmp_path)
    assert next(loading.load_model(tmp_path, dtype).parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["int8", torch.int8])
def test_another_type_is_refused(tmp_path, dtype):
    with pytest.raises(LangcoreError, match=r"model\.dtype=.*int8 is none of float32, bfloat16, float16"):
        loading.load_model(tmp_path, dtype)


@pytest.mark.parametrize(
    ("before", "tokens", "after"),
    [
        (1, [5], [5, 1]),  # a base whose template closes answers with another token
        ([5, 1], [5], [5, 1]),
        (1, [], 1),
        (1, [1], 1),
        (None, [5], 5),
        ([1, 3], [5, 3], [5, 3, 1]),
    ],
)
def test_generation_stops_at_what_was_learnt_and_where_it_stopped_before(
    tmp_path, llama, tokenizer, before, tokens, after
):
    llama.generation_config.eos_token_id = before
    loading.stop_at(llama, tokens)
    loading.save(llama, tokenizer, tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == after


def test_a_model_without_weights_keeps_its_generation_config(tmp_path, tokenizer):
    model = tiny_llama()
    model.generation_config.update(eos_token_id=[1, 7], do_sample=True, top_k=5)
    loading.save(model, tokenizer, tmp_path)
    empty = fsdp2.empty_model(tmp_path)
    assert empty.generation_config.to_dict() == loading.load_model(tmp_path).generation_config.to_dict()
    assert (empty.generation_config.eos_token_id, empty.generation_config.top_k) == ([1, 7], 5)
