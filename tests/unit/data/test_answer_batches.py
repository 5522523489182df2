"""Answers as they are evaluated: each token once, with its share of the bytes."""

import random
from functools import partial

import numpy as np
import pytest
import torch

from lightning_langcore.data.chat_encoding import encode_conversation
from lightning_langcore.data.evaluation_batches import answer_batches
from lightning_langcore.data.packing.conversations import pack_conversations
from lightning_langcore.data.sources.base import Conversation
from lightning_langcore.metrics.functional import next_token_nats
from tests.support.packed_conversations import IGNORE, pair

# --- scoring answers


def dialogues(count=25, seed=0):
    rng = random.Random(seed)
    return [
        Conversation(str(i), pair("что? " * rng.randrange(1, 4), rng.choice("абв猫x") * rng.randrange(1, 9)))
        for i in range(count)
    ]


def test_answers_are_scored_once_with_their_bytes_whatever_the_batch(tokenizer):
    encode = partial(encode_conversation, tokenizer=tokenizer, template="plain", max_length=64)
    found = dialogues()
    expected = [
        token
        for talk in found
        for token in [*tokenizer(talk.messages[1]["content"])["input_ids"], tokenizer.eos_token_id]
    ]
    for size in (1, 70, 4096):
        batches = answer_batches(found, encode, batch_tokens=size)
        assert sum(b["num_bytes"] for b in batches) == sum(len(t.messages[1]["content"].encode()) for t in found)
        labels = [b["shift_labels"][b["shift_labels"] != IGNORE].tolist() for b in batches]
        assert sorted(token for part in labels for token in part) == sorted(expected)
        for batch in batches:
            rows, width = batch["input_ids"].shape
            assert rows == 1 or rows * width <= size
            shifted = batch["input_ids"][:, 1:][batch["shift_labels"][:, :-1] != IGNORE]
            assert shifted.tolist() == batch["shift_labels"][batch["shift_labels"] != IGNORE].tolist()


def test_conversations_are_taken_whole_until_there_are_enough_answer_tokens(tokenizer):
    encode = partial(encode_conversation, tokenizer=tokenizer, template="plain", max_length=64)
    found = dialogues()
    ends = np.cumsum([sum(encode(talk).is_answer) for talk in found])
    for wanted in (1, int(ends[3]), int(ends[3]) + 1, 10**6):
        count = min(int(np.searchsorted(ends, wanted)) + 1, len(found))
        batches = answer_batches(found, encode, wanted)
        assert sum(len(batch["input_ids"]) for batch in batches) == count
        assert sum(int((batch["shift_labels"] != IGNORE).sum()) for batch in batches) == ends[count - 1]


def test_a_cut_answer_brings_as_large_a_share_of_its_bytes(tokenizer):
    encode = partial(encode_conversation, tokenizer=tokenizer, template="plain", max_length=6)
    (batch,) = answer_batches([Conversation("k", pair("why", "abcdefghi"))], encode)
    assert int((batch["shift_labels"] != IGNORE).sum()) == 5
    assert batch["num_bytes"] == round(9 * 5 / 10)


def test_packed_rows_cost_as_many_nats_as_each_conversation_alone(tmp_path, llama, tokenizer):
    encode = partial(encode_conversation, tokenizer=tokenizer, template="plain", max_length=48)
    found = dialogues()
    packed = pack_conversations(found, encode, tmp_path / "p", None, 48)
    rows = [packed.row(number, 48) for number in range(len(packed))]
    batch = {name: torch.stack([row[name] for row in rows]) for name in ("input_ids", "position_ids", "shift_labels")}
    assert max(int(row["num_documents"]) for row in rows) > 1
    with torch.no_grad():
        logits = llama(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
        nats, count = next_token_nats(logits, batch["shift_labels"])
        alone = [
            next_token_nats(llama(input_ids=b["input_ids"]).logits, b["shift_labels"])
            for b in answer_batches(found, encode, batch_tokens=1)
        ]
    assert int(count) == packed.num_answer_tokens == sum(int(n) for _, n in alone)
    assert float(nats) == pytest.approx(sum(float(n) for n, _ in alone), rel=1e-6)
