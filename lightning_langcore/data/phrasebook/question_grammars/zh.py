"""Chinese questions and exercises: measure words in the place of inflection, 是……的 about what is past."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import concepts
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook import questions as q
from lightning_langcore.data.phrasebook.grammars import zh
from lightning_langcore.data.phrasebook.question_grammars.base import QuestionAndAnswer, QuestionGrammar

NUMERALS = zh.NUMERALS | {
    11: "十一", 12: "十二", 13: "十三", 14: "十四", 15: "十五", 16: "十六", 17: "十七", 18: "十八", 19: "十九",
    20: "二十",
}  # fmt: skip


class ChineseQuestions(QuestionGrammar):
    """Chinese, in simplified characters."""

    wordings: ClassVar = {
        "scene": (
            "{scene}\n{question}",
            "请读下面的短文，然后回答问题。\n{scene}\n{question}",
            "短文：{scene}\n问题：{question}",
        ),
        "translation": (
            "请把这句话翻译成{language}：{sentence}",
            "下面这句话用{language}怎么说？\n{sentence}",
            "用{language}说出这句话：{sentence}",
        ),
        "numbers": ("用合适的量词连接数词和名词：{question}", "请加上正确的量词：{question}"),
        "phrase": (
            "用“一”和量词把这些词组成一个短语：{question}",
            "按正确的顺序组成短语，并加上“一”和量词：{question}",
        ),
        "form": ("{question}是什么？", "请说出{question}。"),
    }
    languages: ClassVar = {
        "en": "英语", "zh": "汉语", "es": "西班牙语", "ru": "俄语", "ar": "阿拉伯语", "ko": "韩语", "vi": "越南语",
        "fr": "法语",
    }  # fmt: skip
    comma: ClassVar[str] = "，"

    def who(self, q: q.Who) -> QuestionAndAnswer:
        act = q.act
        question = zh.GRAMMAR.say(m.WhoDid(act.verb, act.what, act.place, act.time))
        return question, f"{zh._np(act.what)}是{zh._name(act.who)}{zh.VERBS[act.verb][0]}的。"

    def where_did(self, q: q.WhereDid) -> QuestionAndAnswer:
        who, verb, what = zh._name(q.act.who), zh.VERBS[q.act.verb][0], zh._np(q.act.what)
        return f"{what}是{who}在哪里{verb}的？", f"{what}是{who}{zh._at(q.act.place)}{verb}的。"

    def where(self, q: q.Where) -> QuestionAndAnswer:
        return f"{zh._np(q.fact.what)}在哪里？", zh.GRAMMAR.say(q.fact)

    def inside(self, q: q.Inside) -> QuestionAndAnswer:
        what = zh._np(q.what)
        right = "是的" if q.asked == q.place else "不"
        return f"{what}{zh._at(q.asked)}吗？", f"{right}，{what}{zh._at(q.place)}。"

    def colour(self, q: q.Colour) -> QuestionAndAnswer:
        what = zh._np(q.what)
        return f"{what}是什么颜色的？", f"{what}是{zh.ADJECTIVES[q.what.thing.colour][1]}的。"

    def belongings(self, q: q.Belongings) -> QuestionAndAnswer:
        return f"{zh._name(q.fact.who)}有什么？", zh.GRAMMAR.say(q.fact)

    def owns(self, q: q.Owns) -> QuestionAndAnswer:
        who, noun = zh._name(q.who), zh.NOUNS[q.noun][0]
        answer = f"没有，{who}没有{noun}。" if q.what is None else f"有，{who}有{zh._np(q.what)}。"
        return f"{who}有{noun}吗？", answer

    def work(self, q: q.Work) -> QuestionAndAnswer:
        who = zh._name(q.who)
        first, second = (zh.JOBS[job] for job in q.jobs)
        return f"{who}是{first}还是{second}？", f"{who}是{zh.JOBS[q.who.job]}。"

    def consumes(self, q: q.Consumes) -> QuestionAndAnswer:
        who, verb = zh._name(q.who), zh.VERBS[q.verb][0]
        return f"{who}{verb}什么？", f"{who}{verb}{zh.MASS[q.what]}。"

    def recipient(self, q: q.Recipient) -> QuestionAndAnswer:
        p = q.fact
        act = zh._name(p.who) + zh.VERBS[p.verb][2].format(what=zh._np(p.what), who="{}")
        return act.format("谁") + "？", act.format(zh._name(p.recipient)) + "。"

    def total(self, q: q.Total) -> QuestionAndAnswer:
        act = f"{zh._name(q.who)}一共买了{{}}件东西"
        return act.format("多少") + "？", act.format(NUMERALS[q.number]) + "。"

    def together(self, q: q.Together) -> QuestionAndAnswer:
        act = f"{zh._name(q.who)}和{zh._name(q.other)}一共买了"
        noun, measure = zh.NOUNS[q.noun]
        return f"{act}多少{measure}{noun}？", f"{act}{self.counted(q.number, q.noun)}。"

    def numeral(self, number: int) -> str:
        return NUMERALS[number]

    def noun(self, noun: str) -> str:
        return zh.NOUNS[noun][0]

    def counted(self, number: int, noun: str) -> str:
        return f"{NUMERALS[number]}{zh.NOUNS[noun][1]}{zh.NOUNS[noun][0]}"

    def phrase(self, q: q.Phrase) -> QuestionAndAnswer:
        thing = q.thing
        old_animal = thing.quality == "old" and thing.noun in concepts.ANIMALS
        quality = zh.OLD_ANIMAL if old_animal else zh.ADJECTIVES[thing.quality][0].removesuffix("的")
        words = (zh.NOUNS[thing.noun][0], zh.ADJECTIVES[thing.colour][0], quality)
        return " + ".join(words), zh._np(m.NP(thing, definite=False))

    def form(self, q: q.Form) -> QuestionAndAnswer:
        noun, measure = zh.NOUNS[q.noun]
        return f"“{noun}”的量词", f"“{noun}”的量词是“{measure}”：一{measure}{noun}。"


QUESTION_GRAMMAR = ChineseQuestions()
