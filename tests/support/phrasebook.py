"""Conversations of the phrasebook, cached by language."""

from functools import cache
from importlib import import_module

from lightning_langcore.data.phrasebook.dialogues import conversation
from lightning_langcore.data.phrasebook.question_grammars.base import QuestionGrammar

READ = 1200
SEED = 5


@cache
def talks(lang: str) -> list[tuple[str, str]]:
    read = (conversation(lang, i, SEED) for i in range(READ))
    return [(user["content"], assistant["content"]) for user, assistant in read]


def asking(lang: str) -> QuestionGrammar:
    return import_module(f"lightning_langcore.data.phrasebook.question_grammars.{lang}").QUESTION_GRAMMAR
