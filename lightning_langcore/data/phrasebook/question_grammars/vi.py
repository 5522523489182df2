"""Vietnamese questions and exercises: classifiers in the place of inflection, có ... không, đã."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook import questions as q
from lightning_langcore.data.phrasebook.grammars import vi
from lightning_langcore.data.phrasebook.grammars.base import capital
from lightning_langcore.data.phrasebook.question_grammars.base import QuestionAndAnswer, QuestionGrammar

NUMERALS = vi.NUMERALS | {
    11: "mười một", 12: "mười hai", 13: "mười ba", 14: "mười bốn", 15: "mười lăm", 16: "mười sáu", 17: "mười bảy",
    18: "mười tám", 19: "mười chín", 20: "hai mươi",
}  # fmt: skip


class VietnameseQuestions(QuestionGrammar):
    """Vietnamese."""

    wordings: ClassVar = {
        "scene": (
            "{scene}\n{question}",
            "Hãy đọc đoạn văn rồi trả lời câu hỏi.\n{scene}\n{question}",
            "Đoạn văn: {scene}\nCâu hỏi: {question}",
        ),
        "translation": (
            "Hãy dịch câu này sang tiếng {language}: {sentence}",
            "Câu này nói bằng tiếng {language} như thế nào?\n{sentence}",
            "Hãy nói câu này bằng tiếng {language}: {sentence}",
        ),
        "numbers": (
            "Hãy ghép số với danh từ, dùng loại từ thích hợp: {question}",
            "Hãy thêm loại từ đúng: {question}",
        ),
        "phrase": (
            "Hãy ghép thành một cụm danh từ bắt đầu bằng “một”: {question}",
            "Hãy sắp xếp các từ này, thêm “một” và loại từ: {question}",
        ),
        "form": ("Đâu là {question}?", "Hãy cho biết {question}."),
    }
    languages: ClassVar = {
        "en": "Anh", "zh": "Trung", "es": "Tây Ban Nha", "ru": "Nga", "ar": "Ả Rập", "ko": "Hàn", "vi": "Việt",
        "fr": "Pháp",
    }  # fmt: skip

    def who(self, q: q.Who) -> QuestionAndAnswer:
        act = q.act
        question = vi.GRAMMAR.say(m.WhoDid(act.verb, act.what, act.place, act.time))
        return question, f"{vi._name(act.who)} đã {vi._do(act.verb, act.what.thing.noun, vi._np(act.what))}."

    def where_did(self, q: q.WhereDid) -> QuestionAndAnswer:
        act = q.act
        did = f"{vi._name(act.who)} đã {vi._do(act.verb, act.what.thing.noun, vi._np(act.what))}"
        return f"{did} ở đâu?", f"{did} {vi._at(act.place)}."

    def where(self, q: q.Where) -> QuestionAndAnswer:
        return f"{capital(vi._np(q.fact.what))} ở đâu?", vi.GRAMMAR.say(q.fact)

    def inside(self, q: q.Inside) -> QuestionAndAnswer:
        what = vi._np(q.what)
        right = "Có" if q.asked == q.place else "Không"
        return f"{capital(what)} có {vi._is_at(q.asked)} không?", f"{right}, {what} {vi._is_at(q.place)}."

    def colour(self, q: q.Colour) -> QuestionAndAnswer:
        what = capital(vi._np(q.what))
        return f"{what} có màu gì?", f"{what} có màu {vi.ADJECTIVES[q.what.thing.colour]}."

    def belongings(self, q: q.Belongings) -> QuestionAndAnswer:
        return f"{vi._name(q.fact.who)} có những gì?", vi.GRAMMAR.say(q.fact)

    def owns(self, q: q.Owns) -> QuestionAndAnswer:
        who, noun = vi._name(q.who), vi.NOUNS[q.noun][0]
        answer = f"Không, {who} không có {noun}." if q.what is None else f"Có, {who} có {vi._np(q.what)}."
        return f"{who} có {noun} không?", answer

    def work(self, q: q.Work) -> QuestionAndAnswer:
        who = vi._name(q.who)
        first, second = (vi.JOBS[job] for job in q.jobs)
        return f"{who} là {first} hay {second}?", f"{who} là {vi.JOBS[q.who.job]}."

    def consumes(self, q: q.Consumes) -> QuestionAndAnswer:
        act = f"{vi._name(q.who)} {vi.VERBS[q.verb][0]}"
        return f"{act} gì?", f"{act} {vi.MASS[q.what]}."

    def recipient(self, q: q.Recipient) -> QuestionAndAnswer:
        p = q.fact
        act = vi.VERBS[p.verb][1].format(what=vi._np(p.what), who="{}", place=vi.PLACES[p.place][0])
        did = f"{vi._name(p.who)} đã {act}"
        return did.format("ai") + "?", did.format(vi._name(p.recipient)) + "."

    def total(self, q: q.Total) -> QuestionAndAnswer:
        act = f"{vi._name(q.who)} đã mua tất cả {{}} món đồ"
        return act.format("bao nhiêu") + "?", act.format(NUMERALS[q.number]) + "."

    def together(self, q: q.Together) -> QuestionAndAnswer:
        act = f"{vi._name(q.who)} và {vi._name(q.other)} đã mua tất cả"
        return f"{act} {vi._counted('bao nhiêu', q.noun)}?", f"{act} {self.counted(q.number, q.noun)}."

    def numeral(self, number: int) -> str:
        return NUMERALS[number]

    def noun(self, noun: str) -> str:
        return vi.NOUNS[noun][0]

    def counted(self, number: int, noun: str) -> str:
        return vi._counted(NUMERALS[number], noun)

    def phrase(self, q: q.Phrase) -> QuestionAndAnswer:
        colour = "màu " + vi.ADJECTIVES[q.thing.colour]
        words = (vi.NOUNS[q.thing.noun][0], colour, vi._quality(q.thing))
        return " + ".join(words), vi._np(m.NP(q.thing, definite=False))

    def form(self, q: q.Form) -> QuestionAndAnswer:
        if q.topic == "verb":
            word = vi.VERBS[q.verb][0]
            form = f"đã {word}"
            asked = f"dạng quá khứ của động từ “{word}”"
        else:
            word, form = vi.NOUNS[q.noun]
            asked = f"loại từ của danh từ “{word}”"
        return asked, f"{capital(asked)} là “{form}”."


QUESTION_GRAMMAR = VietnameseQuestions()
