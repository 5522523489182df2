"""Russian questions and exercises: cases, genitives after numbers, feminine forms."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook import questions as q
from lightning_langcore.data.phrasebook.grammars import ru
from lightning_langcore.data.phrasebook.grammars.base import capital
from lightning_langcore.data.phrasebook.question_grammars.base import QuestionAndAnswer, QuestionGrammar

NUMERALS = ru.NUMERALS | {
    11: "одиннадцать", 12: "двенадцать", 13: "тринадцать", 14: "четырнадцать", 15: "пятнадцать", 16: "шестнадцать",
    17: "семнадцать", 18: "восемнадцать", 19: "девятнадцать", 20: "двадцать",
}  # fmt: skip


class RussianQuestions(QuestionGrammar):
    """Russian."""

    wordings: ClassVar = {
        "scene": (
            "{scene}\n{question}",
            "Прочитайте текст и ответьте на вопрос.\n{scene}\n{question}",
            "Текст: {scene}\nВопрос: {question}",
        ),
        "translation": (
            "Переведите на {language}ий язык: {sentence}",
            "Как сказать это на {language}ом языке?\n{sentence}",
            "Скажите это предложение на {language}ом языке: {sentence}",
        ),
        "numbers": (
            "Поставьте каждое существительное после числительного в нужной форме: {question}",
            "Соедините числа и слова в правильной форме: {question}",
        ),
        "phrase": (
            "Согласуйте прилагательные с существительным: {question}",
            "Составьте словосочетание в именительном падеже: {question}",
        ),
        "form": ("Назовите форму {question}.", "Какова форма {question}?"),
    }
    languages: ClassVar = {  # the stem: на русский язык, на русском языке
        "en": "английск", "zh": "китайск", "es": "испанск", "ru": "русск", "ar": "арабск", "ko": "корейск",
        "vi": "вьетнамск", "fr": "французск",
    }  # fmt: skip

    def who(self, q: q.Who) -> QuestionAndAnswer:
        act = q.act
        question = ru.GRAMMAR.say(m.WhoDid(act.verb, act.what, act.place, act.time))
        did = ru._did(act.verb, act.who.female)
        return question, f"{capital(ru._np(act.what, ru.ACC))} {did} {ru._name(act.who)}."

    def where_did(self, q: q.WhereDid) -> QuestionAndAnswer:
        act = q.act
        did = f"{ru._name(act.who)} {ru._did(act.verb, act.who.female)} {ru._np(act.what, ru.ACC)}"
        return f"Где {did}?", f"{did} {ru._at(act.place)}."

    def where(self, q: q.Where) -> QuestionAndAnswer:
        what = q.fact.what
        return f"Где {ru._stands(what)} {ru._np(what)}?", ru.GRAMMAR.say(q.fact)

    def inside(self, q: q.Inside) -> QuestionAndAnswer:
        what = f"{ru._np(q.what)} {ru._stands(q.what)}"
        right = "Да" if q.asked == q.place else "Нет"
        return f"{capital(what)} {ru._at(q.asked)}?", f"{right}, {what} {ru._at(q.place)}."

    def colour(self, q: q.Colour) -> QuestionAndAnswer:
        thing, what = q.what.thing, ru._np(q.what)
        colour = ru.adjective(thing.colour, ru.NOUNS[thing.noun][0], ru.NOM)
        return f"Какого цвета {what}?", f"{capital(what)} {colour}."

    def belongings(self, q: q.Belongings) -> QuestionAndAnswer:
        return f"Что есть у {ru.NAMES[q.fact.who.name][1]}?", ru.GRAMMAR.say(q.fact)

    def owns(self, q: q.Owns) -> QuestionAndAnswer:
        who, noun = ru.NAMES[q.who.name][1], ru.NOUNS[q.noun]
        answer = f"Нет, у {who} нет {noun[ru.GEN]}." if q.what is None else f"Да, у {who} есть {ru._np(q.what)}."
        return f"У {who} есть {noun[ru.NOM]}?", answer

    def work(self, q: q.Work) -> QuestionAndAnswer:
        who = ru._name(q.who)
        first, second = (ru.JOBS[job][q.who.female] for job in q.jobs)
        return f"{who} — {first} или {second}?", f"{who} — {ru.JOBS[q.who.job][q.who.female]}."

    def consumes(self, q: q.Consumes) -> QuestionAndAnswer:
        who, verb = ru._name(q.who), ru.VERBS[q.verb][1]
        return f"Что {verb} {who}?", f"{who} {verb} {ru.MASS[q.what][1]}."

    def recipient(self, q: q.Recipient) -> QuestionAndAnswer:
        p = q.fact
        did = f"{ru._name(p.who)} {ru._did(p.verb, p.who.female)} {ru._np(p.what, ru.ACC)}"
        return f"Кому {did}?", f"{did} {ru.NAMES[p.recipient.name][2]}."

    def total(self, q: q.Total) -> QuestionAndAnswer:
        who, did = ru._name(q.who), ru._did("buy", q.who.female)
        return f"Сколько всего предметов {did} {who}?", f"Всего {who} {did} {NUMERALS[q.number]} предметов."

    def together(self, q: q.Together) -> QuestionAndAnswer:
        who = f"{ru._name(q.who)} и {ru._name(q.other)}"
        question = f"Сколько всего {ru.COUNTED[q.noun][2]} купили {who}?"
        return question, f"Всего {who} купили {self.counted(q.number, q.noun)}."

    def numeral(self, number: int) -> str:
        return NUMERALS[number]

    def noun(self, noun: str) -> str:
        return ru.COUNTED[noun][0]

    def counted(self, number: int, noun: str) -> str:
        return f"{NUMERALS[number]} {ru.COUNTED[noun][1 if number < 5 else 2]}"

    def phrase(self, q: q.Phrase) -> QuestionAndAnswer:
        words = (ru.ADJECTIVES[q.thing.colour][0], ru.ADJECTIVES[q.thing.quality][0])
        return " + ".join([ru.NOUNS[q.thing.noun][ru.NOM], *words]), ru._np(m.NP(q.thing, definite=False))

    def form(self, q: q.Form) -> QuestionAndAnswer:
        if q.topic == "verb":
            word, form = ru.VERBS[q.verb][2:4]
            asked = f"женского рода глагола «{word}»"
        elif q.topic == "adjective":
            word, form = ru.ADJECTIVES[q.adjective][0], ru.adjective(q.adjective, "f", ru.NOM)
            asked = f"женского рода прилагательного «{word}»"
        else:
            word, form = ru.NOUNS[q.noun][ru.NOM], ru.NOUNS[q.noun][ru.GEN]
            asked = f"родительного падежа существительного «{word}»"
        return asked, f"Форма {asked} — «{form}»."


QUESTION_GRAMMAR = RussianQuestions()
