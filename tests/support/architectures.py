"""Small models whose parameters have other names or shapes in files than in memory."""

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteMoeConfig,
    MixtralConfig,
    OlmoeConfig,
    PreTrainedModel,
    Qwen3MoeConfig,
)

from tests.support.models import VOCAB

_SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": VOCAB,
    "max_position_embeddings": 32,
}
_TOWER = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_EXPERTS = {"num_experts_per_tok": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def small_model(name: str) -> PreTrainedModel:
    """A model of this architecture with fixed weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(_config(name), attn_implementation="eager").float().train()


def _config(name):
    without_heads = {key: value for key, value in _SIZES.items() if key != "num_key_value_heads"}
    vision = {**_TOWER, "image_size": 28, "patch_size": 14}
    images = {"boi_token_index": 60, "eoi_token_index": 61, "image_token_index": 62, "mm_tokens_per_image": 4}
    text = {**_SIZES, "head_dim": 8, "sliding_window": 8}
    return {
        "mixtral": lambda: MixtralConfig(**_SIZES, **_EXPERTS, num_local_experts=3),
        "qwen3_moe": lambda: Qwen3MoeConfig(**_SIZES, **_EXPERTS, num_experts=3, moe_intermediate_size=8, head_dim=8),
        "olmoe": lambda: OlmoeConfig(**_SIZES, **_EXPERTS, num_experts=3),
        "granitemoe": lambda: GraniteMoeConfig(**_SIZES, **_EXPERTS, num_local_experts=3),
        "gpt_oss": lambda: GptOssConfig(**_SIZES, **_EXPERTS, num_local_experts=3, head_dim=8),
        "gpt_neox": lambda: GPTNeoXConfig(**without_heads),
        "gpt2": lambda: GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, vocab_size=VOCAB),
        "gemma3": lambda: Gemma3Config(text_config=text, vision_config=vision, **images),
    }[name]()
