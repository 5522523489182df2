"""Tokenization of documents, in this process or in several."""

from collections.abc import Iterable, Iterator
from itertools import islice

from transformers import PreTrainedTokenizerBase

_BATCH = 256


_CHUNK = 8192  # documents per process at a time


def begin_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the begin token; a tokenizer without one, as Qwen's, has its end token for both."""
    begin = tokenizer.bos_token_id
    return int(tokenizer.eos_token_id if begin is None else begin)


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the end token; a tokenizer without one has its begin token for both."""
    end = tokenizer.eos_token_id
    return int(tokenizer.bos_token_id if end is None else end)


def encode(
    documents: Iterable[str], tokenizer: PreTrainedTokenizerBase, batch_size: int = _BATCH, num_proc: int = 1
) -> Iterator[list[int]]:
    """Tokens of each document, in order, without special tokens; a ``</s>`` in the text is encoded as text.

    Args:
        documents: texts.
        tokenizer: tokenizer of the model.
        batch_size: number of documents that are read and tokenized at a time.
        num_proc: number of processes that tokenize, through ``datasets.map``; each holds up to 8192 documents. With 1
            this process tokenizes, in the tokenizer's own threads.
    """
    documents = iter(documents)
    if num_proc > 1:
        yield from _encode_in_processes(documents, tokenizer, batch_size, num_proc)
        return
    while batch := list(islice(documents, batch_size)):
        yield from _token_ids(batch, tokenizer)


def _token_ids(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def _encode_in_processes(
    documents: Iterator[str], tokenizer: PreTrainedTokenizerBase, batch_size: int, num_proc: int
) -> Iterator[list[int]]:
    import datasets  # imported here because it takes a second

    def tokenize(texts: list[str]) -> dict[str, list[list[int]]]:
        return {"ids": _token_ids(texts, tokenizer)}

    datasets.disable_progress_bars()
    while chunk := list(islice(documents, _CHUNK * num_proc)):
        rows = datasets.Dataset.from_dict({"text": chunk}).map(
            tokenize,
            input_columns="text",
            remove_columns="text",
            batched=True,
            batch_size=batch_size,
            num_proc=min(num_proc, len(chunk)),
            new_fingerprint="tokens",  # the result is never cached; by default datasets would hash the tokenizer
        )
        for batch in rows.iter(batch_size):
            yield from batch["ids"]
