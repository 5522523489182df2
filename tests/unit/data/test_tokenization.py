"""Tokens from several processes."""

from lightning_langcore.data.tokenization import encode


def test_several_processes_make_the_same_tokens_in_the_same_order(tokenizer):
    texts = [f"Кошка {i} спит на камне. </s> " * (i % 4) for i in range(700)]
    assert list(encode(texts, tokenizer, num_proc=2)) == list(encode(texts, tokenizer))
