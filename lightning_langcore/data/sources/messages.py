"""Validation of a conversation as a list of messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_langcore.utils.errors import LangcoreError

PLAIN_ROLES = ("system", "user", "assistant")
ROLES = (*PLAIN_ROLES, "developer", "tool", "function", "ipython")


Messages = Sequence[Mapping[str, Any]]
"""Each message has a ``role`` and a ``content``, and possibly further keys that a chat template uses."""


def check_messages(messages: Any, where: str) -> None:
    """Check that messages form a conversation that ends in an answer.

    An assistant's message may lack content if another key, such as ``tool_calls``, says something.

    Args:
        messages: value to check.
        where: place of the conversation, for error messages.

    Raises:
        LangcoreError: not a list of messages, an unknown role, content that is not text, or no answer.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise LangcoreError(f"{where}: messages must be a list of {{role, content}} with at least an answer in it")
    for number, message in enumerate(messages, 1):
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in ROLES:
            raise LangcoreError(f"{where}: the role of message {number} is {role!r}, none of {', '.join(ROLES)}")
        says_more = role == "assistant" and any(value for key, value in message.items() if key not in _BASIC)
        content = message.get("content")
        if not isinstance(content, str) and not (content is None and says_more):
            raise LangcoreError(f"{where}: the content of message {number} is not text")
        if role == "assistant" and not says_more and not message["content"].strip():
            raise LangcoreError(f"{where}: message {number}, an answer, is empty: remove the conversation or fill it")
    if messages[-1]["role"] != "assistant":
        raise LangcoreError(f"{where}: it has no answer: its last message must be an assistant's")


def check_plain(messages: Messages, where: str) -> None:
    """Check that each message is a role and a text, which is all that ``data.template=plain`` can write.

    Raises:
        LangcoreError: a role such as ``tool``, or an answer without text.
    """
    for number, message in enumerate(messages, 1):
        if message["role"] not in PLAIN_ROLES:
            raise LangcoreError(
                f"{where}: message {number} has the role {message['role']!r}, which data.template=plain can't write:"
                " choose data.template=tokenizer, or remove the conversation"
            )
        if message["role"] == "assistant" and not (message.get("content") or "").strip():
            raise LangcoreError(
                f"{where}: message {number}, an answer, has no text, and data.template=plain writes nothing else:"
                " choose data.template=tokenizer, or remove the conversation"
            )


def unused_keys(messages: Messages, used: Mapping[str, Any] | frozenset[str] | set[str]) -> set[str]:
    """Keys of messages beside role and content that have a value and are not among ``used``."""
    return {key for m in messages for key, value in m.items() if value is not None} - _BASIC - set(used)


_BASIC = frozenset(("role", "content"))
