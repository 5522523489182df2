"""A new tokenizer and a LLaMA with newly initialized weights."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from lightning_langcore.utils.errors import LangcoreError


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, which can encode any text without unknown tokens.

    Args:
        texts: documents.
        vocab_size: size of the vocabulary, with the 256 bytes and the special tokens ``<s>``, ``</s>``, ``<pad>``.

    Raises:
        LangcoreError: a vocabulary below 259 tokens.
    """
    if vocab_size < 259:
        raise LangcoreError(f"model.vocab_size={vocab_size} is too small: 256 bytes and 3 special tokens need 259")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


def new_llama(config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, seed: int) -> LlamaForCausalLM:
    """A LLaMA with newly initialized float32 weights, which depend on the seed alone.

    Args:
        config: fields of ``transformers.LlamaConfig``, without the vocabulary size and the special tokens.
        tokenizer: defines the vocabulary size and the special tokens.
        seed: seed of the weights; the global random state stays unchanged.
    """
    full = LlamaConfig(
        **config,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(full)
    return model.float()
