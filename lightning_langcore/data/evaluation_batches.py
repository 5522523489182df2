"""Evaluation text as rolling windows: one document at a time, begin token first, every token evaluated once."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from lightning_langcore.data.chat_encoding import Encoded
from lightning_langcore.data.sources.base import Conversation
from lightning_langcore.data.tokenization import begin_token, encode
from lightning_langcore.metrics.functional import IGNORE
from lightning_langcore.metrics.text_scorer import BATCH_TOKENS, Batch, rank_share
from lightning_langcore.utils.errors import LangcoreError

Window = tuple[list[int], list[int]]


def rolling_windows(tokens: Sequence[int], begin: int, context: int) -> list[Window]:
    """Cut one document into windows as lm-eval's ``loglikelihood_rolling`` does.

    The first window starts with the begin token. Each later window is a full context long, overlaps the window before
    it, and has labels only for the tokens that no earlier window evaluates::

        context 4, tokens a b c d e f      inputs  B a b c    labels  a b c d
                                                   b c d e            . . e f

    Args:
        tokens: tokens of the document without special tokens.
        begin: id of the begin token.
        context: length of the longest input.

    Returns:
        Pairs of input ids and labels of equal length; labels are -100 at positions that are not evaluated.

    Raises:
        LangcoreError: a context below 1.
    """
    if context < 1:
        raise LangcoreError(f"data.block_size={context} must be at least 1")
    row = [begin, *tokens]
    windows = []
    done = 0
    while done < len(tokens):
        end = min(done + context, len(tokens))
        start = max(0, end - context)
        labels = [IGNORE] * (done - start) + list(tokens[done:end])
        windows.append((row[start:end], labels))
        done = end
    return windows


def take_tokens(
    documents: Iterable[str], tokenizer: PreTrainedTokenizerBase, num_tokens: int | None
) -> Iterator[tuple[list[int], int]]:
    """Tokens and number of UTF-8 bytes of whole documents until ``num_tokens`` are reached; ``None`` takes all."""
    total = 0
    num_bytes: list[int] = []

    def count_bytes() -> Iterator[str]:
        for text in documents:
            num_bytes.append(len(text.encode()))
            yield text

    for number, tokens in enumerate(encode(count_bytes(), tokenizer, batch_size=16)):
        if num_tokens is not None and total >= num_tokens:
            return
        total += len(tokens)
        yield tokens, num_bytes[number]


def eval_batches(
    documents: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    context: int,
    num_tokens: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> list[dict[str, Any]]:
    """Batches of windows, sorted by length, longest first, to keep padding low.

    Args:
        documents: texts, taken whole until ``num_tokens`` are reached.
        tokenizer: its begin token starts each document.
        context: length of the longest input.
        num_tokens: minimum number of tokens to evaluate; ``None``: all the text.
        batch_tokens: maximum size of a batch in tokens, padding included; a batch has at least one window.

    Returns:
        Dicts of ``input_ids`` and ``shift_labels`` (B, T) int64, padded on the right, and ``num_bytes`` int: the UTF-8
        bytes of the documents whose first window is in the batch.
    """
    windows: list[tuple[Window, int]] = []
    for tokens, num_bytes in take_tokens(documents, tokenizer, num_tokens):
        for i, window in enumerate(rolling_windows(tokens, begin_token(tokenizer), context)):
            windows.append((window, num_bytes if i == 0 else 0))
    return batches_of(windows, batch_tokens)


def batches_of(windows: Iterable[tuple[Window, int]], batch_tokens: int) -> list[dict[str, Any]]:
    """Batches in the format of :func:`eval_batches`, from pairs of a window and its number of bytes."""
    remaining = sorted(windows, key=lambda item: -len(item[0][0]))
    batches = []
    while remaining:
        size = max(1, batch_tokens // len(remaining[0][0][0]))
        chosen, remaining = remaining[:size], remaining[size:]
        batches.append(_padded(chosen))
    return batches


def _padded(chosen: Sequence[tuple[Window, int]]) -> dict[str, Any]:
    width = len(chosen[0][0][0])
    ids = torch.zeros(len(chosen), width, dtype=torch.int64)
    labels = torch.full((len(chosen), width), IGNORE, dtype=torch.int64)
    for row, ((inputs, targets), _) in enumerate(chosen):
        ids[row, : len(inputs)] = torch.tensor(inputs)
        labels[row, : len(targets)] = torch.tensor(targets)
    return {"input_ids": ids, "shift_labels": labels, "num_bytes": sum(b for _, b in chosen)}


def answer_batches(
    conversations: Iterable[Conversation],
    encode: Callable[[Conversation], Encoded],
    num_tokens: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> list[dict[str, Any]]:
    """Batches to evaluate answers, one conversation per row; the end token that closes an answer is evaluated too.

    Args:
        conversations: taken whole until ``num_tokens`` tokens of answers are reached.
        encode: see :func:`pack_conversations`.
        num_tokens: minimum number of answer tokens; ``None``: all conversations.
        batch_tokens: maximum size of a batch in tokens, padding included; a batch has at least one conversation.

    Returns:
        Dicts as of :func:`eval_batches`; ``num_bytes`` counts the bytes of the answers. If the answers of a
        conversation were cut, their bytes are scaled by the fraction of their tokens that is left.
    """
    windows: list[tuple[Window, int]] = []
    total = 0
    for conversation in conversations:
        if num_tokens is not None and total >= num_tokens:
            break
        encoded = encode(conversation)
        labels = [t if flag else IGNORE for t, flag in zip(encoded.ids, encoded.is_answer, strict=True)]
        size = sum(len(m["content"].encode()) for m in conversation.messages if m["role"] == "assistant")
        kept = sum(encoded.is_answer)
        windows.append(((encoded.ids, [*labels[1:], IGNORE]), round(size * kept / (kept + encoded.num_cut_answer))))
        total += kept
    return batches_of(windows, batch_tokens)


class EvalLoader:
    """Batches of one rank as a loader for Lightning, which leaves it as it is: no sampler that repeats batches.

    Args:
        batches: all batches, in the format of :func:`eval_batches`.
        rank: this rank.
        world_size: number of ranks; each gets equally many batches, filled up with batches without labels.
    """

    def __init__(self, batches: Sequence[Batch], rank: int = 0, world_size: int = 1) -> None:
        self._batches = batches
        self._rank = rank
        self._world_size = world_size

    def __len__(self) -> int:
        return math.ceil(len(self._batches) / self._world_size)

    def __iter__(self) -> Iterator[Batch]:
        return rank_share(self._batches, self._rank, self._world_size)
