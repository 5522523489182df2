"""Interface of the question grammars of all languages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from lightning_langcore.data.phrasebook.questions import METHODS, Exercise, Numbers, Question

QuestionAndAnswer = tuple[str, str]  # for an exercise the first text is inserted into a template of ``wordings``


class QuestionGrammar(ABC):
    """Realises questions in one language: one method for each type of question (``questions.METHODS``).

    Attributes:
        wordings: two or three templates for each kind of instruction: ``scene`` with ``{scene}`` and ``{question}``,
            ``translation`` with ``{sentence}`` and ``{language}``; ``numbers``, ``phrase`` and ``form`` with
            ``{question}``, the task of an exercise.
        languages: names of the eight languages in the form that the templates of ``translation`` need.
        comma: separator of the items of a list.
    """

    wordings: ClassVar[Mapping[str, tuple[str, ...]]]
    languages: ClassVar[Mapping[str, str]]
    comma: ClassVar[str] = ", "

    def __init_subclass__(cls) -> None:
        missing = [name for name in METHODS.values() if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__} has no method for {', '.join(missing)}")

    def ask(self, question: Question | Exercise) -> QuestionAndAnswer:
        """The question, or the task of an exercise, and the answer."""
        pair: QuestionAndAnswer = getattr(self, METHODS[type(question)])(question)
        return pair

    @abstractmethod
    def numeral(self, number: int) -> str:
        """The name of a number, 3 to 10, without a noun."""

    @abstractmethod
    def noun(self, noun: str) -> str:
        """The citation form of a noun."""

    @abstractmethod
    def counted(self, number: int, noun: str) -> str:
        """A number, 3 to 20, with the noun that it counts."""

    def numbers(self, q: Numbers) -> QuestionAndAnswer:
        asked = self.comma.join(f"{self.numeral(number)} + {self.noun(noun)}" for number, noun in q.pairs)
        return asked, self.comma.join(self.counted(number, noun) for number, noun in q.pairs)
