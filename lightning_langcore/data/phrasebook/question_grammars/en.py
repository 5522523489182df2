"""English questions and exercises: do-support, prepositions left at the end, irregular plurals and pasts."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import concepts
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook import questions as q
from lightning_langcore.data.phrasebook.grammars import en
from lightning_langcore.data.phrasebook.grammars.base import capital
from lightning_langcore.data.phrasebook.question_grammars.base import QuestionAndAnswer, QuestionGrammar

NUMERALS = en.NUMERALS | {
    11: "eleven", 12: "twelve", 13: "thirteen", 14: "fourteen", 15: "fifteen", 16: "sixteen", 17: "seventeen",
    18: "eighteen", 19: "nineteen", 20: "twenty",
}  # fmt: skip


class EnglishQuestions(QuestionGrammar):
    """English."""

    wordings: ClassVar = {
        "scene": (
            "{scene}\n{question}",
            "Read the text and answer the question.\n{scene}\n{question}",
            "Text: {scene}\nQuestion: {question}",
        ),
        "translation": (
            "Translate into {language}: {sentence}",
            "How do you say this in {language}?\n{sentence}",
            "Say this sentence in {language}: {sentence}",
        ),
        "numbers": (
            "Put each noun after its number, in the right form: {question}",
            "Write the numbers with the right plurals: {question}",
        ),
        "phrase": (
            "Make one phrase that begins with “a” or “an”: {question}",
            "Put these words in the right order, after “a” or “an”: {question}",
        ),
        "form": ("What is {question}?", "Give {question}."),
    }
    languages: ClassVar = {
        "en": "English", "zh": "Chinese", "es": "Spanish", "ru": "Russian", "ar": "Arabic", "ko": "Korean",
        "vi": "Vietnamese", "fr": "French",
    }  # fmt: skip

    def who(self, q: q.Who) -> QuestionAndAnswer:
        act = q.act
        question = en.GRAMMAR.say(m.WhoDid(act.verb, act.what, act.place, act.time))
        return question, f"{en._name(act.who)} {en.VERBS[act.verb][2]} {en._np(act.what)}."

    def where_did(self, q: q.WhereDid) -> QuestionAndAnswer:
        who, verb, what = en._name(q.act.who), en.VERBS[q.act.verb], en._np(q.act.what)
        return f"Where did {who} {verb[0]} {what}?", f"{who} {verb[2]} {what} {en._at(q.act.place)}."

    def where(self, q: q.Where) -> QuestionAndAnswer:
        return f"Where is {en._np(q.fact.what)}?", en.GRAMMAR.say(q.fact)

    def inside(self, q: q.Inside) -> QuestionAndAnswer:
        what = en._np(q.what)
        right = "Yes" if q.asked == q.place else "No"
        return f"Is {what} {en._at(q.asked)}?", f"{right}, {what} is {en._at(q.place)}."

    def colour(self, q: q.Colour) -> QuestionAndAnswer:
        what = en._np(q.what)
        return f"What colour is {what}?", f"{capital(what)} is {en.ADJECTIVES[q.what.thing.colour][0]}."

    def belongings(self, q: q.Belongings) -> QuestionAndAnswer:
        return f"What does {en._name(q.fact.who)} have?", en.GRAMMAR.say(q.fact)

    def owns(self, q: q.Owns) -> QuestionAndAnswer:
        who, noun = en._name(q.who), en._a(en.NOUNS[q.noun][0])
        answer = f"No, {who} does not have {noun}." if q.what is None else f"Yes, {who} has {en._np(q.what)}."
        return f"Does {who} have {noun}?", answer

    def work(self, q: q.Work) -> QuestionAndAnswer:
        who = en._name(q.who)
        first, second = (en._a(en.JOBS[job]) for job in q.jobs)
        return f"Is {who} {first} or {second}?", f"{who} is {en._a(en.JOBS[q.who.job])}."

    def consumes(self, q: q.Consumes) -> QuestionAndAnswer:
        who, verb = en._name(q.who), en.VERBS[q.verb]
        return f"What does {who} {verb[0]}?", f"{who} {verb[1]} {en.MASS[q.what]}."

    def recipient(self, q: q.Recipient) -> QuestionAndAnswer:
        p = q.fact
        who, verb, what = en._name(p.who), en.VERBS[p.verb], en._np(p.what)
        return f"Who did {who} {verb[0]} {what} to?", f"{who} {verb[2]} {what} to {en._name(p.recipient)}."

    def total(self, q: q.Total) -> QuestionAndAnswer:
        who = en._name(q.who)
        return f"How many things did {who} buy in all?", f"{who} bought {NUMERALS[q.number]} things in all."

    def together(self, q: q.Together) -> QuestionAndAnswer:
        who = f"{en._name(q.who)} and {en._name(q.other)}"
        question = f"How many {en.NOUNS[q.noun][1]} did {who} buy in all?"
        return question, f"{who} bought {self.counted(q.number, q.noun)} in all."

    def numeral(self, number: int) -> str:
        return NUMERALS[number]

    def noun(self, noun: str) -> str:
        return en.NOUNS[noun][0]

    def counted(self, number: int, noun: str) -> str:
        return f"{NUMERALS[number]} {en.NOUNS[noun][1]}"

    def phrase(self, q: q.Phrase) -> QuestionAndAnswer:
        words = [en.BEFORE_NOUN.get(w, en.ADJECTIVES[w][0]) for w in (q.thing.colour, q.thing.quality)]
        return " + ".join([en.NOUNS[q.thing.noun][0], *words]), en._np(m.NP(q.thing, definite=False))

    def form(self, q: q.Form) -> QuestionAndAnswer:
        if q.topic == "verb":
            word, _, form = en.VERBS[q.verb]
            asked = f"the past tense of “{word}”"
        elif q.topic == "adjective" and q.adjective in concepts.QUALITIES:
            word, form = en.ADJECTIVES[q.adjective]
            asked = f"the comparative of “{word}”"
        else:
            word, form = en.NOUNS[q.noun]
            asked = f"the plural of “{word}”"
        return asked, f"{capital(asked)} is “{form}”."


QUESTION_GRAMMAR = EnglishQuestions()
