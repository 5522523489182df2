"""Validation of a conversation as a list of messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_langcore.utils.errors import LangcoreError

ROLES = ("system", "user", "assistant")


Messages = Sequence[Mapping[str, str]]


def check_messages(messages: Any, where: str) -> None:
    """Check that messages form a conversation that ends in an answer.

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
        if not isinstance(message.get("content"), str):
            raise LangcoreError(f"{where}: the content of message {number} is not text")
        if role == "assistant" and not message["content"].strip():
            raise LangcoreError(f"{where}: message {number}, an answer, is empty: remove the conversation or fill it")
    if messages[-1]["role"] != "assistant":
        raise LangcoreError(f"{where}: it has no answer: its last message must be an assistant's")
