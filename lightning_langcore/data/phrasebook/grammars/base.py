"""What every language's grammar offers, whatever goes on inside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lightning_langcore.data.phrasebook.propositions import METHODS, Proposition

Words = Mapping[str, Mapping[str, tuple[str, ...]]]


class Grammar:
    """Says propositions in one language: one method for each kind of proposition (``meaning.METHODS``).

    Attributes:
        joiner: What stands between two sentences of a document.
        words: Part of speech -> concept -> every surface form in use, the citation form first.
    """

    joiner: str = " "
    words: ClassVar[Words]

    def __init_subclass__(cls) -> None:
        missing = [name for name in METHODS.values() if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__} has no method for {', '.join(missing)}")

    def say(self, proposition: Proposition) -> str:
        """One whole sentence, with its capital letter and its final punctuation."""
        text: str = getattr(self, METHODS[type(proposition)])(proposition)
        return text


def capital(text: str) -> str:
    """The text with its first letter in upper case, past an opening mark such as the Spanish one."""
    return text[0] + text[1].upper() + text[2:] if text[0] in "¿¡" else text[0].upper() + text[1:]


def forms(*texts: str) -> tuple[str, ...]:
    """The texts in order, each once: how ``words`` lists a word's surface forms."""
    return tuple(dict.fromkeys(t for t in texts if t))
