"""Arabic (Modern Standard, unvocalised): ال, idafa, gender agreement, tanwin alif, polarity of numerals, clitics.

Verbal sentences put the verb first, so that it agrees with the (first) subject in gender alone.
"""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import concepts as concepts_
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook.grammars.base import Grammar, Words, forms

NAMES = {
    "anna": "آنا", "maria": "ماريا", "sofia": "صوفيا", "elena": "إيلينا", "laura": "لورا", "sara": "سارة",
    "ivan": "إيفان", "david": "ديفيد", "daniel": "دانيال", "thomas": "توماس", "martin": "مارتن", "adam": "آدم",
}  # fmt: skip

NOUNS = {  # singular, gender, plural where things are counted, definite where it is not just ال before the noun
    "book": ("كتاب", "m", "كتب"), "notebook": ("دفتر", "m", "دفاتر"), "key": ("مفتاح", "m"),
    "cup": ("كوب", "m", "أكواب"),
    "knife": ("سكين", "m"), "umbrella": ("مظلة", "f"), "hat": ("قبعة", "f"), "phone": ("هاتف", "m"),
    "box": ("صندوق", "m"), "basket": ("سلة", "f"), "bag": ("حقيبة", "f"), "lamp": ("مصباح", "m"),
    "alarm_clock": ("منبه", "m"), "pencil": ("قلم رصاص", "m", "أقلام رصاص", "قلم الرصاص"), "ball": ("كرة", "f"),
    "plate": ("طبق", "m", "أطباق"), "bottle": ("زجاجة", "f", "زجاجات"), "shirt": ("قميص", "m"),
    "camera": ("كاميرا", "f"), "guitar": ("قيثارة", "f"), "towel": ("منشفة", "f"), "scarf": ("وشاح", "m"),
    "suitcase": ("حقيبة سفر", "f", "", "حقيبة السفر"), "vase": ("مزهرية", "f"), "car": ("سيارة", "f"),
    "bicycle": ("دراجة", "f"), "boat": ("قارب", "m"), "cat": ("قطة", "f"), "dog": ("كلب", "m"),
    "horse": ("حصان", "m"),
    "bird": ("عصفور", "m"), "rabbit": ("أرنب", "m"), "duck": ("بطة", "f"), "table": ("طاولة", "f"),
    "chair": ("كرسي", "m"), "shelf": ("رف", "m"), "bed": ("سرير", "m"), "sofa": ("أريكة", "f"),
    "wardrobe": ("خزانة", "f"), "apple": ("تفاحة", "f", "تفاحات"), "egg": ("بيضة", "f", "بيضات"),
    "orange": ("برتقالة", "f", "برتقالات"), "lemon": ("ليمونة", "f", "ليمونات"), "banana": ("موزة", "f", "موزات"),
    "cake": ("كعكة", "f", "كعكات"),
}  # fmt: skip
MASS = {
    "bread": "خبز", "rice": "أرز", "soup": "حساء", "cheese": "جبن", "tea": "شاي", "coffee": "قهوة", "milk": "حليب",
    "juice": "عصير", "water": "ماء",
}  # fmt: skip
JOBS = {  # of a man, of a woman
    "doctor": ("طبيب", "طبيبة"), "teacher": ("معلم", "معلمة"), "student": ("طالب", "طالبة"),
    "cook": ("طباخ", "طباخة"), "writer": ("كاتب", "كاتبة"), "engineer": ("مهندس", "مهندسة"),
    "painter": ("رسام", "رسامة"), "farmer": ("مزارع", "مزارعة"), "driver": ("سائق", "سائقة"),
    "singer": ("مطرب", "مطربة"),
}  # fmt: skip

