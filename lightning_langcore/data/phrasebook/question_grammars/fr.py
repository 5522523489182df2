"""French questions and exercises: est-ce que, agreement of the participle, feminines; see ``grammars.fr``."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook import questions as q
from lightning_langcore.data.phrasebook.grammars import fr
from lightning_langcore.data.phrasebook.grammars.base import capital
from lightning_langcore.data.phrasebook.question_grammars.base import QuestionAndAnswer, QuestionGrammar

NBSP = fr.NBSP
NUMERALS = fr.NUMERALS | {
    11: "onze", 12: "douze", 13: "treize", 14: "quatorze", 15: "quinze", 16: "seize", 17: "dix-sept", 18: "dix-huit",
    19: "dix-neuf", 20: "vingt",
}  # fmt: skip


def _quoted(text: str) -> str:
    return f"«{NBSP}{text}{NBSP}»"


class FrenchQuestions(QuestionGrammar):
    """French."""

    wordings: ClassVar = {
        "scene": (
            "{scene}\n{question}",
            "Lis le texte et réponds à la question.\n{scene}\n{question}",
            f"Texte{NBSP}: {{scene}}\nQuestion{NBSP}: {{question}}",
        ),
        "translation": (
            f"Traduis en {{language}}{NBSP}: {{sentence}}",
            f"Comment dit-on cette phrase en {{language}}{NBSP}?\n{{sentence}}",
            f"Dis cette phrase en {{language}}{NBSP}: {{sentence}}",
        ),
        "numbers": (
            f"Mets chaque nom après son nombre, à la bonne forme{NBSP}: {{question}}",
            f"Écris les nombres avec le pluriel correct{NBSP}: {{question}}",
        ),
        "phrase": (
            f"Forme un seul groupe qui commence par {_quoted('un')} ou {_quoted('une')}{NBSP}: {{question}}",
            f"Ordonne et accorde ces mots, avec l'article {_quoted('un')} ou {_quoted('une')}{NBSP}: {{question}}",
        ),
        "form": (f"Quel est {{question}}{NBSP}?", "Donne {question}."),
    }
    languages: ClassVar = {
        "en": "anglais", "zh": "chinois", "es": "espagnol", "ru": "russe", "ar": "arabe", "ko": "coréen",
        "vi": "vietnamien", "fr": "français",
    }  # fmt: skip

    def who(self, q: q.Who) -> QuestionAndAnswer:
        act = q.act
        question = fr.GRAMMAR.say(m.WhoDid(act.verb, act.what, act.place, act.time))
        return question, f"C'est {fr._name(act.who)} qui a {fr.VERBS[act.verb][2]} {fr._np(act.what)}."

    def where_did(self, q: q.WhereDid) -> QuestionAndAnswer:
        who = fr._name(q.act.who)
        act = f"a {fr.VERBS[q.act.verb][2]} {fr._np(q.act.what)}"
        return f"Où est-ce {fr._that(who)} {act}{NBSP}?", f"{who} {act} {fr._at(q.act.place)}."

    def where(self, q: q.Where) -> QuestionAndAnswer:
        return f"Où est {fr._np(q.fact.what)}{NBSP}?", fr.GRAMMAR.say(q.fact)

    def inside(self, q: q.Inside) -> QuestionAndAnswer:
        what = fr._np(q.what)
        right = "Oui" if q.asked == q.place else "Non"
        question = f"Est-ce {fr._that(what)} est {fr._at(q.asked)}{NBSP}?"
        return question, f"{right}, {what} est {fr._at(q.place)}."

    def colour(self, q: q.Colour) -> QuestionAndAnswer:
        thing, what = q.what.thing, fr._np(q.what)
        colour = fr.ADJECTIVES[thing.colour][fr._gender(thing.noun)]
        return f"De quelle couleur est {what}{NBSP}?", f"{capital(what)} est {colour}."

    def belongings(self, q: q.Belongings) -> QuestionAndAnswer:
        return f"Que possède {fr._name(q.fact.who)}{NBSP}?", fr.GRAMMAR.say(q.fact)

    def owns(self, q: q.Owns) -> QuestionAndAnswer:
        who, noun = fr._name(q.who), fr.NOUNS[q.noun][0]
        question = f"Est-ce {fr._that(who)} a {('un', 'une')[fr._gender(q.noun)]} {noun}{NBSP}?"
        if q.what is None:
            return question, f"Non, {who} n'a pas {fr._de(noun)}."
        return question, f"Oui, {who} a {fr._np(q.what)}."

    def work(self, q: q.Work) -> QuestionAndAnswer:
        who = fr._name(q.who)
        first, second = (fr.JOBS[job][q.who.female] for job in q.jobs)
        question = f"Est-ce {fr._that(who)} est {first} ou {second}{NBSP}?"
        return question, f"{who} est {fr.JOBS[q.who.job][q.who.female]}."

    def consumes(self, q: q.Consumes) -> QuestionAndAnswer:
        who, verb = fr._name(q.who), fr.VERBS[q.verb][1]
        return f"Que {verb} {who}{NBSP}?", f"{who} {verb} {fr.MASS[q.what][1]}."

    def recipient(self, q: q.Recipient) -> QuestionAndAnswer:
        p = q.fact
        who = fr._name(p.who)
        act = f"a {fr.VERBS[p.verb][2]} {fr._np(p.what)}"
        return f"À qui est-ce {fr._that(who)} {act}{NBSP}?", f"{who} {act} à {fr._name(p.recipient)}."

    def total(self, q: q.Total) -> QuestionAndAnswer:
        who = fr._name(q.who)
        question = f"Combien de choses est-ce {fr._that(who)} a achetées en tout{NBSP}?"
        return question, f"{who} a acheté {NUMERALS[q.number]} choses en tout."

    def together(self, q: q.Together) -> QuestionAndAnswer:
        who = f"{fr._name(q.who)} et {fr._name(q.other)}"
        bought = ("achetés", "achetées")[fr._gender(q.noun)]
        many = f"Combien {fr._de(fr.NOUNS[q.noun][2])}"
        question = f"{many} est-ce {fr._that(who)} ont {bought} en tout{NBSP}?"
        return question, f"{who} ont acheté {self.counted(q.number, q.noun)} en tout."

    def numeral(self, number: int) -> str:
        return NUMERALS[number]

    def noun(self, noun: str) -> str:
        return fr.NOUNS[noun][0]

    def counted(self, number: int, noun: str) -> str:
        return f"{NUMERALS[number]} {fr.NOUNS[noun][2]}"

    def phrase(self, q: q.Phrase) -> QuestionAndAnswer:
        words = (fr.ADJECTIVES[q.thing.colour][0], fr.ADJECTIVES[q.thing.quality][0])
        return " + ".join([fr.NOUNS[q.thing.noun][0], *words]), fr._np(m.NP(q.thing, definite=False))

    def form(self, q: q.Form) -> QuestionAndAnswer:
        adjective, job = fr.ADJECTIVES[q.adjective][:2], fr.JOBS[q.job]
        if q.topic == "verb":
            word, _, form = fr.VERBS[q.verb]
            asked = f"le participe passé du verbe {_quoted(word)}"
        elif q.topic == "adjective" and adjective[0] != adjective[1]:
            word, form = adjective
            asked = f"le féminin de l'adjectif {_quoted(word)}"
        elif q.topic == "job" and job[0] != job[1]:
            word, form = job
            asked = f"le féminin du nom {_quoted(word)}"
        else:
            word, _, form = fr.NOUNS[q.counted]
            asked = f"le pluriel du nom {_quoted(word)}"
        return asked, f"{capital(asked)} est {_quoted(form)}."


QUESTION_GRAMMAR = FrenchQuestions()
