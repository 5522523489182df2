"""A new tokenizer and a LLaMA with fresh weights."""

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


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer: any text can be written in it, nothing is unknown.

    Args:
        texts: documents.
        vocab_size: with the 256 bytes and the three special tokens ``<s>``, ``</s>``, ``<pad>``.

    Raises:
        ValueError: the vocabulary does not even hold the bytes.
    """
    if vocab_size < 259:
        raise ValueError(f"model.vocab_size={vocab_size} is too small: 256 bytes and 3 special tokens need 259")
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
    """A LLaMA with fresh float32 weights, the same for the same seed.

    Args:
        config: fields of ``transformers.LlamaConfig``; the vocabulary and its special tokens come from the tokenizer.
        tokenizer: see above.
        seed: of the weights; the global random state is left as it was.
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
