"""A small LLaMA with fixed weights, and a random region of its weights."""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_langcore import Region, random_region
from lightning_langcore.models.parameters import candidates, named_shapes

VOCAB = 300


def tiny_llama(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """A LLaMA of about 40 000 weights, untied head, with fixed weights."""
    fields = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    fields |= {"tie_word_embeddings": False, **changes}
    config = LlamaConfig(vocab_size=VOCAB, max_position_embeddings=64, **fields)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).float().train()


def random_half(module: torch.nn.Module, seed: int = 0, fraction: float = 0.5) -> Region:
    return random_region(candidates(named_shapes(module)), fraction, seed)
