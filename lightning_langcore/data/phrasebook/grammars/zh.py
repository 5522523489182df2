"""Chinese (simplified): measure words, 的, locative words, 把 and 了."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import concepts
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook.grammars.base import Grammar, Words, forms

NAMES = {
    "anna": "安娜", "maria": "玛丽亚", "sofia": "索菲亚", "elena": "埃琳娜", "laura": "劳拉", "sara": "萨拉",
    "ivan": "伊万", "david": "大卫", "daniel": "丹尼尔", "thomas": "托马斯", "martin": "马丁", "adam": "亚当",
}  # fmt: skip

NOUNS = {  # noun, measure word
    "book": ("书", "本"), "notebook": ("笔记本", "本"), "key": ("钥匙", "把"), "cup": ("杯子", "个"),
    "knife": ("水果刀", "把"), "umbrella": ("雨伞", "把"), "hat": ("帽子", "顶"), "phone": ("手机", "部"),
    "box": ("盒子", "个"), "basket": ("篮子", "个"), "bag": ("包", "个"), "lamp": ("台灯", "盏"),
    "alarm_clock": ("闹钟", "个"), "pencil": ("铅笔", "支"), "ball": ("皮球", "个"), "plate": ("盘子", "个"),
    "bottle": ("瓶子", "个"), "shirt": ("衬衫", "件"), "camera": ("照相机", "台"), "guitar": ("吉他", "把"),
    "towel": ("毛巾", "条"), "scarf": ("围巾", "条"), "suitcase": ("箱子", "只"), "vase": ("花瓶", "个"),
    "car": ("汽车", "辆"), "bicycle": ("自行车", "辆"), "boat": ("船", "条"), "cat": ("猫", "只"), "dog": ("狗", "只"),
    "horse": ("马", "匹"), "bird": ("鸟", "只"), "rabbit": ("兔子", "只"), "duck": ("鸭子", "只"),
    "table": ("桌子", "张"), "chair": ("椅子", "把"), "shelf": ("架子", "个"), "bed": ("床", "张"),
    "sofa": ("沙发", "张"), "wardrobe": ("衣柜", "个"), "apple": ("苹果", "个"), "egg": ("鸡蛋", "个"),
    "orange": ("橙子", "个"), "lemon": ("柠檬", "个"), "banana": ("香蕉", "根"), "cake": ("蛋糕", "块"),
}  # fmt: skip
MASS = {
    "bread": "面包", "rice": "米饭", "soup": "汤", "cheese": "奶酪", "tea": "茶", "coffee": "咖啡", "milk": "牛奶",
    "juice": "果汁", "water": "水",
}  # fmt: skip
JOBS = {
    "doctor": "医生", "teacher": "老师", "student": "学生", "cook": "厨师", "writer": "作家", "engineer": "工程师",
    "painter": "画家", "farmer": "农民", "driver": "司机", "singer": "歌手",
}  # fmt: skip

ADJECTIVES = {  # before the noun (where it needs no 的, the bare word), as predicate
    "red": ("红色", "红色"), "blue": ("蓝色", "蓝色"), "green": ("绿色", "绿色"), "yellow": ("黄色", "黄色"),
    "white": ("白色", "白色"), "black": ("黑色", "黑色"), "grey": ("灰色", "灰色"), "brown": ("棕色", "棕色"),
    "big": ("大", "大"), "small": ("小", "小"), "new": ("新", "新"), "old": ("旧", "旧"),
    "beautiful": ("漂亮的", "漂亮"), "heavy": ("沉重的", "重"), "light": ("轻便的", "轻"),
    "expensive": ("昂贵的", "贵"), "clean": ("干净的", "干净"), "dirty": ("脏", "脏"),
    "happy": ("高兴的", "高兴"), "tired": ("累", "累"), "sad": ("难过的", "难过"),
}  # fmt: skip
OLD_ANIMAL = "老"  # animals grow 老, things 旧

VERBS = {  # citation form, with an object, with an object in the past
    "buy": ("买", "买{}", "买了{}"), "find": ("找到", "找到{}", "找到了{}"), "lose": ("弄丢", "弄丢{}", "弄丢了{}"),
    "wash": ("洗", "洗{}", "洗了{}"), "draw": ("画", "画{}", "画了{}"), "repair": ("修", "修{}", "修好了{}"),
    "look_for": ("找", "找{}", "一直在找{}"), "read": ("看", "看{}", "看了{}"),
    "photograph": ("拍照", "给{}拍照", "给{}拍了照"), "feed": ("喂", "喂{}", "喂了{}"),
    "hide": ("藏", "把{}藏起来", "把{}藏了起来"), "sell": ("卖掉", "卖掉{}", "卖掉了{}"),
    "give": ("送给", "把{what}送给{who}", "把{what}送给了{who}"),
    "show": ("拿给", "把{what}拿给{who}看", "把{what}拿给{who}看了"),
    "bring": ("带给", "把{what}带给{who}", "把{what}带给了{who}"),
    "lend": ("借给", "把{what}借给{who}", "把{what}借给了{who}"),
    "go": ("去", "去{}", ""), "come_back": ("回来", "从{}回来", ""), "sleep": ("睡", "睡在{}", ""),
    "sit": ("蹲", "蹲在{}", ""), "eat": ("吃", "吃{}", ""), "drink": ("喝", "喝{}", ""), "have": ("有", "有{}", ""),
    "want": ("想", "想{}", ""), "like": ("喜欢", "喜欢{}", ""),
}  # fmt: skip
PERCH = ("停", "停在{}")  # how a bird sits
WASH_ANIMAL = ("洗澡", "给{}洗澡", "给{}洗了澡")  # things are 洗

PLACES = {  # noun, in it (after 在 or before what is there)
    "kitchen": ("厨房", "厨房里"), "bedroom": ("卧室", "卧室里"), "living_room": ("客厅", "客厅里"),
    "office": ("办公室", "办公室里"), "library": ("图书馆", "图书馆里"), "market": ("市场", "市场上"),
    "shop": ("商店", "商店里"), "park": ("公园", "公园里"), "station": ("车站", "车站"),
    "museum": ("博物馆", "博物馆里"),
    "garden": ("花园", "花园里"), "beach": ("海滩", "海滩上"), "school": ("学校", "学校里"),
    "village": ("村子", "村子里"), "hospital": ("医院", "医院里"),
}  # fmt: skip

TIMES = {
    "in_the_morning": "早上", "at_noon": "中午", "in_the_evening": "晚上", "every_day": "每天",
    "on_sundays": "每个星期天", "on_weekends": "周末", "yesterday": "昨天", "last_week": "上周",
    "on_monday": "星期一", "on_saturday": "星期六", "this_morning": "今天早上", "yesterday_evening": "昨天晚上",
    "today": "今天", "tomorrow": "明天", "tonight": "今晚",
}  # fmt: skip

NUMERALS = {3: "三", 4: "四", 5: "五", 6: "六", 7: "七", 8: "八", 9: "九", 10: "十"}

RELATIONS = {"on": "上", "under": "下面", "beside": "旁边", "in": "里", "behind": "后面"}


def _np(np: m.NP) -> str:
    thing = np.thing
    noun, measure = NOUNS[thing.noun]
    colour = ADJECTIVES[thing.colour][0] if np.colour else ""
    quality = ADJECTIVES[thing.quality][0] if np.quality else ""
    if thing.quality == "old" and quality and thing.noun in concepts.ANIMALS:
        quality = OLD_ANIMAL
    if colour and not quality.endswith("的"):
        text = f"{colour}的{quality}{noun}"  # 红色的小书
    elif colour and len(noun) > 1:
        text = f"{quality}{colour}{noun}"  # 漂亮的红色杯子
    elif colour:
        text = f"{quality}{colour}的{noun}"
    else:
        text = quality + noun
    if np.owner is not None:
        owner = NAMES[np.owner.name]
        return f"{owner}的那{measure}{text}" if np.colour or np.quality else f"{owner}的{noun}"
    return f"{'那' if np.definite else '一'}{measure}{text}"


def _spot(spot: m.Spot) -> str:
    where = _np(spot.support) + RELATIONS[spot.relation]
    if spot.place is None:
        return where
    return f"{PLACES[spot.place][1]}{'' if spot.support.definite else '的'}{where}"


def _very(quality: str, noun: str) -> str:
    return f"非常{OLD_ANIMAL if quality == 'old' and noun in concepts.ANIMALS else ADJECTIVES[quality][1]}"


def _she(person: m.Person) -> str:
    return "她" if person.female else "他"


def _name(person: m.Person) -> str:
    return NAMES[person.name]


def _at(place: str) -> str:
    return "在" + PLACES[place][1]


def _verb(verb: str, thing: m.Thing) -> tuple[str, str, str]:
    return WASH_ANIMAL if verb == "wash" and thing.noun in concepts.ANIMALS else VERBS[verb]


def _do(verb: str, np: m.NP) -> str:
    return _verb(verb, np.thing)[1].format(_np(np))


def _do_it(verb: str, thing: m.Thing) -> str:
    return _verb(verb, thing)[1].format("它")


def _did(verb: str, np: m.NP) -> str:
    return _verb(verb, np.thing)[2].format(_np(np))


def _move(verb: str, place: str) -> str:
    return VERBS[verb][1].format(PLACES[place][0])


class Chinese(Grammar):
    """Chinese, in simplified characters."""

    joiner = ""
    words: ClassVar[Words] = {
        "noun": {k: (v[0],) for k, v in NOUNS.items()} | {k: (v,) for k, v in (MASS | JOBS).items()},
        "classifier": {v[1]: (v[1],) for v in NOUNS.values()},
        "verb": {k: (v[0],) for k, v in VERBS.items()} | {"perch": (PERCH[0],), "wash_animal": (WASH_ANIMAL[0],)},
        "adjective": {k: forms(v[1], v[0]) for k, v in ADJECTIVES.items()},
        "place": {k: (v[0],) for k, v in PLACES.items()},
        "time": {k: (v,) for k, v in TIMES.items()},
        "numeral": {str(k): (v,) for k, v in NUMERALS.items()},
        "name": {k: (v,) for k, v in NAMES.items()},
    }

    def past_act(self, p: m.PastAct) -> str:
        return f"{TIMES[p.time]}{_name(p.who)}{_at(p.place)}{_did(p.verb, p.what)}。"

    def exists(self, p: m.Exists) -> str:
        return f"{_spot(p.spot)}有{_np(p.what)}。"

    def located(self, p: m.Located) -> str:
        return f"{_np(p.what)}在{_spot(p.spot)}。"

    def has(self, p: m.Has) -> str:
        return f"{_name(p.who)}有{_np(p.first)}和{_np(p.second)}。"

    def lacks(self, p: m.Lacks) -> str:
        return f"{_name(p.who)}没有{NOUNS[p.noun][0]}，但是{_name(p.other)}有{_np(p.what)}。"

    def job(self, p: m.Job) -> str:
        move = _move(p.verb, p.place)
        return f"{_name(p.who)}是{JOBS[p.who.job]}，{TIMES[p.time]}和{_name(p.companion)}一起{move}。"

    def motion(self, p: m.Motion) -> str:
        move = _move(p.verb, p.place)
        return f"{TIMES[p.time]}{_name(p.who)}和{_name(p.companion)}带着{_np(p.pet)}{move}。"

    def transfer(self, p: m.Transfer) -> str:
        act = VERBS[p.verb][2].format(what=_np(p.what), who=_name(p.recipient))
        return f"{TIMES[p.time]}{_name(p.who)}{_at(p.place)}{act}。"

    def which_place(self, p: m.WhichPlace) -> str:
        return f"{_np(p.what)}{_at(p.here)}还是{_at(p.there)}？"

    def who_did(self, p: m.WhoDid) -> str:
        return f"{TIMES[p.time]}谁{_at(p.place)}{_did(p.verb, p.what)}？"

    def not_but(self, p: m.NotBut) -> str:
        act = f"{TIMES[p.time]}{_at(p.place)}{VERBS[p.verb][2].format('它')}"
        return f"不是{_name(p.wrong)}，而是{_name(p.right)}{act}。"

    def want_question(self, p: m.WantQuestion) -> str:
        return f"{TIMES[p.time]}{_name(p.who)}想{_at(p.place)}{_do(p.verb, p.what)}吗？"

    def want_yes(self, p: m.WantYes) -> str:
        return f"是的，{TIMES[p.time]}{_name(p.who)}想{_do_it(p.verb, p.thing)}，再买{_np(p.wished)}。"

    def want_no(self, p: m.WantNo) -> str:
        wish = f"{TIMES[p.time]}{_she(p.who)}想{_do(p.verb, p.instead)}"
        return f"不，{_name(p.who)}不想{_do_it(p.verb, p.thing)}，{wish}。"

    def _bought(self, who: m.Person, verb: str, place: str) -> str:
        return f"{_name(who)}{_at(place)}{VERBS[verb][0]}的"

    def relative_spot(self, p: m.RelativeSpot) -> str:
        return f"{self._bought(p.who, p.verb, p.place)}{_np(p.what)}在{_spot(p.spot)}。"

    def relative_quality(self, p: m.RelativeQuality) -> str:
        thing = p.what.thing
        clause = f"{TIMES[p.time]}{self._bought(p.who, p.verb, p.place)}"
        return f"{clause}{_np(p.what)}{_very(thing.quality, thing.noun)}。"

    def _is(self, np: m.NP) -> str:
        thing = np.thing
        return f"{_np(np)}是{ADJECTIVES[thing.colour][1]}的，{_very(thing.quality, thing.noun)}"

    def contrast(self, p: m.Contrast) -> str:
        return f"{self._is(p.first)}，而{self._is(p.second)}。"

    def while_(self, p: m.While) -> str:
        first = f"{_name(p.who)}{_at(p.place)}{_do(p.verb, p.what)}的时候"
        return f"{first}，{_name(p.other)}在{_do(p.other_verb, p.other_what)}。"

    def _have(self, drink: str, food: str) -> str:
        verb = "喝" if food == "soup" else "吃"
        return f"喝{MASS[drink]}，{verb}{MASS[food]}"

    def meal(self, p: m.Meal) -> str:
        who = f"{_name(p.who)}和{_name(p.companion)}一起"
        return f"{TIMES[p.time]}{who}{_at(p.place)}{self._have(p.drink, p.food)}。"

    def meal_not(self, p: m.MealNot) -> str:
        refusal = f"{_name(p.who)}{_at(p.place)}不喝{MASS[p.refused]}"
        return f"{TIMES[p.time]}{refusal}，{_she(p.who)}{self._have(p.drink, p.food)}。"

    def how_many(self, p: m.HowMany) -> str:
        (noun, measure), (second, second_measure) = NOUNS[p.noun], NOUNS[p.second_noun]
        what = f"几{measure}{noun}、几{second_measure}{second}"
        return f"{TIMES[p.time]}{_name(p.who)}{_at(p.place)}买了{what}？"

    def counts(self, p: m.Counts) -> str:
        (noun, measure), (second, second_measure) = NOUNS[p.noun], NOUNS[p.second_noun]
        what = f"{NUMERALS[p.number]}{measure}{noun}和{NUMERALS[p.second_number]}{second_measure}{second}"
        return f"{TIMES[p.time]}{_name(p.who)}{_at(p.place)}买了{what}。"

    def because(self, p: m.Because) -> str:
        cause = f"{_she(p.who)}{_at(p.place)}{_did(p.verb, p.what)}"
        return f"{_name(p.who)}今天非常{ADJECTIVES[p.state][1]}，因为{cause}。"

    def compare(self, p: m.Compare) -> str:
        return f"{_np(p.first)}比{_np(p.second)}{ADJECTIVES[p.quality][1]}。"

    def rest(self, p: m.Rest) -> str:
        verb = PERCH if p.verb == "sit" and p.what.thing.noun == "bird" else VERBS[p.verb]
        return f"{TIMES[p.time]}{_np(p.what)}{verb[1].format(_spot(p.spot))}。"

    def likes(self, p: m.Likes) -> str:
        return f"{_name(p.who)}喜欢{_np(p.what)}，而{_name(p.other)}喜欢{_np(p.other_what)}。"


GRAMMAR = Chinese()
