"""Conversations as tokens: which tokens are answers, and which tokens are cut from a conversation that is too long."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, get_args

from transformers import PreTrainedTokenizerBase

from lightning_langcore.data.answer_spans import Answers, answer_spans, close
from lightning_langcore.data.chat_template import Chat, report_unused
from lightning_langcore.data.sources.base import Conversation
from lightning_langcore.data.sources.messages import check_messages, check_plain, unused_keys
from lightning_langcore.data.tokenization import begin_token, encode, end_token
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say

TEMPLATES = ("plain", "tokenizer")

_FRAME, _QUESTION, _ANSWER = range(3)  # kinds of token; frame: added by the template


class Encoded(NamedTuple):
    """Tokens of a conversation.

    Attributes:
        ids: token ids.
        is_answer: a flag for each token: part of an assistant's message, or the end token that closes one.
        num_cut: number of tokens that were cut.
        num_cut_answer: number of the cut tokens that belonged to answers.
    """

    ids: list[int]
    is_answer: list[bool]
    num_cut: int = 0
    num_cut_answer: int = 0


def encode_conversation(
    conversation: Conversation,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    max_length: int,
    answers: Answers = "all",
    add_end_token: bool = False,
) -> Encoded:
    r"""Encode a whole conversation; special tokens that occur in its text are encoded as text.

    ``plain`` writes begin token, question, newline, answer, end token, question, newline, answer, end token::

        <s> What is two and two? \n Four. </s> And three? \n Five. </s>
                                    ----------               ----------   answers

    ``tokenizer`` applies the tokenizer's own chat template, with all keys of the messages and those other values of the
    conversation that the template names; keys that nobody uses are printed, each once. For the tokens that are answers
    see :func:`lightning_langcore.data.answer_spans.answer_spans`.

    If the conversation is longer than ``max_length``, tokens are cut in this order: the middle of the questions, the
    frame of the template, the end of the answers. The first token is always kept.

    Args:
        conversation: messages; the last one is an answer.
        tokenizer: ``plain`` omits its begin token if that is also its end token.
        template: ``plain`` or ``tokenizer``.
        max_length: maximum number of tokens, at least 2.
        answers: ``all``; ``last``: the last answer alone is learnt; ``rendered``: all, and those that the template
            renders otherwise than it would a last answer are learnt as they are rendered.
        add_end_token: add the tokenizer's end token to answers that the template closes with no special token.

    Returns:
        The tokens, at most ``max_length`` of them.

    Raises:
        LangcoreError: an unknown template or choice of answers, a template that the tokenizer lacks, a length below 2,
            a conversation without an answer, or a conversation that the template rejects or renders in such a way that
            its answers can't be distinguished from the rest.
    """
    if template not in TEMPLATES:
        raise LangcoreError(f"data.template={template!r} is none of {', '.join(TEMPLATES)}")
    if answers not in get_args(Answers):
        raise LangcoreError(f"data.answers={answers!r} is none of {', '.join(get_args(Answers))}")
    if max_length < 2:
        raise LangcoreError(f"data.block_size={max_length} must be at least 2: an answer follows a token")
    where = f"conversation {conversation.identity} ({conversation.key[:40]!r})"
    check_messages(conversation.messages, where)
    if template == "plain":
        check_plain(conversation.messages, where)
        ids, kinds = _plain(conversation, tokenizer, answers)
    else:
        ids, kinds = _chat(Chat(conversation, tokenizer, where), answers, add_end_token, max_length)
    return _fit(ids, kinds, max_length)


def _plain(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase, answers: Answers
) -> tuple[list[int], list[int]]:
    messages = conversation.messages
    report_unused("plain", unused_keys(messages, frozenset()), set(conversation.fields or {}))
    newline, *contents = encode(["\n", *(message["content"] for message in messages)], tokenizer)
    begin, end = begin_token(tokenizer), end_token(tokenizer)
    ids = [] if begin == end else [begin]
    kinds = [_FRAME] * len(ids)
    for number, (message, content) in enumerate(zip(messages, contents, strict=True), 1):
        closes = message["role"] == "assistant"
        learns = closes and (answers != "last" or number == len(messages))
        closing = [end] if closes else newline
        ids += [*content, *closing]
        kinds += [_ANSWER if learns else _QUESTION] * len(content) + [_ANSWER if learns else _FRAME] * len(closing)
    return ids, kinds


def _fit(ids: list[int], kinds: list[int], max_length: int) -> Encoded:
    excess = max(0, len(ids) - max_length)
    questions, frame, answers = (
        [i for i, kind in enumerate(kinds) if kind == chosen and (i > 0 or kind == _ANSWER)]
        for chosen in (_QUESTION, _FRAME, _ANSWER)
    )
    first = max(0, len(questions) - excess) // 2
    dropped = questions[first : first + excess]
    dropped += frame[: excess - len(dropped)]
    num_cut_answer = excess - len(dropped)
    cut = {*dropped, *answers[len(answers) - num_cut_answer :]}
    kept = [i for i in range(len(ids)) if i not in cut]
    return Encoded([ids[i] for i in kept], [kinds[i] == _ANSWER for i in kept], len(cut), num_cut_answer)


def _chat(chat: Chat, answers: Answers, add_end_token: bool, max_length: int) -> tuple[list[int], list[int]]:
    """Tokens and their kinds; questions and frame are distinguished only if tokens must be cut."""
    ids, spans = answer_spans(chat, answers)
    kinds = [_FRAME] * len(ids)
    for start, end in spans:
        kinds[start:end] = [_ANSWER] * (end - start)
    one_each = len(spans) == sum(message["role"] == "assistant" for message in chat.messages)
    whole = spans if one_each else spans[-1:]  # a template may mark an answer in several pieces
    unclosed = [end for start, end in whole if ids[close(chat, ids, start, end)[1] - 1] not in chat.closing]
    if len(ids) + len(unclosed) * add_end_token > max_length:
        for i in _questions(chat, ids):
            kinds[i] = kinds[i] if kinds[i] == _ANSWER else _QUESTION
    if unclosed and not add_end_token:
        _say_never_ends()
    for end in reversed(unclosed) if add_end_token else ():
        ids.insert(end, end_token(chat.tokenizer))
        kinds.insert(end, _ANSWER)
    return ids, kinds


@cache  # once
def _say_never_ends() -> None:
    say(
        "data.template=tokenizer: the chat template closes answers with no end token, so that a model does not learn to"
        " stop: set data.add_end_token=true to add the tokenizer's"
    )


def _questions(chat: Chat, ids: list[int]) -> set[int]:
    """Positions of the messages that the assistant did not write: the tokens that change with their content."""
    found: set[int] = set()
    messages = chat.messages
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            other = chat.ids([*messages[:number], {**message, "content": "x"}, *messages[number + 1 :]])
            start = _common_prefix(ids, other)
            suffix = min(_common_prefix(ids[::-1], other[::-1]), len(ids) - start, len(other) - start)
            found.update(range(start, len(ids) - suffix))
    return found


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common prefix."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
