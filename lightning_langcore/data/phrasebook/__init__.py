"""The phrasebook: an embedded parallel corpus, unlimited and deterministic, in eight natural languages.

Documents with the same ``(seed, index)`` are translations of one another: ``document_planner`` plans a document as
``propositions`` about ``concepts``, and one grammar per language (``grammars``) realises them as sentences.
Conversations: ``dialogue_planner`` plans ``questions``, and ``dialogues`` realises them with ``question_grammars``.
"""

from __future__ import annotations

from importlib import import_module

from lightning_langcore.data.phrasebook.document_planner import plan
from lightning_langcore.data.phrasebook.grammars.base import Grammar

LANGUAGES: tuple[str, ...] = ("en", "zh", "es", "ru", "ar", "ko", "vi", "fr")

__all__ = ["LANGUAGES", "document", "lexicon", "sentences"]

_GRAMMARS: dict[str, Grammar] = {}


def _grammar(lang: str) -> Grammar:
    found = _GRAMMARS.get(lang)
    if found is None:
        if lang not in LANGUAGES:
            raise ValueError(f"no language {lang!r} in the phrasebook; known languages: {', '.join(LANGUAGES)}")
        found = _GRAMMARS[lang] = import_module(f"{__name__}.grammars.{lang}").GRAMMAR
    return found


def sentences(lang: str, index: int, seed: int = 0) -> list[str]:
    """The sentences of document ``index``, 5 to 9 of them, the same number in every language.

    Raises:
        ValueError: a language that is not one of ``LANGUAGES``, or a negative index.
    """
    grammar = _grammar(lang)
    if index < 0:
        raise ValueError(f"a document's index is 0 or more, not {index}")
    return [grammar.say(proposition) for proposition in plan(seed, index)]


def document(lang: str, index: int, seed: int = 0) -> str:
    """Document ``index``: its sentences, joined by the separator of the language.

    Raises:
        ValueError: a language that is not one of ``LANGUAGES``, or a negative index.
    """
    return _grammar(lang).joiner.join(sentences(lang, index, seed))


def lexicon(lang: str) -> dict[str, tuple[str, ...]]:
    """Part of speech -> citation form of every word, in the order of the concepts.

    Raises:
        ValueError: a language that is not one of ``LANGUAGES``.
    """
    return {kind: tuple(word[0] for word in rows.values()) for kind, rows in _grammar(lang).words.items()}
