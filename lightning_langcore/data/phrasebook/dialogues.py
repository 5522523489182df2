"""Instructions and answers in the eight languages, from the phrasebook's own grammars; unlimited, deterministic.

Four kinds: a question about a small scene, the translation of a sentence, inflection (or what a language has in its
place: measure words, counters), and counting. The same ``(seed, index)`` is the same talk in every language.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from lightning_langcore.data.phrasebook import _grammar
from lightning_langcore.data.phrasebook.dialogue_planner import Talk, plan
from lightning_langcore.data.phrasebook.question_grammars.base import Asking
from lightning_langcore.data.phrasebook.questions import Form, Numbers, Phrase, Translation

_EXERCISES: dict[type, str] = {Numbers: "numbers", Phrase: "phrase", Form: "form"}


def conversation(lang: str, index: int, seed: int = 0) -> list[dict[str, str]]:
    """Talk ``index``: what the user asks and what the assistant answers, as messages of a chat template.

    Raises:
        ValueError: If the language is not one of ``LANGUAGES`` or the index is negative.
    """
    _grammar(lang)
    if index < 0:
        raise ValueError(f"a talk's index is 0 or more, not {index}")
    user, assistant = _worded(lang, plan(seed, index))
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


@cache
def _asking(lang: str) -> Asking:
    found: Asking = import_module(f"lightning_langcore.data.phrasebook.question_grammars.{lang}").ASKING
    return found


def _worded(lang: str, talk: Talk) -> tuple[str, str]:
    asking, grammar = _asking(lang), _grammar(lang)

    def word(kind: str, **words: str) -> str:
        wordings = asking.wordings[kind]
        return wordings[talk.wording % len(wordings)].format(**words)

    question = talk.question
    if isinstance(question, Translation):
        target = next(target for target in question.targets if target != lang)
        sentence = grammar.say(question.sentence)
        user = word("translation", sentence=sentence, language=asking.languages[target])
        return user, _grammar(target).say(question.sentence)
    asked, answer = asking.ask(question)
    scene = grammar.joiner.join(grammar.say(p) for p in talk.scene)
    return word(_EXERCISES.get(type(question), "scene"), scene=scene, question=asked), answer
