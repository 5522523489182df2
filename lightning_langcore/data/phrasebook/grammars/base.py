"""Interface of the grammars of all languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lightning_langcore.data.phrasebook.propositions import METHODS, Proposition

Words = Mapping[str, Mapping[str, tuple[str, ...]]]


class Grammar:
    """Realises propositions in one language: one method for each type of proposition (``propositions.METHODS``).

    Attributes:
        joiner: separator of two sentences of a document.
        words: part of speech -> concept -> all surface forms in use, the citation form first.
    """

    joiner: str = " "
    words: ClassVar[Words]

    def __init_subclass__(cls) -> None:
        missing = [name for name in METHODS.values() if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__} has no method for {', '.join(missing)}")

    def say(self, proposition: Proposition) -> str:
        """One complete sentence, with initial capital letter and final punctuation."""
        text: str = getattr(self, METHODS[type(proposition)])(proposition)
        return text


def capital(text: str) -> str:
    """The text with its first letter in upper case, after an opening punctuation mark as in Spanish."""
    return text[0] + text[1].upper() + text[2:] if text[0] in "¿¡" else text[0].upper() + text[1:]


def forms(*texts: str) -> tuple[str, ...]:
    """The non-empty texts in order, without duplicates: the surface forms of a word in ``words``."""
    return tuple(dict.fromkeys(t for t in texts if t))
