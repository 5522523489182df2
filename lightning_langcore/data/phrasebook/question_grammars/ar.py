"""Arabic questions and exercises: numbers against the gender of what is counted, broken plurals, feminines."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import concepts
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook import questions as q
from lightning_langcore.data.phrasebook.grammars import ar
from lightning_langcore.data.phrasebook.question_grammars.base import QuestionAndAnswer, QuestionGrammar

# Counting masculine and feminine nouns, in the accusative of what somebody bought; the noun is then singular.
TEENS = {
    11: ("أحد عشر", "إحدى عشرة"), 12: ("اثني عشر", "اثنتي عشرة"), 13: ("ثلاثة عشر", "ثلاث عشرة"),
    14: ("أربعة عشر", "أربع عشرة"), 15: ("خمسة عشر", "خمس عشرة"), 16: ("ستة عشر", "ست عشرة"),
    17: ("سبعة عشر", "سبع عشرة"), 18: ("ثمانية عشر", "ثماني عشرة"), 19: ("تسعة عشر", "تسع عشرة"),
    20: ("عشرين", "عشرين"),
}  # fmt: skip


class ArabicQuestions(QuestionGrammar):
    """Modern Standard Arabic, without vowel marks."""

    wordings: ClassVar = {
        "scene": (
            "{scene}\n{question}",
            "اقرأ النص ثم أجب عن السؤال.\n{scene}\n{question}",
            "النص: {scene}\nالسؤال: {question}",
        ),
        "translation": (
            "ترجم هذه الجملة إلى اللغة {language}: {sentence}",
            "كيف نقول هذه الجملة باللغة {language}؟\n{sentence}",
            "اكتب هذه الجملة باللغة {language}: {sentence}",
        ),
        "numbers": (
            "اكتب كل عدد مع الاسم بالصيغة الصحيحة: {question}",
            "ضع كل اسم بعد العدد مع تغيير ما يلزم: {question}",
        ),
        "phrase": (
            "اكتب الصفتين بعد الاسم بالصيغة الصحيحة: {question}",
            "اكتب عبارة صحيحة من هذه الكلمات: {question}",
        ),
        "form": ("ما هي {question}؟", "اذكر {question}."),
    }
    languages: ClassVar = {
        "en": "الإنجليزية", "zh": "الصينية", "es": "الإسبانية", "ru": "الروسية", "ar": "العربية", "ko": "الكورية",
        "vi": "الفيتنامية", "fr": "الفرنسية",
    }  # fmt: skip
    comma: ClassVar[str] = "، "

    def who(self, q: q.Who) -> QuestionAndAnswer:
        act = q.act
        question = ar.GRAMMAR.say(m.WhoDid(act.verb, act.what, act.place, act.time))
        return question, f"{ar._past(act.verb, act.who)} {ar._name(act.who)} {ar._np(act.what)}."

    def where_did(self, q: q.WhereDid) -> QuestionAndAnswer:
        act = q.act
        did = f"{ar._past(act.verb, act.who)} {ar._name(act.who)} {ar._np(act.what)}"
        return f"أين {did}؟", f"{did} {ar._at(act.place)}."

    def where(self, q: q.Where) -> QuestionAndAnswer:
        return f"أين {ar._np(q.fact.what)}؟", ar.GRAMMAR.say(q.fact)

    def inside(self, q: q.Inside) -> QuestionAndAnswer:
        what = ar._np(q.what)
        right = "نعم" if q.asked == q.place else "لا"
        return f"هل {what} {ar._at(q.asked)}؟", f"{right}، {what} {ar._at(q.place)}."

    def colour(self, q: q.Colour) -> QuestionAndAnswer:
        what = ar._np(q.what)
        return f"ما لون {what}؟", f"{what} {ar._adjective(q.what.thing.colour, q.what.thing.noun)}."

    def belongings(self, q: q.Belongings) -> QuestionAndAnswer:
        return f"ماذا لدى {ar._name(q.fact.who)}؟", ar.GRAMMAR.say(q.fact)

    def owns(self, q: q.Owns) -> QuestionAndAnswer:
        who, noun = ar._name(q.who), ar.NOUNS[q.noun][0]
        answer = f"لا، ليس لدى {who} {noun}." if q.what is None else f"نعم، لدى {who} {ar._np(q.what)}."
        return f"هل لدى {who} {noun}؟", answer

    def work(self, q: q.Work) -> QuestionAndAnswer:
        who = ar._name(q.who)
        first, second = (ar.JOBS[job][q.who.female] for job in q.jobs)
        return f"هل {who} {first} أم {second}؟", f"{who} {ar.JOBS[q.who.job][q.who.female]}."

    def consumes(self, q: q.Consumes) -> QuestionAndAnswer:
        act = f"{ar._present(q.verb, q.who.female)} {ar._name(q.who)}"
        return f"ماذا {act}؟", f"{act} ال{ar.MASS[q.what]}."

    def recipient(self, q: q.Recipient) -> QuestionAndAnswer:
        p = q.fact
        to = "على " if p.verb == "show" else "ل"
        did = f"{ar._past(p.verb, p.who)} {ar._name(p.who)} {ar._np(p.what)}"
        return f"{to}من {did}؟", f"{did} {to}{ar._name(p.recipient)}."

    def total(self, q: q.Total) -> QuestionAndAnswer:
        act = f"{ar._past('buy', q.who)} {ar._name(q.who)}"
        things = f"{ar.NUMERALS[q.number][0]} أشياء" if q.number <= 10 else f"{TEENS[q.number][0]} شيئا"
        return f"كم شيئا {act} في المجموع؟", f"{act} {things} في المجموع."

    def together(self, q: q.Together) -> QuestionAndAnswer:
        act = f"{ar._past('buy', q.who)} {ar._name(q.who)} و{ar._name(q.other)}"
        question = f"كم {ar._tanwin(q.noun)} {act} في المجموع؟"
        return question, f"{act} {self.counted(q.number, q.noun)} في المجموع."

    def numeral(self, number: int) -> str:
        return ar.NUMERALS[number][0]

    def noun(self, noun: str) -> str:
        return ar.NOUNS[noun][0]

    def counted(self, number: int, noun: str) -> str:
        if number <= 10:
            return ar._counted(number, noun)
        return f"{TEENS[number][ar._female(noun)]} {ar._tanwin(noun)}"

    def phrase(self, q: q.Phrase) -> QuestionAndAnswer:
        thing = q.thing
        old_animal = thing.quality == "old" and thing.noun in concepts.ANIMALS
        quality = ar.OLD_ANIMAL if old_animal else ar.ADJECTIVES[thing.quality][0]
        words = (ar.NOUNS[thing.noun][0], ar.ADJECTIVES[thing.colour][0], quality)
        return " + ".join(words), ar._np(m.NP(thing, definite=False))

    def form(self, q: q.Form) -> QuestionAndAnswer:
        if q.topic == "verb":
            word, form = ar.VERBS[q.verb][:2]
            asked = f"صيغة المؤنث للفعل «{word}»"
        elif q.topic == "adjective":
            word, form = ar.ADJECTIVES[q.adjective][:2]
            asked = f"صيغة المؤنث للصفة «{word}»"
        elif q.topic == "job":
            word, form = ar.JOBS[q.job]
            asked = f"صيغة المؤنث للاسم «{word}»"
        else:
            word, form = ar.NOUNS[q.counted][0], ar.NOUNS[q.counted][2]
            asked = f"صيغة الجمع للاسم «{word}»"
        return asked, f"{asked} هي «{form}»."


QUESTION_GRAMMAR = ArabicQuestions()