ADJECTIVES = {  # masculine, feminine, elative
    "red": ("أحمر", "حمراء", ""), "blue": ("أزرق", "زرقاء", ""), "green": ("أخضر", "خضراء", ""),
    "yellow": ("أصفر", "صفراء", ""), "white": ("أبيض", "بيضاء", ""), "black": ("أسود", "سوداء", ""),
    "grey": ("رمادي", "رمادية", ""), "brown": ("بني", "بنية", ""), "big": ("كبير", "كبيرة", "أكبر"),
    "small": ("صغير", "صغيرة", "أصغر"), "new": ("جديد", "جديدة", "أحدث"), "old": ("قديم", "قديمة", "أقدم"),
    "beautiful": ("جميل", "جميلة", "أجمل"), "heavy": ("ثقيل", "ثقيلة", "أثقل"), "light": ("خفيف", "خفيفة", "أخف"),
    "expensive": ("ثمين", "ثمينة", "أثمن"), "clean": ("نظيف", "نظيفة", "أنظف"),
    "dirty": ("متسخ", "متسخة", "أكثر اتساخا"), "happy": ("سعيد", "سعيدة", ""), "tired": ("متعب", "متعبة", ""),
    "sad": ("حزين", "حزينة", ""),
}  # fmt: skip
DIPTOTE = ("red", "blue", "green", "yellow", "white", "black")  # no tanwin alif in the masculine accusative
OLD_ANIMAL = "عجوز"  # of both genders; things are قديم

VERBS = {  # past masculine and feminine, present masculine and feminine
    "buy": ("اشترى", "اشترت", "يشتري", "تشتري"), "find": ("وجد", "وجدت", "", ""), "lose": ("أضاع", "أضاعت", "", ""),
    "wash": ("غسل", "غسلت", "يغسل", "تغسل"), "draw": ("رسم", "رسمت", "يرسم", "ترسم"),
    "repair": ("أصلح", "أصلحت", "يصلح", "تصلح"), "look_for": ("بحث", "بحثت", "يبحث", "تبحث"),
    "read": ("قرأ", "قرأت", "يقرأ", "تقرأ"), "photograph": ("صور", "صورت", "يصور", "تصور"),
    "feed": ("أطعم", "أطعمت", "يطعم", "تطعم"), "hide": ("أخفى", "أخفت", "يخفي", "تخفي"),
    "sell": ("باع", "باعت", "يبيع", "تبيع"), "give": ("أعطى", "أعطت", "", ""), "show": ("عرض", "عرضت", "", ""),
    "bring": ("أحضر", "أحضرت", "", ""), "lend": ("أعار", "أعارت", "", ""), "go": ("ذهب", "ذهبت", "يذهب", "تذهب"),
    "come_back": ("عاد", "عادت", "يعود", "تعود"), "sleep": ("نام", "نامت", "ينام", "تنام"),
    "sit": ("جلس", "جلست", "يجلس", "تجلس"), "eat": ("أكل", "أكلت", "يأكل", "تأكل"),
    "drink": ("شرب", "شربت", "يشرب", "تشرب"), "have": ("لدى", "", "", ""), "want": ("أراد", "أرادت", "يريد", "تريد"),
    "like": ("أحب", "أحبت", "يحب", "تحب"), "exist": ("وجد", "", "يوجد", "توجد"),
    "eat_soup": ("تناول", "", "يتناول", "تتناول"),
}  # fmt: skip

PLACES = {  # with the article, in it
    "kitchen": ("المطبخ", "في المطبخ"), "bedroom": ("غرفة النوم", "في غرفة النوم"),
    "living_room": ("غرفة الجلوس", "في غرفة الجلوس"), "office": ("المكتب", "في المكتب"),
    "library": ("المكتبة", "في المكتبة"), "market": ("السوق", "في السوق"), "shop": ("المتجر", "في المتجر"),
    "park": ("المتنزه", "في المتنزه"), "station": ("المحطة", "في المحطة"), "museum": ("المتحف", "في المتحف"),
    "garden": ("الحديقة", "في الحديقة"), "beach": ("الشاطئ", "على الشاطئ"), "school": ("المدرسة", "في المدرسة"),
    "village": ("القرية", "في القرية"), "hospital": ("المستشفى", "في المستشفى"),
}  # fmt: skip

