"""A tokenizer whose tokens are code points."""

from types import SimpleNamespace

BEGIN, END = 1, 2


class CharTokenizer(SimpleNamespace):
    """A token is a code point; ``bos_token_id``, ``eos_token_id`` and ``size`` as given."""

    def __len__(self):
        return self.size

    def __call__(self, texts, add_special_tokens, split_special_tokens, verbose):
        assert not add_special_tokens
        assert split_special_tokens
        return {"input_ids": [[ord(c) for c in text] for text in texts]}


def chars(size=60_000, begin=BEGIN):
    return CharTokenizer(size=size, bos_token_id=begin, eos_token_id=END)
