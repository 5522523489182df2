"""What every language offers to ask with, whatever goes on inside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from lightning_langcore.data.phrasebook.questions import METHODS, Exercise, Numbers, Question

Asked = tuple[str, str]  # a question and its answer; of an exercise what ``wordings`` put into words, and its answer


class Asking(ABC):
    """Asks in one language: one method for each kind of question (``questions.METHODS``).

    Attributes:
        wordings: How an instruction is worded, three or two ways each: ``scene`` of a ``{scene}`` and a
            ``{question}``, ``translation`` of a ``{sentence}`` and a ``{language}``, and ``numbers``, ``phrase`` and
            ``form`` of what an exercise asks for, ``{question}``.
        languages: How the eight languages are called after a wording of ``translation``.
        comma: What stands between two parts of a list.
    """

    wordings: ClassVar[Mapping[str, tuple[str, ...]]]
    languages: ClassVar[Mapping[str, str]]
    comma: ClassVar[str] = ", "

    def __init_subclass__(cls) -> None:
        missing = [name for name in METHODS.values() if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__} has no method for {', '.join(missing)}")

    def ask(self, question: Question | Exercise) -> Asked:
        """The question, or what an exercise asks for, and the answer."""
        asked: Asked = getattr(self, METHODS[type(question)])(question)
        return asked

    @abstractmethod
    def numeral(self, number: int) -> str:
        """The number's name by itself, 3 to 10."""

    @abstractmethod
    def noun(self, noun: str) -> str:
        """The citation form."""

    @abstractmethod
    def counted(self, number: int, noun: str) -> str:
        """So many of it, 3 to 20."""

    def numbers(self, q: Numbers) -> Asked:
        asked = self.comma.join(f"{self.numeral(number)} + {self.noun(noun)}" for number, noun in q.pairs)
        return asked, self.comma.join(self.counted(number, noun) for number, noun in q.pairs)
