"""Instructions and answers: their truth is read off the English text again."""

import hashlib
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from itertools import islice

import pytest

from lightning_langcore.data.phrasebook import LANGUAGES, concepts, document_planner
from lightning_langcore.data.phrasebook import _grammar as grammar
from lightning_langcore.data.phrasebook import questions as q
from lightning_langcore.data.phrasebook.dialogue_planner import KINDS, plan
from lightning_langcore.data.phrasebook.dialogues import conversation
from lightning_langcore.data.sources import phrasebook
from lightning_langcore.data.sources.base import Conversation
from lightning_langcore.data.sources.phrasebook import PhrasebookConversations
from tests.support.phrasebook import READ, SEED, asking, talks

pytestmark = pytest.mark.slow  # thousands of texts are read in each language

# --- the API ----------------------------------------------------------------------------------------------------------


def test_a_conversation_is_a_question_and_an_answer():
    for lang in LANGUAGES:
        assert [message["role"] for message in conversation(lang, 3)] == ["user", "assistant"]
        assert all(message["content"].strip() == message["content"] != "" for message in conversation(lang, 3))


def test_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"'tlh'.*known languages"):
        conversation("tlh", 0)
    with pytest.raises(ValueError, match="-1"):
        conversation("en", -1)


def test_a_conversation_depends_on_seed_and_index_alone():
    """In this process and in another, under another PYTHONHASHSEED; the parent packages are stubbed."""
    assert conversation("en", 7) == conversation("en", 7, seed=0) != conversation("en", 7, seed=1)
    script = (
        "import hashlib, sys, types\n"
        "for name in ('lightning_langcore', 'lightning_langcore.data'):\n"
        "    module = types.ModuleType(name)\n"
        "    module.__path__ = [sys.argv[1] + '/' + name.replace('.', '/')]\n"
        "    sys.modules[name] = module\n"
        "from lightning_langcore.data.phrasebook.dialogues import conversation\n"
        "text = str([conversation('ru', i, seed=5) for i in reversed(range(200))][::-1])\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    root = document_planner.__file__.split("/lightning_langcore/")[0]
    environment = {"PYTHONHASHSEED": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", script, root]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    here = str([conversation("ru", i, seed=5) for i in range(200)])
    assert result.stdout.strip() == hashlib.sha256(here.encode()).hexdigest()


def test_conversations_source():
    source = PhrasebookConversations(seed=2)
    assert source.endless
    assert source.languages == list(LANGUAGES)
    first = list(islice(source.conversations("fr"), 3))
    assert first == [
        Conversation("\n".join(m["content"] for m in conversation("en", i, 2)), conversation("fr", i, 2))
        for i in range(3)
    ]
    assert source.digest() == PhrasebookConversations(seed=2).digest() != PhrasebookConversations(seed=3).digest()


FILES = ("propositions.py", "grammars/en.py", "question_grammars/en.py", "dialogues.py")


def test_talks_and_documents_have_digests_of_their_own(tmp_path, monkeypatch):
    """A change of the questions must not throw away what was trained on the documents."""
    monkeypatch.setattr(phrasebook.resources, "files", lambda _: tmp_path)
    for file in FILES:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(f'"""{file}."""\n1 + len("{file}")\n')
    documents, conversations = phrasebook.PhrasebookSource(), PhrasebookConversations()
    digests = [(documents.digest(), conversations.digest())]
    for path in ("question_grammars/en.py", "dialogues.py", "grammars/en.py"):
        (tmp_path / path).write_text("2 + 2")
        digests.append((documents.digest(), conversations.digest()))
    assert len({talk for _, talk in digests}) == 4
    assert [text == digests[0][0] for text, _ in digests] == [True, True, True, False]


def test_the_digest_is_of_the_statements_whatever_the_files_are_called(tmp_path, monkeypatch):
    """Cached base models are found by it: moving or describing a file must not throw them away."""
    monkeypatch.setattr(phrasebook.resources, "files", lambda _: tmp_path)
    (tmp_path / "grammars").mkdir()
    file = tmp_path / "grammars" / "en.py"
    file.write_text('"""English."""\n\nfrom a import b\n\nWORD = "a # b"\n')
    before = phrasebook.PhrasebookSource().digest()
    moved = file.rename(tmp_path / "english.py")
    moved.write_text('"""The English grammar."""\n\nimport c\nfrom d import (\n    b,\n)\n# the word\nWORD = "a # b"\n')
    assert phrasebook.PhrasebookSource().digest() == before
    moved.write_text('WORD = "a # c"\n')
    assert phrasebook.PhrasebookSource().digest() != before


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_kinds_are_of_equal_shares_and_every_question_is_asked():
    asked = [plan(SEED, i) for i in range(READ)]
    shares = Counter(talk.kind for talk in asked)
    assert set(shares) == set(KINDS)
    assert all(0.2 < number / READ < 0.3 for number in shares.values())
    assert {type(talk.question) for talk in asked} == {*q.METHODS, q.Translation}


def test_talks_are_short_and_seldom_repeat():
    lengths = sorted(len(user) + len(answer) for user, answer in talks("en"))
    assert lengths[0] >= 40
    assert lengths[int(0.9 * READ)] < 350
    for lang in LANGUAGES:
        assert len(set(talks(lang))) > 0.95 * READ


def test_scenes_have_two_to_five_sentences_and_are_not_those_of_the_documents():
    for i in range(300):
        talk = plan(0, i)
        if talk.kind == "scene":
            assert 2 <= len(talk.scene) <= 5
            assert not set(talk.scene) <= set(document_planner.plan(0, i))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_wording_is_used(lang):
    text = "\n".join(user for user, _ in talks(lang))
    for kind, wordings in asking(lang).wordings.items():
        assert len(wordings) == (3 if kind in ("scene", "translation") else 2)
        for wording in wordings:
            pattern = re.sub(r"\\\{\w+\\\}", ".+", re.escape(wording))
            assert re.search(pattern, text), f"{lang}: {wording}"


# --- truth: the English text read again, by patterns written here -----------------------------------------------------

PAST = {"buy": "bought", "find": "found", "give": "gave", "show": "showed", "bring": "brought", "lend": "lent"}
COLOURS = "red|blue|green|yellow|white|black|grey|brown"
NUMBERS = {
    "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18,
    "nineteen": 19, "twenty": 20,
}  # fmt: skip


def one(pattern: str, text: str) -> re.Match:
    """The one way to read a pattern in a text."""
    hits = list(re.finditer(pattern, text))
    assert len({hit.groups() for hit in hits}) == 1, f"{pattern} in {text}"
    return hits[0]


def who(scene: str, verb: str, thing: str, where: str) -> str:
    name = one(rf"(\w+) {verb} an? (?:\w+ )?{thing} {where}", scene)[1]
    return f"{name} {verb} the {thing}."


def where_did(scene: str, name: str, verb: str, thing: str) -> str:
    place = one(rf"{name} {PAST[verb]} an? (?:\w+ )?{thing} ([^.]+)\.", scene)[1]
    return f"{name} {PAST[verb]} the {thing} {place}."


def position(scene: str, thing: str) -> str:
    assert not re.search(rf"(?:gave|showed|brought|lent|sold|lost|While)[^.]* {thing}\b", scene), scene
    hits = re.findall(rf"(?:There is an? (?:\w+ )?{thing}|The (?:\w+ )?{thing}(?: that [^.]+)? is)"
                      r" ((?:on|under|next to|in|behind) [^.]+)\.", scene)  # fmt: skip
    return re.sub(r"^(\w+(?: to)?) an? ", r"\1 the ", max(hits, key=len))


def where(scene: str, thing: str) -> str:
    return f"The {thing} is {position(scene, thing)}."


def inside(scene: str, thing: str, place: str) -> str:
    room = re.search(r"in the (?:kitchen|bedroom|living room|office|library)$", position(scene, thing))[0]
    return f"{'Yes' if room == place else 'No'}, the {thing} is {room}."


def colour(scene: str, noun: str) -> str:
    found = one(rf"({COLOURS}) {noun}\b", scene)[1]
    return f"The {noun} is {found}."


def belongings(scene: str, name: str) -> str:
    assert not re.search(rf"{name} (?:bought|gave|lent)|to {name}\b", scene), scene
    return one(rf"({name} has [^.]+\.)", scene)[1]


def owns(scene: str, name: str, noun: str) -> str:
    if re.search(rf"{name} does not have an? {noun},", scene):
        return f"No, {name} does not have {'an' if noun[0] in 'aeiou' else 'a'} {noun}."
    thing = one(rf"{name} has (?:.+? and )?(an? (?:\w+ ){{2}}{noun})\b", scene)[1]
    assert not re.search(rf"(?:gave|lent|sold|lost)[^.]* {noun}\b", scene), scene
    return f"Yes, {name} has {thing}."


def work(scene: str, name: str, first: str, second: str) -> str:
    job = one(rf"{name} is (an? \w+) and (?:goes|comes)", scene)[1]
    assert job in (first, second)
    return f"{name} is {job}."


def consumes(scene: str, name: str, verb: str) -> str:
    what = one(rf"{name} [^.]*{verb}s (\w+)", scene)[1]
    return f"{name} {verb}s {what}."


def recipient(scene: str, name: str, verb: str, thing: str) -> str:
    other = one(rf"{name} {PAST[verb]} the (?:\w+ )?{thing} to (\w+)", scene)[1]
    return f"{name} {PAST[verb]} the {thing} to {other}."


def total(scene: str, name: str) -> str:
    first, second = one(rf"{name} bought (\w+) \w+ and (\w+)", scene).groups()
    words = {number: word for word, number in NUMBERS.items()}
    return f"{name} bought {words[NUMBERS[first] + NUMBERS[second]]} things in all."


def together(scene: str, nouns: str, name: str, other: str) -> str:
    numbers = re.findall(rf"(\w+) {nouns}\b", scene)
    assert len(numbers) == 2
    assert all(re.search(rf"{x} bought [^.]*\b{nouns}\b", scene) for x in (name, other))
    words = {number: word for word, number in NUMBERS.items()}
    return f"{name} and {other} bought {words[sum(NUMBERS[n] for n in numbers)]} {nouns} in all."


READERS = (
    (r"Who (bought|found) the (\w+ [\w ]+?) ((?:in|at|on) the (?:living room|\w+)) [^?]+\?$", who),
    (r"Where did (\w+) (buy|find) the ([^?]+)\?$", where_did),
    (r"Where is the ([^?]+)\?$", where),
    (r"Is the (\w+ [\w ]+?) ((?:in|at) the [^?]+)\?$", inside),
    (r"What colour is the ([^?]+)\?$", colour),
    (r"What does (\w+) have\?$", belongings),
    (r"Does (\w+) have an? ([^?]+)\?$", owns),
    (r"Is (\w+) (an? \w+) or (an? \w+)\?$", work),
    (r"What does (\w+) (drink|eat)\?$", consumes),
    (r"Who did (\w+) (\w+) the ([^?]+) to\?$", recipient),
    (r"How many things did (\w+) buy in all\?$", total),
    (r"How many (\w+) did (\w+) and (\w+) buy in all\?$", together),
)


def test_english_answers_follow_from_the_english_scene():
    read = Counter()
    for i, (user, answer) in enumerate(talks("en")):
        if not plan(SEED, i).scene:
            continue
        hits = [(hit, reader) for pattern, reader in READERS if (hit := re.search(pattern, user))]
        assert len(hits) == 1, user
        hit, reader = hits[0]
        scene = user[: hit.start()].removeprefix("Read the text and answer the question.\n").removeprefix("Text: ")
        assert reader(scene.removesuffix("Question: "), *hit.groups()) == answer, user
        read[reader.__name__] += 1
    assert len(read) == len(READERS)
    assert min(read.values()) >= 3


def said(lang: str, kind: str, text: str) -> set[str]:
    """Concepts of a kind of which a form is in the text, and no longer form around it."""
    found = {(form, concept) for concept, forms in grammar(lang).words[kind].items() for form in forms if form in text}
    return {concept for form, concept in found if not any(form != other and form in other for other, _ in found)}


@pytest.mark.parametrize("lang", [lang for lang in LANGUAGES if lang != "en"])
def test_other_languages_answer_as_english_does(lang):
    """The same persons and colours are named, and the same places."""
    for i, (user, answer) in enumerate(talks(lang)):
        if plan(SEED, i).kind not in ("scene", "counting"):
            continue
        english = talks("en")[i][1]
        assert said(lang, "name", answer) == said("en", "name", english), user
        if isinstance(plan(SEED, i).question, q.Inside):
            assert said(lang, "place", answer) == said("en", "place", english), user
        if isinstance(plan(SEED, i).question, q.Colour):
            colours = [
                said(which, "adjective", text) & set(concepts.COLOURS)
                for which, text in ((lang, answer), ("en", english))
            ]
            assert colours[0] == colours[1] != set(), user


LANGUAGE_NAMES = {  # how each language calls the eight in a request, written by hand
    "en": "English Chinese Spanish Russian Arabic Korean Vietnamese French",
    "zh": "英语 汉语 西班牙语 俄语 阿拉伯语 韩语 越南语 法语",
    "es": "inglés chino español ruso árabe coreano vietnamita francés",
    "ru": "английск китайск испанск русск арабск корейск вьетнамск французск",
    "ar": "الإنجليزية الصينية الإسبانية الروسية العربية الكورية الفيتنامية الفرنسية",
    "ko": "영어 중국어 스페인어 러시아어 아랍어 한국어 베트남어 프랑스어",
    "vi": "Anh Trung Tây_Ban_Nha Nga Ả_Rập Hàn Việt Pháp",
    "fr": "anglais chinois espagnol russe arabe coréen vietnamien français",
}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_translation_is_the_other_grammar_s_sentence(lang):
    names = dict(zip(LANGUAGES, LANGUAGE_NAMES[lang].replace("_", "\0").split(), strict=True))
    sentences = {other: {} for other in LANGUAGES}
    targets = set()
    for i, (user, answer) in enumerate(talks(lang)):
        question = plan(SEED, i).question
        if not isinstance(question, q.Translation):
            continue
        saying = {other: grammar(other).say(question.sentence) for other in LANGUAGES}
        assert user.endswith(saying[lang])
        target = next(other for other in LANGUAGES if saying[other] == answer)
        assert target != lang
        assert names[target].replace("\0", " ") in user.removesuffix(saying[lang])
        assert sentences[target].setdefault(saying[lang], answer) == answer, "one sentence, two translations"
        targets.add(target)
    assert targets == set(LANGUAGES) - {lang}


# --- the language -----------------------------------------------------------------------------------------------------

SCRIPTS = {"zh": "CJK", "ru": "CYRILLIC", "ar": "ARABIC", "ko": "HANGUL"}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_text_is_clean_and_of_one_script(lang):
    script = SCRIPTS.get(lang, "LATIN")
    for i, texts in enumerate(talks(lang)):
        for text in texts:
            assert unicodedata.is_normalized("NFC", text)
            assert not re.search(r"  |[{}_\[\]|]|None|\d| [.,。，\n]|\n\n", text), text
            if plan(SEED, i).kind != "translation":
                assert text.count("¿") == (text.count("?") if lang == "es" else 0), text
                assert not {c for c in text if c.isalpha() and script not in unicodedata.name(c)}, text
                assert sum(map(text.count, "“«‘")) == sum(map(text.count, "”»’"))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_questions_and_answers_end_as_they_should(lang):
    end, mark = {"zh": ("。", "？"), "ar": (".", "؟")}.get(lang, (".", "?"))
    for i, (user, answer) in enumerate(talks(lang)):
        if plan(SEED, i).kind in ("scene", "counting"):
            assert user.endswith(mark), user
            assert answer.endswith(end), answer
            assert answer[0] == answer[0].upper()
