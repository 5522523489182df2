"""Instructions and answers in the eight languages, from the grammars of the phrasebook; unlimited, deterministic.

Four kinds: a question about a small scene, the translation of a sentence, inflection (measure words or counters in
languages without inflection), and counting. Conversations with the same ``(seed, index)`` are translations.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from lightning_langcore.data.phrasebook import _grammar
from lightning_langcore.data.phrasebook.dialogue_planner import DialoguePlan, plan
from lightning_langcore.data.phrasebook.question_grammars.base import QuestionGrammar
from lightning_langcore.data.phrasebook.questions import Form, Numbers, Phrase, Translation

_EXERCISES: dict[type, str] = {Numbers: "numbers", Phrase: "phrase", Form: "form"}


def conversation(lang: str, index: int, seed: int = 0) -> list[dict[str, str]]:
    """Conversation ``index``: a question of the user and the answer of the assistant, as messages of a chat template.

    Raises:
        ValueError: a language that is not one of ``LANGUAGES``, or a negative index.
    """
    _grammar(lang)
    if index < 0:
        raise ValueError(f"a conversation's index is 0 or more, not {index}")
    user, assistant = _worded(lang, plan(seed, index))
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


@cache
def _question_grammar(lang: str) -> QuestionGrammar:
    module = import_module(f"lightning_langcore.data.phrasebook.question_grammars.{lang}")
    found: QuestionGrammar = module.QUESTION_GRAMMAR
    return found


def _worded(lang: str, dialogue: DialoguePlan) -> tuple[str, str]:
    question_grammar, grammar = _question_grammar(lang), _grammar(lang)

    def word(kind: str, **words: str) -> str:
        wordings = question_grammar.wordings[kind]
        return wordings[dialogue.wording % len(wordings)].format(**words)

    question = dialogue.question
    if isinstance(question, Translation):
        target = next(target for target in question.targets if target != lang)
        sentence = grammar.say(question.sentence)
        user = word("translation", sentence=sentence, language=question_grammar.languages[target])
        return user, _grammar(target).say(question.sentence)
    asked, answer = question_grammar.ask(question)
    scene = grammar.joiner.join(grammar.say(p) for p in dialogue.scene)
    return word(_EXERCISES.get(type(question), "scene"), scene=scene, question=asked), answer
