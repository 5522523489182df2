r"""Which tokens of a rendered conversation are answers.

<|im_start|>user Two and two? <|im_end|> <|im_start|>assistant Four. <|im_end|> \n
                                                               ----------------     an answer, closed by <|im_end|>
"""

import re
from functools import cached_property
from itertools import pairwise
from typing import Literal

from lightning_langcore.data.chat_template import Chat
from lightning_langcore.data.tokenization import end_token

Answers = Literal["all", "last", "rendered"]
Span = tuple[int, int]
"""First token of an answer, and the first one after it."""

_SENTINEL = "\ue002\ue003"  # private-use characters in place of a message's content


def answer_spans(chat: Chat, answers: Answers) -> tuple[list[int], list[Span]]:
    """Tokens of a conversation and the spans of its answers, each with the special token that closes it, if any does.

    Answers are what the template marks with ``{% generation %}``. Without such marks, or if special tokens in the text
    had to be marked as text, an answer is what an assistant's message adds to the rendering of the messages before it.
    Templates such as Qwen3's render an earlier answer otherwise than the last one: with ``rendered``, such an answer
    is what stands between its generation prompt and the token that closes it in the whole rendering.

    Args:
        chat: the conversation.
        answers: ``all``; ``last``: the last answer alone; ``rendered``: all, as they stand in the whole rendering.

    Raises:
        LangcoreError: the template rejects the conversation, marks nothing in it, or answers can't be found.
    """
    if chat.marks_answers and not chat.is_marked:
        ids, spans = _marked(chat)
        return ids, spans[-1:] if answers == "last" else spans
    return _Rendered(chat, answers).spans()


def close(chat: Chat, ids: list[int], start: int, end: int) -> Span:
    """The span without the white space after the special token that closes it; unchanged if none does."""
    closed = max((i for i in range(start, end) if ids[i] in chat.closing), default=end)
    is_blank = not str(chat.tokenizer.decode(ids[closed + 1 : end])).strip()  # a newline after the end token is frame
    return (start, closed + 1) if closed < end and is_blank else (start, end)


def _marked(chat: Chat) -> tuple[list[int], list[Span]]:
    ids, flags, offsets = chat.with_marks()
    for i in range(1, len(ids)):
        # transformers marks only the first token of a text's last character
        flags[i] |= flags[i - 1] and offsets[i][0] < offsets[i - 1][1]
    edges = [i for i in range(len(ids) + 1) if (i > 0 and flags[i - 1]) != (i < len(ids) and flags[i])]
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    if not spans:
        raise chat.error("marks nothing in it as an answer")
    # the token after an answer must be learnt even if only the text is marked: the end token, or the one that closes
    # the last answer, which no other message follows
    after = ids[spans[-1][1] : spans[-1][1] + 1]
    closing = {i for i in after if i in chat.closing} | {end_token(chat.tokenizer)}
    return ids, [
        (start, end + (end < len(ids) and ids[end] in closing and ids[end - 1] not in closing)) for start, end in spans
    ]


class _Rendered:
    """Answers in the rendering of a conversation whose template marks none."""

    def __init__(self, chat: Chat, answers: Answers) -> None:
        self._chat = chat
        self._answers = answers
        self._text = chat.text(chat.messages)
        with_offsets = answers == "rendered" and chat.tokenizer.is_fast
        self._ids, self._offsets = chat.tokens(self._text, with_offsets)

    def spans(self) -> tuple[list[int], list[Span]]:
        """Tokens, and the spans of the answers that are learnt."""
        numbers = [i for i, message in enumerate(self._chat.messages) if message["role"] == "assistant"]
        spans = [self._span(number) for number in numbers[-1 if self._answers == "last" else 0 :]]
        if any(end > start for (_, end), (start, _) in pairwise(spans)):
            raise self._chat.error("renders its answers so that they overlap")
        return self._ids, spans

    def _span(self, number: int) -> Span:
        span = self._by_prefix(number)
        if span is None and self._answers == "rendered":
            span = self._by_position(number)
        if span is None:
            hint = ""
            if self._answers == "all" and number < len(self._chat.messages) - 1:
                hint = " (if it renders earlier answers otherwise than the last, set data.answers=last or rendered)"
            raise self._chat.error(f"renders it so that its answers can't be distinguished from the rest{hint}")
        return span

    def _by_prefix(self, number: int) -> Span | None:
        """What the message adds to the rendering of the messages before it, if that rendering stays the same."""
        chat, ids = self._chat, self._ids
        before = chat.ids(chat.messages[:number], add_generation_prompt=True)
        through = chat.ids(chat.messages[: number + 1])
        if ids[: len(before)] != before or ids[: len(through)] != through or len(before) >= len(through):
            return None
        return close(chat, ids, len(before), len(through))

    def _by_position(self, number: int) -> Span | None:
        """The message where it stands in the whole rendering, from its generation prompt to the token that closes it.

        Its content is found by replacing it: what is before and after it must not change.
        """
        chat, text = self._chat, self._text
        content = self._content(number)
        if content is None or not chat.tokenizer.is_fast:
            return None
        start, end = content
        before = chat.messages[:number]
        without, prompted = chat.text(before), chat.text(before, add_generation_prompt=True)
        prompt = prompted[len(without) :] if prompted.startswith(without) else ""
        place = text.rfind(prompt, 0, start) if prompt else -1
        if place >= 0:
            start = place + len(prompt)
        following = self._content(number + 1) if number + 1 < len(chat.messages) else None
        limit = following[0] if following else len(text)
        closing = re.compile(re.escape(self._last_token)).search(text, end, limit) if self._last_token else None
        end = closing.end() if closing else end
        found = [i for i, (first, last) in enumerate(self._offsets) if first < end and last > start]
        return (found[0], found[-1] + 1) if found else None

    @cached_property
    def _last_token(self) -> str | None:
        """The special token that closes the last answer; ``None`` if none does."""
        span = self._by_prefix(len(self._chat.messages) - 1)
        last = None if span is None else self._ids[span[1] - 1]
        return str(self._chat.tokenizer.convert_ids_to_tokens(last)) if last in self._chat.closing else None

    def _content(self, number: int) -> Span | None:
        """First character of a message's content in the rendering, and the first one after it."""
        messages = list(self._chat.messages)
        messages[number] = {**messages[number], "content": _SENTINEL}
        before, found, after = self._chat.text(messages).partition(_SENTINEL)
        is_frame = self._text.startswith(before) and self._text.endswith(after)
        if not found or not is_frame or len(before) + len(after) > len(self._text):
            return None
        return len(before), len(self._text) - len(after)
