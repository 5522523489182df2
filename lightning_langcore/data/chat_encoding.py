"""Conversations as tokens: which tokens are answers, and which tokens are cut from a conversation that is too long."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from lightning_langcore.data.sources.base import Conversation
from lightning_langcore.data.sources.messages import Messages, check_messages
from lightning_langcore.data.tokenization import encode
from lightning_langcore.utils.errors import LangcoreError

TEMPLATES = ("plain", "tokenizer")


_FRAME, _QUESTION, _ANSWER = range(3)  # kinds of token; frame: added by the template
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_MARKED = "\ue000{}\ue001"  # private-use characters around special tokens in the text, which must stay text


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
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase, template: str, max_length: int
) -> Encoded:
    r"""Encode a whole conversation; special tokens that occur in its text are encoded as text.

    ``plain`` writes begin token, question, newline, answer, end token, question, newline, answer, end token::

        <s> What is two and two? \n Four. </s> And three? \n Five. </s>
                                    ----------               ----------   answers

    ``tokenizer`` applies the tokenizer's own chat template. Answers are the tokens that the template marks with
    ``{% generation %}``; without such marks, the tokens that an assistant's message adds to the rendering of the
    messages before it.

    If the conversation is longer than ``max_length``, tokens are cut in this order: the middle of the questions, the
    frame of the template, the end of the answers. The first token is always kept.

    Args:
        conversation: messages; the last one is an answer.
        tokenizer: ``plain`` omits its begin token if that is also its end token.
        template: ``plain`` or ``tokenizer``.
        max_length: maximum number of tokens, at least 2.

    Returns:
        The tokens, at most ``max_length`` of them.

    Raises:
        LangcoreError: an unknown template, a template that the tokenizer lacks, a length below 2, a conversation
            without an answer, or a conversation that the template rejects or renders in such a way that its answers
            can't be distinguished from the rest.
    """
    if template not in TEMPLATES:
        raise LangcoreError(f"data.template={template!r} is none of {', '.join(TEMPLATES)}")
    if max_length < 2:
        raise LangcoreError(f"data.block_size={max_length} must be at least 2: an answer follows a token")
    where = f"conversation {conversation.identity} ({conversation.key[:40]!r})"
    check_messages(conversation.messages, where)
    if template == "plain":
        ids, kinds = _plain(conversation.messages, tokenizer)
    else:
        ids, kinds = _Chat(tokenizer, where).encode(conversation.messages, max_length)
    return _fit(ids, kinds, max_length)


def _plain(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    newline, *contents = encode(["\n", *(message["content"] for message in messages)], tokenizer)
    ids = [] if tokenizer.bos_token_id == tokenizer.eos_token_id else [tokenizer.bos_token_id]
    kinds = [_FRAME] * len(ids)
    for message, content in zip(messages, contents, strict=True):
        answers = message["role"] == "assistant"
        closing = [tokenizer.eos_token_id] if answers else newline
        ids += [*content, *closing]
        kinds += [_ANSWER if answers else _QUESTION] * len(content) + [_ANSWER if answers else _FRAME] * len(closing)
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


class _Chat:
    """The chat template of a tokenizer; ``where`` identifies the conversation in error messages."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
        self._tokenizer = tokenizer
        self._where = where
        special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._closing = {tokenizer.eos_token_id, *special}
        any_special = "|".join(map(re.escape, sorted(special.values(), key=len, reverse=True))) or "(?!)"
        self._special = re.compile(any_special)
        self._literal = re.compile(_MARKED.format(f"({any_special})"))
        self._marks_answers = bool(_GENERATION.search(self._source())) and tokenizer.is_fast

    def encode(self, messages: Messages, max_length: int) -> tuple[list[int], list[int]]:
        """Tokens and their kinds; questions and frame are distinguished only if tokens must be cut."""
        literal = [{**m, "content": self._special.sub(_MARKED.format(r"\g<0>"), m["content"])} for m in messages]
        if self._marks_answers and literal == list(messages):
            ids, is_answer = self._marked(messages)
        else:
            ids, is_answer = self._by_prefixes(literal)
        if not any(is_answer):
            raise self._error("marks nothing in it as an answer")
        questions = self._questions(literal, ids) if len(ids) > max_length else set()
        kinds = [_ANSWER if flag else _QUESTION if i in questions else _FRAME for i, flag in enumerate(is_answer)]
        return ids, kinds

    def _source(self) -> str:
        try:
            return self._tokenizer.get_chat_template()
        except (AttributeError, ValueError) as error:
            raise LangcoreError(
                "data.template=tokenizer: the tokenizer of this model has no chat template: choose data.template=plain,"
                " or a model whose tokenizer has one"
            ) from error

    def _marked(self, messages: Messages) -> tuple[list[int], list[bool]]:
        found = self._try(
            lambda: self._tokenizer.apply_chat_template(
                _dicts(messages),
                return_dict=True,
                return_assistant_tokens_mask=True,
                tokenizer_kwargs={"verbose": False, "return_offsets_mapping": True},
            )
        )
        ids, is_answer = list(found["input_ids"]), [bool(flag) for flag in found["assistant_masks"]]
        offsets, end = found["offset_mapping"], self._tokenizer.eos_token_id
        for i in range(1, len(ids)):
            # transformers marks only the first token of a text's last character
            split = offsets[i][0] < offsets[i - 1][1]
            closing = ids[i] == end != ids[i - 1]  # the end token must be learnt even if only the text is marked
            is_answer[i] |= is_answer[i - 1] and (split or closing)
        return ids, is_answer

    def _by_prefixes(self, messages: Messages) -> tuple[list[int], list[bool]]:
        ids = self._tokens(messages)
        is_answer = [False] * len(ids)
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._tokens(messages[:number], add_generation_prompt=True)
            through = self._tokens(messages[: number + 1])
            if ids[: len(before)] != before or ids[: len(through)] != through or len(before) >= len(through):
                raise self._error("renders it so that its answers can't be distinguished from the rest")
            start, end = len(before), len(through)
            closed = [i for i in range(start, end) if ids[i] in self._closing]
            end = closed[-1] + 1 if closed else end  # a newline after the end token is frame
            is_answer[start:end] = [True] * (end - start)
        return ids, is_answer

    def _questions(self, messages: Messages, ids: list[int]) -> set[int]:
        """Positions of the messages that the assistant did not write: the tokens that change with their content."""
        found: set[int] = set()
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                other = self._tokens([*messages[:number], {**message, "content": "x"}, *messages[number + 1 :]])
                start = _common_prefix(ids, other)
                suffix = min(_common_prefix(ids[::-1], other[::-1]), len(ids) - start, len(other) - start)
                end = len(ids) - suffix
                found.update(range(start, end))
        return found

    def _tokens(self, messages: Messages, add_generation_prompt: bool = False) -> list[int]:
        text = self._try(
            lambda: self._tokenizer.apply_chat_template(
                _dicts(messages), tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )
        ids: list[int] = []
        for number, part in enumerate(self._literal.split(text)):
            options = {"add_special_tokens": False, "verbose": False, "split_special_tokens": number % 2 == 1}
            ids += self._tokenizer(part, **options)["input_ids"] if part else []
        return ids

    def _try(self, render: Callable[[], Any]) -> Any:
        try:
            return render()
        except Exception as error:  # a template is a program and can raise anything
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise self._error(f"can't render it ({reason})") from error

    def _error(self, reason: str) -> LangcoreError:
        return LangcoreError(
            f"{self._where}: the chat template of data.template=tokenizer {reason}: choose data.template=plain, or"
            " another conversation"
        )


def _dicts(messages: Messages) -> list[dict[str, str]]:
    return [dict(message) for message in messages]


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common prefix."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
