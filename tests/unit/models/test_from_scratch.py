"""Models and tokenizers made anew: the same way twice."""

import pytest
import torch

from lightning_langcore.models import from_scratch

CONFIG = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXTS = ["The cat  sleeps.", "Кошка\r\nспит", "猫 睡觉", "قطة", "🤖\u200d🔥 \x00 né e\u0301", " ", "\n\n\ttab"]


def state(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_same_seed_gives_the_same_weights_and_the_global_random_state_is_untouched(tokenizer):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = from_scratch.new_llama(CONFIG, tokenizer, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert equal(state(first), state(from_scratch.new_llama(CONFIG, tokenizer, seed=1)))
    assert not equal(state(first), state(from_scratch.new_llama(CONFIG, tokenizer, seed=2)))
    assert {p.dtype for p in first.parameters()} == {torch.float32}


def test_a_new_llama_has_the_vocabulary_of_its_tokenizer_and_the_fields_of_its_config(tokenizer):
    config = from_scratch.new_llama({**CONFIG, "num_key_value_heads": 1}, tokenizer, 0).config
    assert (config.vocab_size, config.num_key_value_heads, config.hidden_size) == (300, 1, 32)
    special = (config.bos_token_id, config.eos_token_id, config.pad_token_id)
    assert tokenizer.convert_ids_to_tokens(special) == ["<s>", "</s>", "<pad>"]


def test_a_tokenizer_is_the_same_every_time_and_needs_room_for_all_bytes():
    made = [from_scratch.train_tokenizer(TEXTS * 3, 280).get_vocab() for _ in range(2)]
    assert made[0] == made[1]
    assert len(from_scratch.train_tokenizer([], 259)) == 259
    with pytest.raises(ValueError, match=r"model\.vocab_size=258 is too small"):
        from_scratch.train_tokenizer(TEXTS, 258)
