"""Test text as lm-eval scores it."""

import math
import random

import pytest
import torch

from lightning_langcore.data.evaluation_batches import eval_batches, rolling_windows
from lightning_langcore.metrics.functional import next_token_nats

IGNORE = -100
BEGIN = 999
CASES = [(1, 1), (1, 5), (4, 5), (5, 5), (6, 5), (9, 5), (10, 5), (11, 5), (23, 7), (7, 1), (100, 16)]


def plain_windows(tokens, begin, context):
    """What is scored given what: every later window has its last token end where the text does, or a whole step on."""
    row = [begin, *tokens]
    found = []
    for first in range(0, len(tokens), context):
        last = min(first + context, len(tokens))
        seen_from = max(0, last - context)
        found.append((row[seen_from:last], {position: row[position + 1] for position in range(first, last)}))
    return found


def scored(windows):
    """Pairs of (tokens before within the window, the token scored), in the order of the text."""
    return [
        (tuple(inputs[: i + 1]), label)
        for inputs, labels in windows
        for i, label in enumerate(labels)
        if label != IGNORE
    ]


@pytest.mark.parametrize(("length", "context"), CASES)
def test_windows_equal_a_plain_reimplementation(length, context):
    tokens = list(range(10, 10 + length))
    windows = rolling_windows(tokens, BEGIN, context)
    reference = plain_windows(tokens, BEGIN, context)
    assert [inputs for inputs, _ in windows] == [inputs for inputs, _ in reference]
    for (_, labels), (_, targets) in zip(windows, reference, strict=True):
        assert [label for label in labels if label != IGNORE] == list(targets.values())


@pytest.mark.parametrize(("length", "context"), CASES)
def test_windows_equal_those_of_lm_eval(length, context):
    utils = pytest.importorskip("lm_eval.utils")
    tokens = list(range(10, 10 + length))
    expected = []
    for pair in utils.get_rolling_token_windows(tokens, BEGIN, max_seq_len=context, context_len=1):
        before, continuation = utils.make_disjoint_window(pair)
        whole = [*before, *continuation]
        start = len(whole) - len(continuation)
        expected += [(tuple(whole[max(0, len(whole) - 1 - context) : i]), whole[i]) for i in range(start, len(whole))]
    assert scored(rolling_windows(tokens, BEGIN, context)) == expected


@pytest.mark.parametrize(("length", "context"), CASES)
def test_every_token_is_scored_once_right_after_its_predecessor(length, context):
    tokens = list(range(10, 10 + length))
    windows = rolling_windows(tokens, BEGIN, context)
    assert [label for _, labels in windows for label in labels if label != IGNORE] == tokens
    previous = dict(zip(tokens, [BEGIN, *tokens], strict=False))
    for inputs, labels in windows:
        assert len(inputs) == len(labels) <= context
        assert all(previous[label] == token for token, label in zip(inputs, labels, strict=True) if label != IGNORE)


def test_a_document_without_tokens_has_no_window_and_a_context_below_one_is_refused():
    assert rolling_windows([], BEGIN, 4) == []
    with pytest.raises(ValueError, match=r"data\.block_size=0"):
        rolling_windows([1], BEGIN, 0)


def documents(count=40, seed=0):
    rng = random.Random(seed)
    return ["".join(rng.choices("абв слово 猫 text", k=rng.randrange(1, 90))) for _ in range(count)]


def test_bytes_and_tokens_are_counted_once_whatever_the_batch(tokenizer):
    texts = documents()
    tokens = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
    for size in (1, 40, 4096):
        batches = eval_batches(texts, tokenizer, context=16, batch_tokens=size)
        assert sum(batch["num_bytes"] for batch in batches) == sum(len(text.encode()) for text in texts)
        assert sum(int((batch["shift_labels"] != IGNORE).sum()) for batch in batches) == tokens


def test_the_longest_come_first_and_batches_are_as_large_as_allowed(tokenizer):
    batches = eval_batches(documents(), tokenizer, context=32, batch_tokens=100)
    widths = [batch["input_ids"].shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch in batches[:-1]:
        rows, width = batch["input_ids"].shape
        assert rows * width <= 100 < (rows + 1) * width
    assert eval_batches(documents(1), tokenizer, context=32, batch_tokens=1)[0]["input_ids"].shape[0] == 1


def test_documents_are_taken_whole_until_there_are_enough_tokens(tokenizer):
    texts = documents()
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    for wanted in (1, lengths[0], lengths[0] + 1, 300, 10**9):
        count = next((n for n in range(1, len(texts) + 1) if sum(lengths[:n]) >= wanted), len(texts))
        batches = eval_batches(texts, tokenizer, 16, num_tokens=wanted)
        assert sum(batch["num_bytes"] for batch in batches) == sum(len(text.encode()) for text in texts[:count])


def nats_of(model, batches):
    with torch.no_grad():
        return sum(
            float(next_token_nats(model(input_ids=b["input_ids"]).logits, b["shift_labels"])[0]) for b in batches
        )


def test_the_sum_of_nats_does_not_depend_on_batches_and_equals_scoring_alone(llama, tokenizer):
    llama.eval()
    texts = documents(12)
    alone = 0.0
    for text in texts:
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        for inputs, targets in plain_windows(tokens, tokenizer.bos_token_id, 16):
            with torch.no_grad():
                log_p = llama(input_ids=torch.tensor([inputs])).logits[0].double().log_softmax(-1)
            wanted = list(targets.values())
            rows = range(len(inputs) - len(wanted), len(inputs))
            alone -= math.fsum(float(log_p[row, target]) for row, target in zip(rows, wanted, strict=True))
    for size in (1, 60, 4096):
        assert nats_of(llama, eval_batches(texts, tokenizer, 16, batch_tokens=size)) == pytest.approx(alone, rel=1e-6)
