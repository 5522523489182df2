"""Conversations by themselves, before they are packed."""

import random

from lightning_langcore.data.chat_encoding import Encoded
from lightning_langcore.data.sources.base import Conversation


def pair(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


# --- packed rows


def table(count, longest, seed=0):
    """Numbered conversations, every seventh with a tag, and what each is as tokens, by key."""
    rng = random.Random(seed)
    found, made = [], {}
    for i in range(count):
        size = rng.randint(2, longest)
        ids = [rng.randrange(1, 100_000) for _ in range(size)]
        found.append(Conversation(f"key {i}", pair("q", "a"), f"foreign:{i}" if i % 7 == 0 else None))
        made[f"key {i}"] = Encoded(ids, [rng.random() < 0.5 for _ in ids], rng.choice([0, 0, 3]))
    return found, made


IGNORE = -100
