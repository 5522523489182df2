"""Positions and tokens that a model can take, from its config and tokenizer."""

import copy

import pytest
from transformers import (
    BloomConfig,
    GPTJConfig,
    LlamaConfig,
    MambaConfig,
    OPTConfig,
)

from lightning_langcore.models import limits, loading
from lightning_langcore.models.limits import Positions
from tests.support.architectures import small_model

LLAMA = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {**YARN, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def of(config):
    return limits.positions(loading.model_without_weights(config, attention="eager"))


def test_learned_positions_end_with_their_table():
    assert limits.positions(small_model("gpt2")) == Positions(32, True)
    opt = {
        "hidden_size": 16,
        "ffn_dim": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "word_embed_proj_dim": 16,
    }
    assert of(OPTConfig(**opt, vocab_size=64, max_position_embeddings=48)) == Positions(48, True)  # 50 rows
    assert of(GPTJConfig(n_embd=16, n_layer=1, n_head=2, rotary_dim=4, n_positions=40, vocab_size=64)).is_table


def test_computed_positions_count_their_scaling():
    assert of(LlamaConfig(**LLAMA, max_position_embeddings=64)) == Positions(64, False)
    assert of(LlamaConfig(**LLAMA, max_position_embeddings=64, rope_parameters=YARN)) == Positions(256, False)
    linear = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    assert of(LlamaConfig(**LLAMA, max_position_embeddings=64, rope_parameters=linear)) == Positions(128, False)
    assert of(LlamaConfig(**LLAMA, max_position_embeddings=128, rope_parameters=LLAMA3)) == Positions(128, False)
    assert limits.positions(small_model("gemma3")) == Positions(32, False)  # its tower has a table of its own


def test_models_without_positions_have_no_limit():
    assert of(BloomConfig(hidden_size=16, n_layer=1, n_head=2, vocab_size=64)) is None
    assert of(MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=64)) is None


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "mixtral"])
def test_the_rows_of_the_vocabulary_are_those_of_the_embedding(name):
    model = small_model(name)
    assert limits.vocabulary_rows(model) == model.config.get_text_config().vocab_size


def test_the_largest_token_is_one_that_text_or_template_can_give(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    last = len(tokenizer) - 1
    assert limits.largest_token(tokenizer)[0] == last
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})  # as in Gemma 3 of 1B, without a row
    assert limits.largest_token(tokenizer)[0] == last
    tokenizer.add_tokens(["кош"])
    assert limits.largest_token(tokenizer) == (last + 2, "кош")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    tokenizer.chat_template = "{% for m in messages %}<|turn|>{{ m.content }}{% endfor %}"
    assert limits.largest_token(tokenizer) == (last + 3, "<|turn|>")