TIMES = {
    "in_the_morning": "في الصباح", "at_noon": "عند الظهر", "in_the_evening": "في المساء", "every_day": "كل يوم",
    "on_sundays": "أيام الأحد", "on_weekends": "في عطلة نهاية الأسبوع", "yesterday": "أمس",
    "last_week": "في الأسبوع الماضي", "on_monday": "يوم الاثنين", "on_saturday": "يوم السبت",
    "this_morning": "هذا الصباح", "yesterday_evening": "مساء أمس", "today": "اليوم", "tomorrow": "غدا",
    "tonight": "الليلة",
}  # fmt: skip

NUMERALS = {  # counting masculine nouns, counting feminine nouns
    3: ("ثلاثة", "ثلاث"), 4: ("أربعة", "أربع"), 5: ("خمسة", "خمس"), 6: ("ستة", "ست"), 7: ("سبعة", "سبع"),
    8: ("ثمانية", "ثماني"), 9: ("تسعة", "تسع"), 10: ("عشرة", "عشر"),
}  # fmt: skip

RELATIONS = {"on": "على", "under": "تحت", "beside": "بجانب", "in": "في", "behind": "خلف"}


def _female(noun: str) -> bool:
    return NOUNS[noun][1] == "f"


def _definite(noun: str) -> str:
    row = NOUNS[noun]
    return row[3] if len(row) > 3 else "ال" + row[0]


def _tanwin(noun: str) -> str:
    """The indefinite accusative: an alif on a masculine noun that does not itself govern another."""
    text = NOUNS[noun][0]
    return text if _female(noun) or " " in text else text + "ا"


def _adjective(concept: str, noun: str) -> str:
    if concept == "old" and noun in concepts_.ANIMALS:
        return OLD_ANIMAL
    return ADJECTIVES[concept][_female(noun)]


def _np(np: m.NP, accusative: bool = False) -> str:
    thing = np.thing
    noun = thing.noun
    concepts = ([thing.colour] if np.colour else []) + ([thing.quality] if np.quality else [])
    adjectives = [_adjective(c, noun) for c in concepts]
    if np.owner is not None:  # idafa: the noun bare, its adjectives definite
        return " ".join([NOUNS[noun][0], NAMES[np.owner.name]] + ["ال" + a for a in adjectives])
    if np.definite:
        return " ".join([_definite(noun)] + ["ال" + a for a in adjectives])
    if not accusative:
        return " ".join([NOUNS[noun][0], *adjectives])
    for i, concept in enumerate(concepts):
        if adjectives[i] == OLD_ANIMAL or not (_female(noun) or concept in DIPTOTE):
            adjectives[i] += "ا"
    return " ".join([_tanwin(noun), *adjectives])


def _object(verb: str, np: m.NP, accusative: bool = False) -> str:
    """What a verb is done to; بحث takes it with عن."""
    return f"عن {_np(np)}" if verb == "look_for" else _np(np, accusative)


def _spot(spot: m.Spot) -> str:
    text = f"{RELATIONS[spot.relation]} {_np(spot.support)}"
    return text if spot.place is None else f"{text} {PLACES[spot.place][1]}"


def _name(person: m.Person) -> str:
    return NAMES[person.name]


def _at(place: str) -> str:
    return PLACES[place][1]


def _past(verb: str, who: m.Person) -> str:
    return VERBS[verb][who.female]


def _present(verb: str, female: bool) -> str:
    return VERBS[verb][2 + female]


def _it(noun: str) -> str:
    return "ها" if _female(noun) else "ه"


def _past_it(verb: str, who: m.Person, noun: str) -> str:
    text = _past(verb, who)
    return (text[:-1] + "ا" if text.endswith("ى") else text) + _it(noun)


def _counted(number: int, noun: str) -> str:
    return f"{NUMERALS[number][_female(noun)]} {NOUNS[noun][2]}"


