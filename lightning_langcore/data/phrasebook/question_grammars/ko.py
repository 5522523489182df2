"""Korean questions and exercises: counters in the place of plurals, particles by the final consonant, polite past."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook import questions as q
from lightning_langcore.data.phrasebook.grammars import ko
from lightning_langcore.data.phrasebook.question_grammars.base import QuestionAndAnswer, QuestionGrammar

NUMERALS = ko.NUMERALS | {  # before a counter
    11: "열한", 12: "열두", 13: "열세", 14: "열네", 15: "열다섯", 16: "열여섯", 17: "열일곱", 18: "열여덟",
    19: "열아홉", 20: "스무",
}  # fmt: skip
ALONE = ko.NUMERALS | {3: "셋", 4: "넷"}


class KoreanQuestions(QuestionGrammar):
    """Korean, in the polite style."""

    wordings: ClassVar = {
        "scene": (
            "{scene}\n{question}",
            "다음 글을 읽고 질문에 답하십시오.\n{scene}\n{question}",
            "글: {scene}\n질문: {question}",
        ),
        "translation": (
            "다음 문장을 {language}로 번역하십시오: {sentence}",
            "다음 문장은 {language}로 어떻게 말합니까?\n{sentence}",
            "이 문장을 {language}로 말해 보십시오: {sentence}",
        ),
        "numbers": (
            "알맞은 단위를 넣어 말해 보십시오: {question}",
            "수와 명사를 단위와 함께 쓰십시오: {question}",
        ),
        "phrase": (
            "단어를 이어 하나의 구를 만드십시오: {question}",
            "다음 단어를 알맞은 순서로 이어 쓰십시오: {question}",
        ),
        "form": ("{question}은 무엇입니까?", "{question}을 말해 보십시오."),
    }
    languages: ClassVar = {
        "en": "영어", "zh": "중국어", "es": "스페인어", "ru": "러시아어", "ar": "아랍어", "ko": "한국어",
        "vi": "베트남어", "fr": "프랑스어",
    }  # fmt: skip

    def who(self, q: q.Who) -> QuestionAndAnswer:
        act = q.act
        question = ko.GRAMMAR.say(m.WhoDid(act.verb, act.what, act.place, act.time))
        did = f"{ko._object(ko._np(act.what))} {ko.VERBS[act.verb][2]}습니다"
        return question, f"{ko._subject(ko._name(act.who))} {did}."

    def where_did(self, q: q.WhereDid) -> QuestionAndAnswer:
        who, what = ko._topic(ko._name(q.act.who)), ko._object(ko._np(q.act.what))
        did = f"{what} {ko.VERBS[q.act.verb][2]}"
        return f"{who} 어디에서 {did}습니까?", f"{who} {ko._at(q.act.place)} {did}습니다."

    def where(self, q: q.Where) -> QuestionAndAnswer:
        return f"{ko._topic(ko._np(q.fact.what))} 어디에 있습니까?", ko.GRAMMAR.say(q.fact)

    def inside(self, q: q.Inside) -> QuestionAndAnswer:
        what = ko._topic(ko._np(q.what))
        right = "네" if q.asked == q.place else "아니요"
        return f"{what} {ko.PLACES[q.asked]}에 있습니까?", f"{right}, {what} {ko.PLACES[q.place]}에 있습니다."

    def colour(self, q: q.Colour) -> QuestionAndAnswer:
        what = ko._topic(ko._np(q.what))
        colour = ko.ADJECTIVES[q.what.thing.colour][0]
        return f"{what} 무슨 색입니까?", f"{what} {colour if colour.endswith('색') else colour + '색'}입니다."

    def belongings(self, q: q.Belongings) -> QuestionAndAnswer:
        return f"{ko._name(q.fact.who)}에게 무엇이 있습니까?", ko.GRAMMAR.say(q.fact)

    def owns(self, q: q.Owns) -> QuestionAndAnswer:
        who, noun = f"{ko._name(q.who)}에게", ko._subject(ko.NOUNS[q.noun][0])
        has = (
            f"아니요, {who}는 {noun} 없습니다."
            if q.what is None
            else f"네, {who}는 {ko._subject(ko._np(q.what))} 있습니다."
        )
        return f"{who} {noun} 있습니까?", has

    def work(self, q: q.Work) -> QuestionAndAnswer:
        who = ko._topic(ko._name(q.who))
        first, second = (ko.JOBS[job] for job in q.jobs)
        return f"{who} {first}입니까, {second}입니까?", f"{who} {ko.JOBS[q.who.job]}입니다."

    def consumes(self, q: q.Consumes) -> QuestionAndAnswer:
        who, verb = ko._topic(ko._name(q.who)), ko.VERBS[q.verb][1]
        return f"{who} 무엇을 {verb.removesuffix('다')}까?", f"{who} {ko._object(ko.MASS[q.what])} {verb}."

    def recipient(self, q: q.Recipient) -> QuestionAndAnswer:
        p = q.fact
        who = ko._topic(ko._name(p.who))
        did = f"{ko._object(ko._np(p.what))} {ko.VERBS[p.verb][2]}"
        return f"{who} 누구에게 {did}습니까?", f"{who} {ko._name(p.recipient)}에게 {did}습니다."

    def total(self, q: q.Total) -> QuestionAndAnswer:
        who = ko._topic(ko._name(q.who))
        return f"{who} 물건을 모두 몇 개 샀습니까?", f"{who} 물건을 모두 {NUMERALS[q.number]} 개 샀습니다."

    def together(self, q: q.Together) -> QuestionAndAnswer:
        noun, counter = ko.NOUNS[q.noun]
        act = f"{ko._and(ko._name(q.who))} {ko._topic(ko._name(q.other))} {ko._object(noun)} 모두"
        return f"{act} 몇 {counter} 샀습니까?", f"{act} {NUMERALS[q.number]} {counter} 샀습니다."

    def numeral(self, number: int) -> str:
        return ALONE[number]

    def noun(self, noun: str) -> str:
        return ko.NOUNS[noun][0]

    def counted(self, number: int, noun: str) -> str:
        return f"{ko.NOUNS[noun][0]} {NUMERALS[number]} {ko.NOUNS[noun][1]}"

    def phrase(self, q: q.Phrase) -> QuestionAndAnswer:
        words = (ko.NOUNS[q.thing.noun][0], ko.ADJECTIVES[q.thing.colour][0], ko._quality(q.thing)[0])
        return " + ".join(words), ko._np(m.NP(q.thing, definite=False))

    def form(self, q: q.Form) -> QuestionAndAnswer:
        if q.topic == "verb":
            word, form = ko.VERBS[q.verb][0], ko.VERBS[q.verb][2] + "습니다"
            asked = f"‘{word}’의 정중한 과거형"
        else:
            word, form = ko.NOUNS[q.noun]
            asked = f"‘{word}’의 수를 셀 때 쓰는 말"
        return asked, f"{asked}은 ‘{form}’입니다."


QUESTION_GRAMMAR = KoreanQuestions()
