"""A conversation rendered by the chat template of a tokenizer, as text and as tokens."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from lightning_langcore.data.sources.base import Conversation
from lightning_langcore.data.sources.messages import Messages, unused_keys
from lightning_langcore.data.template_names import MARKS, Names, names_in
from lightning_langcore.data.tokenization import end_token
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say

_MARKED = "\ue000{}\ue001"  # private-use characters around special tokens in the text, which must stay text
_OWN_VARIABLES = {"messages", "add_generation_prompt", "continue_final_message"}  # set by the renderer, not by a row
_KWARGS = "chat_template_kwargs"  # the column in which TRL looks for variables of the template
_reported: set[tuple[str, str, str]] = set()


class Tokens(NamedTuple):
    """Tokens of a rendered text.

    Attributes:
        ids: token ids.
        offsets: (first, end) of each token in the rendered text; empty if they were not asked for.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


class Chat:
    """A conversation and the chat template that renders it, or a part of it.

    Args:
        conversation: messages with all their keys, and further values of the row that the template may name.
        tokenizer: its chat template is used.
        where: description of the conversation, for error messages.

    Attributes:
        messages: the messages, with special tokens that occur in their text marked as text.
        is_marked: whether any special token had to be marked.
        closing: ids of the tokens that can close an answer: the end token and all special tokens.
        marks_answers: whether the template itself marks the answers, with ``{% generation %}``.

    Raises:
        LangcoreError: the tokenizer has no chat template.
    """

    def __init__(self, conversation: Conversation, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
        self.tokenizer = tokenizer
        self._where = where
        special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.closing = {end_token(tokenizer), *special}
        any_special = "|".join(map(re.escape, sorted(special.values(), key=len, reverse=True))) or "(?!)"
        self.special = re.compile(any_special)
        self._literal = re.compile(_MARKED.format(f"({any_special})"))
        given = {**(conversation.fields or {})}
        tools = given.get("tools")
        source = self._source(tools)
        names = names_in(source)
        own = _OWN_VARIABLES | set(tokenizer.special_tokens_map)
        variables = self._variables(given, names, own)
        self.messages: Messages = [
            {key: value if key == "role" else self._as_text(value) for key, value in message.items()}
            for message in conversation.messages
        ]
        self._variables_marked = self._as_text(variables)
        self.is_marked = self.messages != list(map(dict, conversation.messages)) or self._variables_marked != variables
        self.marks_answers = bool(MARKS.search(source)) and tokenizer.is_fast
        report_unused(source, unused_keys(conversation.messages, names.keys), set(given) - set(variables))

    def text(self, messages: Messages, add_generation_prompt: bool = False) -> str:
        """The rendering of some messages."""
        rendered: str = self._try(
            lambda: self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **self._variables_marked,
            )
        )
        return rendered

    def ids(self, messages: Messages, add_generation_prompt: bool = False) -> list[int]:
        """Token ids of the rendering of some messages."""
        return self.tokens(self.text(messages, add_generation_prompt)).ids

    def tokens(self, text: str, with_offsets: bool = False) -> Tokens:
        """Tokens of a rendering; special tokens that were marked as text are encoded as text."""
        found = Tokens([], [])
        place = 0
        for number, part in enumerate(self._literal.split(text)):
            literal = number % 2 == 1
            place += literal  # the mark before it
            if part:
                encoded = self.tokenizer(
                    part,
                    add_special_tokens=False,
                    verbose=False,
                    split_special_tokens=literal,
                    return_offsets_mapping=with_offsets,
                )
                found.ids.extend(encoded["input_ids"])
                if with_offsets:
                    found.offsets.extend((place + first, place + end) for first, end in encoded["offset_mapping"])
            place += len(part) + literal
        return found

    def with_marks(self) -> tuple[list[int], list[bool], list[tuple[int, int]]]:
        """Ids, flags and offsets of the whole conversation; the flags are those of ``{% generation %}``."""
        found = self._try(
            lambda: self.tokenizer.apply_chat_template(
                [dict(message) for message in self.messages],
                return_dict=True,
                return_assistant_tokens_mask=True,
                tokenizer_kwargs={"verbose": False, "return_offsets_mapping": True},
                **self._variables_marked,
            )
        )
        return list(found["input_ids"]), [bool(flag) for flag in found["assistant_masks"]], found["offset_mapping"]

    def error(self, reason: str) -> LangcoreError:
        """The error that the template can't be used for this conversation."""
        return LangcoreError(
            f"{self._where}: the chat template of data.template=tokenizer {reason}: choose data.template=plain, or"
            " another conversation"
        )

    def _source(self, tools: Any) -> str:
        try:
            source: str = self.tokenizer.get_chat_template(tools=tools)
            return source
        except (AttributeError, ValueError) as error:
            raise LangcoreError(
                "data.template=tokenizer: the tokenizer of this model has no chat template: choose data.template=plain,"
                " or a model whose tokenizer has one"
            ) from error

    @staticmethod
    def _variables(given: dict[str, Any], names: Names, own: set[str]) -> dict[str, Any]:
        """The values of the row that the template names."""
        more = given.pop(_KWARGS, None)
        if isinstance(more, Mapping):
            given |= more
        allowed = names.variables - own
        return {key: value for key, value in given.items() if key in allowed and value is not None}

    def _as_text(self, value: Any) -> Any:
        """The value with special tokens in all its strings marked as text."""
        if isinstance(value, str):
            return self.special.sub(_MARKED.format(r"\g<0>"), value)
        if isinstance(value, Mapping):
            return {key: self._as_text(inner) for key, inner in value.items()}
        if isinstance(value, Sequence):
            return [self._as_text(inner) for inner in value]
        return value

    def _try(self, render: Callable[[], Any]) -> Any:
        try:
            return render()
        except Exception as error:  # a template is a program and can raise anything
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise self.error(f"can't render it ({reason})") from error


def report_unused(template: str, message_keys: set[str], row_keys: set[str]) -> None:
    """Print the keys of a conversation that are not used, each once in this process.

    Args:
        template: ``plain``, or the source of a chat template.
        message_keys: keys of messages.
        row_keys: keys of the row beside its messages.
    """
    named = []
    for place, keys in (("messages", message_keys), ("rows", row_keys)):
        new = sorted(key for key in keys if (template, place, key) not in _reported)
        _reported.update((template, place, key) for key in new)
        if new:
            named.append(f"{', '.join(new)} (of {place})")
    who = "data.template=plain" if template == "plain" else "data.template=tokenizer: the chat template"
    if named:
        say(f"{who} does not use {' and '.join(named)}: left out")