class Arabic(Grammar):
    """Modern Standard Arabic, without vowel marks."""

    words: ClassVar[Words] = {
        "noun": {k: forms(v[0], _definite(k), _tanwin(k), *v[2:]) for k, v in NOUNS.items()}
        | {k: ("ال" + v,) for k, v in MASS.items()} | JOBS,
        "verb": {k: forms(*v) for k, v in VERBS.items()},
        "adjective": {k: forms(*v) for k, v in ADJECTIVES.items()},
        "place": {k: (v[0],) for k, v in PLACES.items()},
        "time": {k: (v,) for k, v in TIMES.items()},
        "numeral": {str(k): v for k, v in NUMERALS.items()},
        "name": {k: (v,) for k, v in NAMES.items()},
    }  # fmt: skip

    def past_act(self, p: m.PastAct) -> str:
        return f"{TIMES[p.time]} {_past(p.verb, p.who)} {_name(p.who)} {_object(p.verb, p.what, True)} {_at(p.place)}."

    def exists(self, p: m.Exists) -> str:
        return f"{_present('exist', _female(p.what.thing.noun))} {_np(p.what)} {_spot(p.spot)}."

    def located(self, p: m.Located) -> str:
        return f"{_np(p.what)} {_spot(p.spot)}."

    def has(self, p: m.Has) -> str:
        return f"لدى {_name(p.who)} {_np(p.first)} و{_np(p.second)}."

    def lacks(self, p: m.Lacks) -> str:
        return f"ليس لدى {_name(p.who)} {NOUNS[p.noun][0]}، لكن لدى {_name(p.other)} {_np(p.what)}."

    def _move(self, verb: str, place: str) -> str:
        return f"{'إلى' if verb == 'go' else 'من'} {PLACES[place][0]}"

    def job(self, p: m.Job) -> str:
        job = f"{_name(p.who)} {JOBS[p.who.job][p.who.female]}"
        move = f"{_present(p.verb, p.who.female)} مع {_name(p.companion)} {self._move(p.verb, p.place)}"
        return f"{job}، و{move} {TIMES[p.time]}."

    def motion(self, p: m.Motion) -> str:
        who = f"{_present(p.verb, p.who.female)} {_name(p.who)} و{_name(p.companion)}"
        return f"{TIMES[p.time]} {who} {self._move(p.verb, p.place)} ومعهما {_np(p.pet)}."

    def transfer(self, p: m.Transfer) -> str:
        recipient = ("على " if p.verb == "show" else "ل") + _name(p.recipient)
        return f"{TIMES[p.time]} {_past(p.verb, p.who)} {_name(p.who)} {_np(p.what)} {recipient} {_at(p.place)}."

    def which_place(self, p: m.WhichPlace) -> str:
        return f"هل {_np(p.what)} {_at(p.here)} أم {_at(p.there)}؟"

    def who_did(self, p: m.WhoDid) -> str:
        return f"من {VERBS[p.verb][0]} {_np(p.what)} {_at(p.place)} {TIMES[p.time]}؟"

    def not_but(self, p: m.NotBut) -> str:
        wrong = f"{'ليست' if p.wrong.female else 'ليس'} {_name(p.wrong)}"
        right = f"{_name(p.right)} {'هي التي' if p.right.female else 'هو الذي'}"
        return f"{wrong}، بل {right} {_past_it(p.verb, p.right, p.thing.noun)} {_at(p.place)} {TIMES[p.time]}."

    def _wants(self, who: m.Person) -> str:
        return f"{_present('want', who.female)} {_name(who)} أن"

    def want_question(self, p: m.WantQuestion) -> str:
        act = f"{_present(p.verb, p.who.female)} {_np(p.what)} {_at(p.place)}"
        return f"هل {self._wants(p.who)} {act} {TIMES[p.time]}؟"

    def want_yes(self, p: m.WantYes) -> str:
        female = p.who.female
        act = _present(p.verb, female) + _it(p.thing.noun)
        purchase = f"{_present('buy', female)} {_np(p.wished, accusative=True)}"
        return f"نعم، {self._wants(p.who)} {act} {TIMES[p.time]} وأن {purchase}."

    def want_no(self, p: m.WantNo) -> str:
        verb = _present(p.verb, p.who.female)
        wish = f"{_present('want', p.who.female)} أن {verb} {_np(p.instead)} {TIMES[p.time]}"
        return f"لا، لا {self._wants(p.who)} {verb}{_it(p.thing.noun)}، بل {wish}."

    def _that(self, who: m.Person, verb: str, noun: str) -> str:
        return f"{'التي' if _female(noun) else 'الذي'} {_past_it(verb, who, noun)} {_name(who)}"

    def relative_spot(self, p: m.RelativeSpot) -> str:
        noun = p.what.thing.noun
        clause = f"{self._that(p.who, p.verb, noun)} {_at(p.place)}"
        return f"{_np(p.what)} {clause} {'موجودة' if _female(noun) else 'موجود'} {_spot(p.spot)}."

    def relative_quality(self, p: m.RelativeQuality) -> str:
        thing = p.what.thing
        clause = f"{self._that(p.who, p.verb, thing.noun)} {_at(p.place)} {TIMES[p.time]}"
        return f"{_np(p.what)} {clause} {_adjective(thing.quality, thing.noun)} جدا."

    def contrast(self, p: m.Contrast) -> str:
        first, second = p.first.thing, p.second.thing
        one = f"{_adjective(first.colour, first.noun)} و{_adjective(first.quality, first.noun)} جدا"
        two = f"{_adjective(second.colour, second.noun)} و{_adjective(second.quality, second.noun)} جدا"
        return f"{_np(p.first)} {one}، أما {_np(p.second)} ف{two}."

    def while_(self, p: m.While) -> str:
        first = f"{_present(p.verb, p.who.female)} {_name(p.who)} {_object(p.verb, p.what)} {_at(p.place)}"
        second = f"{_present(p.other_verb, p.other.female)} {_name(p.other)} {_object(p.other_verb, p.other_what)}"
        return f"بينما {first}، {second}."

    def _have(self, who: m.Person, drink: str, food: str, subject: str) -> str:
        eats = f"{_present('eat_soup' if food == 'soup' else 'eat', who.female)} ال{MASS[food]}"
        return f"{_present('drink', who.female)} {subject}ال{MASS[drink]} و{eats}"

    def meal(self, p: m.Meal) -> str:
        meal = self._have(p.who, p.drink, p.food, _name(p.who) + " ")
        return f"{TIMES[p.time]} {meal} مع {_name(p.companion)} {_at(p.place)}."

    def meal_not(self, p: m.MealNot) -> str:
        refusal = f"لا {_present('drink', p.who.female)} {_name(p.who)} ال{MASS[p.refused]} {_at(p.place)}"
        return f"{TIMES[p.time]} {refusal}، بل {self._have(p.who, p.drink, p.food, '')}."

    def how_many(self, p: m.HowMany) -> str:
        what = f"{_tanwin(p.noun)} وكم {_tanwin(p.second_noun)}"
        return f"كم {what} {_past('buy', p.who)} {_name(p.who)} {_at(p.place)} {TIMES[p.time]}؟"

    def counts(self, p: m.Counts) -> str:
        what = f"{_counted(p.number, p.noun)} و{_counted(p.second_number, p.second_noun)}"
        return f"{TIMES[p.time]} {_past('buy', p.who)} {_name(p.who)} {what} {_at(p.place)}."

    def because(self, p: m.Because) -> str:
        state = f"{_name(p.who)} {ADJECTIVES[p.state][p.who.female]} جدا اليوم"
        she = "لأنها" if p.who.female else "لأنه"
        return f"{state} {she} {_past(p.verb, p.who)} {_object(p.verb, p.what)} {_at(p.place)}."

    def compare(self, p: m.Compare) -> str:
        return f"{_np(p.first)} {ADJECTIVES[p.quality][2]} من {_np(p.second)}."

    def rest(self, p: m.Rest) -> str:
        verb = _present(p.verb, _female(p.what.thing.noun))
        return f"{TIMES[p.time]} {verb} {_np(p.what)} {_spot(p.spot)}."

    def likes(self, p: m.Likes) -> str:
        first = f"{_present('like', p.who.female)} {_name(p.who)} {_np(p.what)}"
        return f"{first}، و{_present('like', p.other.female)} {_name(p.other)} {_np(p.other_what)}."


GRAMMAR = Arabic()
