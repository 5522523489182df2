"""Spanish questions and exercises: inverted marks, plurals, feminines and the preterite."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook import questions as q
from lightning_langcore.data.phrasebook.grammars import es
from lightning_langcore.data.phrasebook.grammars.base import capital
from lightning_langcore.data.phrasebook.question_grammars.base import QuestionAndAnswer, QuestionGrammar

NUMERALS = es.NUMERALS | {
    11: "once", 12: "doce", 13: "trece", 14: "catorce", 15: "quince", 16: "dieciséis", 17: "diecisiete",
    18: "dieciocho", 19: "diecinueve", 20: "veinte",
}  # fmt: skip


class SpanishQuestions(QuestionGrammar):
    """Spanish, as in Spain."""

    wordings: ClassVar = {
        "scene": (
            "{scene}\n{question}",
            "Lee el texto y responde a la pregunta.\n{scene}\n{question}",
            "Texto: {scene}\nPregunta: {question}",
        ),
        "translation": (
            "Traduce al {language}: {sentence}",
            "¿Cómo se dice esto en {language}?\n{sentence}",
            "Di esta frase en {language}: {sentence}",
        ),
        "numbers": (
            "Pon cada nombre después de su número, en la forma correcta: {question}",
            "Escribe los números con el plural correcto: {question}",
        ),
        "phrase": (
            "Forma una sola expresión que empiece con «un» o «una»: {question}",
            "Ordena y concuerda estas palabras, con el artículo «un» o «una»: {question}",
        ),
        "form": ("¿Cuál es {question}?", "Escribe {question}."),
    }
    languages: ClassVar = {
        "en": "inglés", "zh": "chino", "es": "español", "ru": "ruso", "ar": "árabe", "ko": "coreano",
        "vi": "vietnamita", "fr": "francés",
    }  # fmt: skip

    def who(self, q: q.Who) -> QuestionAndAnswer:
        act = q.act
        question = es.GRAMMAR.say(m.WhoDid(act.verb, act.what, act.place, act.time))
        what, it = es._object(act.verb, act.what), es._pronoun(act.what.thing.noun)
        return question, f"{capital(what)} {it} {es.VERBS[act.verb][2]} {es._name(act.who)}."

    def where_did(self, q: q.WhereDid) -> QuestionAndAnswer:
        who, verb, what = es._name(q.act.who), es.VERBS[q.act.verb][2], es._object(q.act.verb, q.act.what)
        return f"¿Dónde {verb} {who} {what}?", f"{who} {verb} {what} {es._at(q.act.place)}."

    def where(self, q: q.Where) -> QuestionAndAnswer:
        return f"¿Dónde está {es._np(q.fact.what)}?", es.GRAMMAR.say(q.fact)

    def inside(self, q: q.Inside) -> QuestionAndAnswer:
        what = es._np(q.what)
        right = "Sí" if q.asked == q.place else "No"
        return f"¿Está {what} {es._at(q.asked)}?", f"{right}, {what} está {es._at(q.place)}."

    def colour(self, q: q.Colour) -> QuestionAndAnswer:
        thing, what = q.what.thing, es._np(q.what)
        colour = es.ADJECTIVES[thing.colour][es._gender(thing.noun)]
        return f"¿De qué color es {what}?", f"{capital(what)} es {colour}."

    def belongings(self, q: q.Belongings) -> QuestionAndAnswer:
        return f"¿Qué tiene {es._name(q.fact.who)}?", es.GRAMMAR.say(q.fact)

    def owns(self, q: q.Owns) -> QuestionAndAnswer:
        who, noun, gender = es._name(q.who), es.NOUNS[q.noun][0], es._gender(q.noun)
        question = f"¿Tiene {who} {('un', 'una')[gender]} {noun}?"
        if q.what is not None:
            return question, f"Sí, {who} tiene {es._np(q.what)}."
        none = noun if q.noun in es.KEPT else f"{('ningún', 'ninguna')[gender]} {noun}"
        return question, f"No, {who} no tiene {none}."

    def work(self, q: q.Work) -> QuestionAndAnswer:
        who = es._name(q.who)
        first, second = (es.JOBS[job][q.who.female] for job in q.jobs)
        return f"¿{who} es {first} o {second}?", f"{who} es {es.JOBS[q.who.job][q.who.female]}."

    def consumes(self, q: q.Consumes) -> QuestionAndAnswer:
        who, verb = es._name(q.who), es.VERBS[q.verb][1]
        return f"¿Qué {verb} {who}?", f"{who} {verb} {es.MASS[q.what]}."

    def recipient(self, q: q.Recipient) -> QuestionAndAnswer:
        p = q.fact
        who, verb, what = es._name(p.who), es.VERBS[p.verb][2], es._np(p.what)
        return f"¿A quién le {verb} {who} {what}?", f"{who} le {verb} {what} a {es._name(p.recipient)}."

    def total(self, q: q.Total) -> QuestionAndAnswer:
        who = es._name(q.who)
        return f"¿Cuántas cosas compró {who} en total?", f"{who} compró {NUMERALS[q.number]} cosas en total."

    def together(self, q: q.Together) -> QuestionAndAnswer:
        who = f"{es._name(q.who)} {es._and(es._name(q.other))}"
        many = ("Cuántos", "Cuántas")[es._gender(q.noun)]
        question = f"¿{many} {es.NOUNS[q.noun][2]} compraron en total {who}?"
        return question, f"{who} compraron {self.counted(q.number, q.noun)} en total."

    def numeral(self, number: int) -> str:
        return NUMERALS[number]

    def noun(self, noun: str) -> str:
        return es.NOUNS[noun][0]

    def counted(self, number: int, noun: str) -> str:
        return f"{NUMERALS[number]} {es.NOUNS[noun][2]}"

    def phrase(self, q: q.Phrase) -> QuestionAndAnswer:
        words = (es.ADJECTIVES[q.thing.colour][0], es.ADJECTIVES[q.thing.quality][0])
        return " + ".join([es.NOUNS[q.thing.noun][0], *words]), es._np(m.NP(q.thing, definite=False))

    def form(self, q: q.Form) -> QuestionAndAnswer:
        adjective, job = es.ADJECTIVES[q.adjective][:2], es.JOBS[q.job]
        if q.topic == "verb":
            word, _, form = es.VERBS[q.verb]
            asked = f"la tercera persona del pretérito de «{word}»"
        elif q.topic == "adjective" and adjective[0] != adjective[1]:
            word, form = adjective
            asked = f"el femenino de «{word}»"
        elif q.topic == "job" and job[0] != job[1]:
            word, form = job
            asked = f"el femenino de «{word}»"
        else:
            word, _, form = es.NOUNS[q.counted]
            asked = f"el plural de «{word}»"
        return asked, f"{capital(asked)} es «{form}»."


QUESTION_GRAMMAR = SpanishQuestions()
