"""The embedded parallel corpus: API, determinism, novelty."""

import hashlib
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache

import pytest

from lightning_langcore.data.phrasebook import LANGUAGES, document, document_planner, lexicon, sentences
from lightning_langcore.data.phrasebook import _grammar as grammar
from lightning_langcore.data.phrasebook import concepts as known_concepts
from lightning_langcore.data.phrasebook import propositions as m

pytestmark = pytest.mark.slow  # thousands of texts are read in each language

READ = 1200  # documents read by the grammar checks


@cache
def texts(lang: str) -> list[str]:
    return [document(lang, i, seed=5) for i in range(READ)]


# --- the API -------------------------------------------------------------------------------------------------------


def test_document_joins_sentences():
    for lang in LANGUAGES:
        assert document(lang, 3) == ("" if lang == "zh" else " ").join(sentences(lang, 3))


def test_unknown_language_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'tlh'.*en, zh, es, ru, ar, ko, vi, fr"):
        document("tlh", 0)
    with pytest.raises(ValueError, match="known languages"):
        lexicon("tlh")


def test_negative_index_is_refused():
    with pytest.raises(ValueError, match="-1"):
        sentences("en", -1)


def test_document_depends_on_seed_and_index_alone():
    assert document("en", 7) == document("en", 7, seed=0)
    first = [document("ru", i) for i in range(50)]
    assert len(set(first)) == 50
    assert not set(first) & {document("ru", i, seed=1) for i in range(50)}
    assert [document("ru", i) for i in reversed(range(50))] == first[::-1]


def test_same_text_in_another_process():
    """Under another PYTHONHASHSEED; the parent packages are stubbed, to leave out their imports."""
    script = (
        "import hashlib, sys, types\n"
        "for name in ('lightning_langcore', 'lightning_langcore.data'):\n"
        "    module = types.ModuleType(name)\n"
        "    module.__path__ = [sys.argv[1] + '/' + name.replace('.', '/')]\n"
        "    sys.modules[name] = module\n"
        "from lightning_langcore.data.phrasebook import LANGUAGES, document\n"
        "text = '\\n'.join(document(lang, i, seed=3) for lang in LANGUAGES for i in range(100))\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    text = "\n".join(document(lang, i, seed=3) for lang in LANGUAGES for i in range(100))
    root = document_planner.__file__.split("/lightning_langcore/")[0]
    for hash_seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-c", script, root],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONUTF8": "1"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert result.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()


def test_as_many_sentences_in_every_language():
    for i in range(300):
        numbers = {len(sentences(lang, i)) for lang in LANGUAGES}
        assert len(numbers) == 1
        assert 5 <= numbers.pop() <= 9


@pytest.mark.parametrize("lang", LANGUAGES)
def test_lexicon_is_large_enough(lang):
    words = lexicon(lang)
    least = {"noun": 44, "verb": 22, "adjective": 16, "place": 10, "time": 10, "numeral": 8, "name": 10}
    for kind, number in least.items():
        assert len(set(words[kind])) >= number, kind


# --- not a toy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_held_out_sentences_are_new(lang):
    known = {s for i in range(3000) for s in sentences(lang, i)}
    held_out = [s for i in range(3000, 3300) for s in sentences(lang, i)]
    assert sum(s in known for s in held_out) < 0.03 * len(held_out)


def test_documents_are_of_a_useful_length():
    means = {lang: sum(map(len, texts(lang))) / READ for lang in ("en", "zh")}
    assert 300 < means["en"] < 450
    assert 100 < means["zh"] < 160


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_word_is_used(lang):
    text = "\n".join(document(lang, i) for i in range(3000))
    for kind, rows in grammar(lang).words.items():
        for concept, forms in rows.items():
            assert any(form in text for form in forms), f"{lang}: no form of {kind} {concept} in 3000 documents"


def concepts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif is_dataclass(value):
        for field in fields(value):
            yield from concepts(getattr(value, field.name))


def test_every_concept_and_proposition_is_planned():
    said = [p for i in range(3000) for p in document_planner.plan(0, i)]
    used = {c for p in said for c in concepts(p)}
    k = known_concepts
    known = {*k.PORTABLE, *k.VEHICLES, *k.ANIMALS, *k.FURNITURE, *k.PRODUCE, *k.FOODS, *k.DRINKS, *k.JOBS, *k.COLOURS,
             *k.QUALITIES, *k.STATES, *k.TRANSITIVE, *k.TRANSFERS, *k.MOTIONS, *k.RESTS, *k.PLACES, *k.TIMES,
             *map(str, k.NUMERALS), *k.WOMEN, *k.MEN}  # fmt: skip
    assert not known - used
    assert {type(p) for p in said} == set(m.METHODS)


def test_questions_are_answered_and_things_stay_as_they_are():
    answers = {
        m.WhichPlace: m.Located,
        m.WhoDid: m.NotBut,
        m.HowMany: m.Counts,
        m.WantQuestion: (m.WantYes, m.WantNo),
    }
    for i in range(1000):
        plan = document_planner.plan(0, i)
        for question, answer in zip(plan, (*plan[1:], None), strict=True):
            if type(question) in answers:
                assert isinstance(answer, answers[type(question)])
            if isinstance(question, m.WhichPlace):
                assert answer.what.thing == question.what.thing
                assert answer.spot.place in (question.here, question.there)
            if isinstance(question, m.HowMany):
                assert (answer.who, answer.noun, answer.place) == (question.who, question.noun, question.place)
        things = {np.thing for p in plan for np in mentions(p)}
        assert len({thing.noun for thing in things}) == len(things), "one noun, two things"
        known: set[m.Thing] = set()
        for p in plan:
            for np in mentions(p):
                assert np.definite == (np.thing in known), f"document {i}: {p}"
                known.add(np.thing)


def mentions(value: object) -> Iterator[m.NP]:
    if isinstance(value, m.NP):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from mentions(getattr(value, field.name))


# --- every language ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_text_is_clean(lang):
    ends = {"zh": "。？", "ar": ".؟"}.get(lang, ".?")
    for text in texts(lang):
        assert unicodedata.is_normalized("NFC", text)
        assert not re.search(r"\s\s|[{}_\[\]|]|None|\d|\s[.,。，]", text), text
    for i in range(300):
        for p, sentence in zip(document_planner.plan(0, i), sentences(lang, i), strict=True):
            asked = isinstance(p, m.WhichPlace | m.WhoDid | m.HowMany | m.WantQuestion)
            assert sentence[-1] == ends[asked], sentence
            assert sum(sentence.count(mark) for mark in ends) == 1, sentence
            assert sentence[0] == sentence[0].upper()
