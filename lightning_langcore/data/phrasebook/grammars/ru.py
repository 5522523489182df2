"""Russian: six cases, animacy, gender in adjectives and the past, нет with genitive, у with genitive."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

from lightning_langcore.data.phrasebook import concepts
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook.grammars.base import Grammar, Words, capital, forms

NAMES = {  # nominative, genitive, dative, instrumental
    "anna": ("Анна", "Анны", "Анне", "Анной"), "maria": ("Мария", "Марии", "Марии", "Марией"),
    "sofia": ("София", "Софии", "Софии", "Софией"), "elena": ("Елена", "Елены", "Елене", "Еленой"),
    "laura": ("Лаура", "Лауры", "Лауре", "Лаурой"), "sara": ("Сара", "Сары", "Саре", "Сарой"),
    "ivan": ("Иван", "Ивана", "Ивану", "Иваном"), "david": ("Давид", "Давида", "Давиду", "Давидом"),
    "daniel": ("Даниэль", "Даниэля", "Даниэлю", "Даниэлем"), "thomas": ("Томас", "Томаса", "Томасу", "Томасом"),
    "martin": ("Мартин", "Мартина", "Мартину", "Мартином"), "adam": ("Адам", "Адама", "Адаму", "Адамом"),
}  # fmt: skip

NOUNS = {  # gender, nominative, genitive, accusative, instrumental, prepositional
    "book": ("f", "книга", "книги", "книгу", "книгой", "книге"),
    "notebook": ("f", "тетрадь", "тетради", "тетрадь", "тетрадью", "тетради"),
    "key": ("m", "ключ", "ключа", "ключ", "ключом", "ключе"),
    "cup": ("f", "чашка", "чашки", "чашку", "чашкой", "чашке"),
    "knife": ("m", "нож", "ножа", "нож", "ножом", "ноже"),
    "umbrella": ("m", "зонт", "зонта", "зонт", "зонтом", "зонте"),
    "hat": ("f", "шляпа", "шляпы", "шляпу", "шляпой", "шляпе"),
    "phone": ("m", "телефон", "телефона", "телефон", "телефоном", "телефоне"),
    "box": ("f", "коробка", "коробки", "коробку", "коробкой", "коробке"),
    "basket": ("f", "корзина", "корзины", "корзину", "корзиной", "корзине"),
    "bag": ("f", "сумка", "сумки", "сумку", "сумкой", "сумке"),
    "lamp": ("f", "лампа", "лампы", "лампу", "лампой", "лампе"),
    "alarm_clock": ("m", "будильник", "будильника", "будильник", "будильником", "будильнике"),
    "pencil": ("m", "карандаш", "карандаша", "карандаш", "карандашом", "карандаше"),
    "ball": ("m", "мяч", "мяча", "мяч", "мячом", "мяче"),
    "plate": ("f", "тарелка", "тарелки", "тарелку", "тарелкой", "тарелке"),
    "bottle": ("f", "бутылка", "бутылки", "бутылку", "бутылкой", "бутылке"),
    "shirt": ("f", "рубашка", "рубашки", "рубашку", "рубашкой", "рубашке"),
    "camera": ("m", "фотоаппарат", "фотоаппарата", "фотоаппарат", "фотоаппаратом", "фотоаппарате"),
    "guitar": ("f", "гитара", "гитары", "гитару", "гитарой", "гитаре"),
    "towel": ("n", "полотенце", "полотенца", "полотенце", "полотенцем", "полотенце"),
    "scarf": ("m", "шарф", "шарфа", "шарф", "шарфом", "шарфе"),
    "suitcase": ("m", "чемодан", "чемодана", "чемодан", "чемоданом", "чемодане"),
    "vase": ("f", "ваза", "вазы", "вазу", "вазой", "вазе"),
    "car": ("f", "машина", "машины", "машину", "машиной", "машине"),
    "bicycle": ("m", "велосипед", "велосипеда", "велосипед", "велосипедом", "велосипеде"),
    "boat": ("f", "лодка", "лодки", "лодку", "лодкой", "лодке"),
    "cat": ("f", "кошка", "кошки", "кошку", "кошкой", "кошке"),
    "dog": ("f", "собака", "собаки", "собаку", "собакой", "собаке"),
    "horse": ("f", "лошадь", "лошади", "лошадь", "лошадью", "лошади"),
    "bird": ("f", "птица", "птицы", "птицу", "птицей", "птице"),
    "rabbit": ("m", "кролик", "кролика", "кролика", "кроликом", "кролике"),
    "duck": ("f", "утка", "утки", "утку", "уткой", "утке"),
    "table": ("m", "стол", "стола", "стол", "столом", "столе"),
    "chair": ("m", "стул", "стула", "стул", "стулом", "стуле"),
    "shelf": ("f", "полка", "полки", "полку", "полкой", "полке"),
    "bed": ("f", "кровать", "кровати", "кровать", "кроватью", "кровати"),
    "sofa": ("m", "диван", "дивана", "диван", "диваном", "диване"),
    "wardrobe": ("m", "шкаф", "шкафа", "шкаф", "шкафом", "шкафу"),
}
COUNTED = {  # nominative singular, genitive singular (3, 4), genitive plural (5 and more, how many)
    "apple": ("яблоко", "яблока", "яблок"), "egg": ("яйцо", "яйца", "яиц"),
    "orange": ("апельсин", "апельсина", "апельсинов"), "lemon": ("лимон", "лимона", "лимонов"),
    "banana": ("банан", "банана", "бананов"), "cake": ("торт", "торта", "тортов"),
    "cup": ("чашка", "чашки", "чашек"), "plate": ("тарелка", "тарелки", "тарелок"),
    "pencil": ("карандаш", "карандаша", "карандашей"), "notebook": ("тетрадь", "тетради", "тетрадей"),
    "bottle": ("бутылка", "бутылки", "бутылок"), "book": ("книга", "книги", "книг"),
}  # fmt: skip
STANDING = ("cup", "box", "basket", "lamp", "alarm_clock", "plate", "bottle", "suitcase", "vase")  # the rest lies
MASS = {  # nominative, accusative
    "bread": ("хлеб", "хлеб"), "rice": ("рис", "рис"), "soup": ("суп", "суп"), "cheese": ("сыр", "сыр"),
    "tea": ("чай", "чай"), "coffee": ("кофе", "кофе"), "milk": ("молоко", "молоко"), "juice": ("сок", "сок"),
    "water": ("вода", "воду"),
}  # fmt: skip
JOBS = {  # of a man, of a woman
    "doctor": ("врач", "врач"), "teacher": ("учитель", "учительница"), "student": ("студент", "студентка"),
    "cook": ("повар", "повар"), "writer": ("писатель", "писательница"), "engineer": ("инженер", "инженер"),
    "painter": ("художник", "художница"), "farmer": ("фермер", "фермер"), "driver": ("водитель", "водитель"),
    "singer": ("певец", "певица"),
}  # fmt: skip

ADJECTIVES = {  # masculine nominative, stem, comparative
    "red": ("красный", "красн", ""), "blue": ("синий", "син", ""), "green": ("зелёный", "зелён", ""),
    "yellow": ("жёлтый", "жёлт", ""), "white": ("белый", "бел", ""), "black": ("чёрный", "чёрн", ""),
    "grey": ("серый", "сер", ""), "brown": ("коричневый", "коричнев", ""), "big": ("большой", "больш", "больше"),
    "small": ("маленький", "маленьк", "меньше"), "new": ("новый", "нов", "новее"),
    "old": ("старый", "стар", "старее"),
    "beautiful": ("красивый", "красив", "красивее"), "heavy": ("тяжёлый", "тяжёл", "тяжелее"),
    "light": ("лёгкий", "лёгк", "легче"), "expensive": ("дорогой", "дорог", "дороже"),
    "clean": ("чистый", "чист", "чище"), "dirty": ("грязный", "грязн", "грязнее"),
}  # fmt: skip
STATES = {"happy": ("рад", "рада"), "tired": ("устал", "устала"), "sad": ("расстроен", "расстроена")}

# What one is tired from is imperfective in the past too: "устал, потому что чинил".
VERBS = {  # infinitive, present singular, past masculine, past feminine, imperfective infinitive after "не хочет"
    "buy": ("купить", "", "купил", "купила", ""), "find": ("найти", "", "нашёл", "нашла", ""),
    "lose": ("потерять", "", "потерял", "потеряла", ""), "wash": ("вымыть", "моет", "мыл", "мыла", "мыть"),
    "draw": ("нарисовать", "рисует", "", "", "рисовать"),
    "repair": ("починить", "чинит", "чинил", "чинила", "чинить"),
    "look_for": ("искать", "ищет", "искал", "искала", ""), "read": ("прочитать", "читает", "", "", "читать"),
    "photograph": ("сфотографировать", "фотографирует", "", "", "фотографировать"),
    "feed": ("кормить", "кормит", "", "", ""), "hide": ("спрятать", "", "", "", "прятать"),
    "sell": ("продать", "", "продал", "продала", "продавать"), "give": ("подарить", "", "подарил", "подарила", ""),
    "show": ("показать", "", "показал", "показала", ""), "bring": ("принести", "", "принёс", "принесла", ""),
    "lend": ("одолжить", "", "одолжил", "одолжила", ""), "go": ("ходить", "ходит", "", "", ""),
    "come_back": ("возвращаться", "возвращается", "", "", ""), "sleep": ("спать", "спит", "", "", ""),
    "sit": ("сидеть", "сидит", "", "", ""), "eat": ("есть", "ест", "", "", ""), "drink": ("пить", "пьёт", "", "", ""),
    "have": ("есть", "есть", "", "", ""), "want": ("хотеть", "хочет", "", "", ""),
    "like": ("нравиться", "нравится", "", "", ""),
}  # fmt: skip
WASH_CLOTH = ("постирать", "стирает", "стирал", "стирала", "стирать")  # cloth is not мыть
CLOTH = ("shirt", "towel", "scarf", "hat")
GO_PLURAL = {"go": "ходят", "come_back": "возвращаются"}

PLACES = {  # noun, in it, towards it, away from it
    "kitchen": ("кухня", "на кухне", "на кухню", "с кухни"),
    "bedroom": ("спальня", "в спальне", "в спальню", "из спальни"),
    "living_room": ("гостиная", "в гостиной", "в гостиную", "из гостиной"),
    "office": ("кабинет", "в кабинете", "в кабинет", "из кабинета"),
    "library": ("библиотека", "в библиотеке", "в библиотеку", "из библиотеки"),
    "market": ("рынок", "на рынке", "на рынок", "с рынка"),
    "shop": ("магазин", "в магазине", "в магазин", "из магазина"),
    "park": ("парк", "в парке", "в парк", "из парка"),
    "station": ("вокзал", "на вокзале", "на вокзал", "с вокзала"),
    "museum": ("музей", "в музее", "в музей", "из музея"),
    "garden": ("сад", "в саду", "в сад", "из сада"),
    "beach": ("пляж", "на пляже", "на пляж", "с пляжа"),
    "school": ("школа", "в школе", "в школу", "из школы"),
    "village": ("деревня", "в деревне", "в деревню", "из деревни"),
    "hospital": ("больница", "в больнице", "в больницу", "из больницы"),
}

TIMES = {
    "in_the_morning": "по утрам", "at_noon": "в полдень", "in_the_evening": "по вечерам", "every_day": "каждый день",
    "on_sundays": "по воскресеньям", "on_weekends": "по выходным", "yesterday": "вчера",
    "last_week": "на прошлой неделе", "on_monday": "в понедельник", "on_saturday": "в субботу",
    "this_morning": "сегодня утром", "yesterday_evening": "вчера вечером", "today": "сегодня", "tomorrow": "завтра",
    "tonight": "сегодня вечером",
}  # fmt: skip

NUMERALS = {3: "три", 4: "четыре", 5: "пять", 6: "шесть", 7: "семь", 8: "восемь", 9: "девять", 10: "десять"}

NOM, GEN, ACC, INS, PRE = 1, 2, 3, 4, 5  # columns of NOUNS
RELATIONS = {
    "on": ("на", PRE), "under": ("под", INS), "beside": ("рядом с", INS), "in": ("в", PRE), "behind": ("за", INS),
}  # fmt: skip

# Endings after a hard stem: gender -> nominative, genitive, accusative (inanimate), instrumental, prepositional.
_HARD = {
    "m": ("ый", "ого", "ый", "ым", "ом"),
    "f": ("ая", "ой", "ую", "ой", "ой"),
    "n": ("ое", "ого", "ое", "ым", "ом"),
}
_SOFT = {
    "m": ("ий", "его", "ий", "им", "ем"),
    "f": ("яя", "ей", "юю", "ей", "ей"),
    "n": ("ее", "его", "ее", "им", "ем"),
}


@cache
def adjective(concept: str, gender: str, case: int, animate: bool = False) -> str:
    """An adjective's form in agreement with a noun of this gender and case."""
    nominative, stem, _ = ADJECTIVES[concept]
    if gender == "m" and case == ACC:
        case = GEN if animate else NOM
    if gender == "m" and case == NOM:
        return nominative
    ending = (_SOFT if concept == "blue" else _HARD)[gender][case - 1]
    if stem[-1] in "кгхш" and ending[0] == "ы":
        ending = "и" + ending[1:]
    return stem + ending


def _np(np: m.NP, case: int = NOM) -> str:
    thing = np.thing
    noun = NOUNS[thing.noun]
    animate = thing.noun in concepts.ANIMALS
    words = [adjective(thing.quality, noun[0], case, animate)] if np.quality else []
    if np.colour:
        words.append(adjective(thing.colour, noun[0], case, animate))
    words.append(noun[case])
    if np.owner is not None:
        words.append(NAMES[np.owner.name][1])
    return " ".join(words)


def _with(text: str) -> str:
    return ("со " if text.startswith("ст") else "с ") + text


def _spot(spot: m.Spot) -> str:
    preposition, case = RELATIONS[spot.relation]
    support = _np(spot.support, case)
    text = f"рядом {_with(support)}" if spot.relation == "beside" else f"{preposition} {support}"
    return text if spot.place is None else f"{text} {PLACES[spot.place][1]}"


def _name(person: m.Person) -> str:
    return NAMES[person.name][0]


def _at(place: str) -> str:
    return PLACES[place][1]


def _verb(verb: str, noun: str) -> tuple[str, ...]:
    return WASH_CLOTH if verb == "wash" and noun in CLOTH else VERBS[verb]


def _did(verb: str, female: bool, noun: str = "") -> str:
    return _verb(verb, noun)[3 if female else 2]


def _her(noun: str) -> str:
    return "её" if NOUNS[noun][0] == "f" else "его"


def _stands(np: m.NP) -> str:
    return "стоит" if np.thing.noun in STANDING else "лежит"


def _which(noun: str) -> str:
    gender = NOUNS[noun][0]
    if gender == "m":
        return "которого" if noun in concepts.ANIMALS else "который"
    return "которую" if gender == "f" else "которое"


def _counted(number: int, noun: str) -> str:
    return f"{NUMERALS[number]} {COUNTED[noun][1 if number < 5 else 2]}"


def _adjective_forms(concept: str) -> tuple[str, ...]:
    cases = (NOM, GEN, ACC, INS, PRE)
    declined = (adjective(concept, g, c, animate) for g in "mfn" for c in cases for animate in (False, True))
    return forms(*declined, ADJECTIVES[concept][2])


class Russian(Grammar):
    """Russian."""

    words: ClassVar[Words] = {
        "noun": {k: forms(*v[1:], *COUNTED.get(k, ())) for k, v in NOUNS.items()}
        | {k: forms(*COUNTED[k]) for k in concepts.PRODUCE}
        | {k: forms(*v) for k, v in (MASS | JOBS).items()},
        "verb": {k: forms(*v, GO_PLURAL.get(k, "")) for k, v in VERBS.items()} | {"wash_cloth": forms(*WASH_CLOTH)},
        "adjective": {k: _adjective_forms(k) for k in ADJECTIVES} | {k: forms(*v) for k, v in STATES.items()},
        "place": {k: forms(v[0], *(text.split()[-1] for text in v[1:])) for k, v in PLACES.items()},
        "time": {k: (v, capital(v)) for k, v in TIMES.items()},
        "numeral": {str(k): (v,) for k, v in NUMERALS.items()},
        "name": {k: forms(*v) for k, v in NAMES.items()},
    }

    def past_act(self, p: m.PastAct) -> str:
        act = f"{_name(p.who)} {_did(p.verb, p.who.female)} {_at(p.place)} {_np(p.what, ACC)}"
        return f"{capital(TIMES[p.time])} {act}."

    def exists(self, p: m.Exists) -> str:
        spot = m.Spot(p.spot.relation, p.spot.support, None)
        place = "" if p.spot.place is None else PLACES[p.spot.place][1] + " "
        return f"{capital(place + _spot(spot))} {_stands(p.what)} {_np(p.what)}."

    def located(self, p: m.Located) -> str:
        return f"{capital(_np(p.what))} {_stands(p.what)} {_spot(p.spot)}."

    def has(self, p: m.Has) -> str:
        return f"У {NAMES[p.who.name][1]} есть {_np(p.first)} и {_np(p.second)}."

    def lacks(self, p: m.Lacks) -> str:
        return f"У {NAMES[p.who.name][1]} нет {NOUNS[p.noun][GEN]}, но у {NAMES[p.other.name][1]} есть {_np(p.what)}."

    def job(self, p: m.Job) -> str:
        who = f"{_name(p.who)} — {JOBS[p.who.job][p.who.female]}"
        she = "она" if p.who.female else "он"
        way = PLACES[p.place][2 if p.verb == "go" else 3]
        move = f"{she} {VERBS[p.verb][1]} {way} {_with(NAMES[p.companion.name][3])}"
        return f"{who}, и {TIMES[p.time]} {move}."

    def motion(self, p: m.Motion) -> str:
        move = f"{GO_PLURAL[p.verb]} {PLACES[p.place][2 if p.verb == 'go' else 3]} {_with(_np(p.pet, INS))}"
        return f"{capital(TIMES[p.time])} {_name(p.who)} и {_name(p.companion)} {move}."

    def transfer(self, p: m.Transfer) -> str:
        act = f"{_did(p.verb, p.who.female)} {NAMES[p.recipient.name][2]}"
        if p.verb == "bring":
            return f"{capital(TIMES[p.time])} {_name(p.who)} {act} {PLACES[p.place][2]} {_np(p.what, ACC)}."
        return f"{capital(TIMES[p.time])} {_at(p.place)} {_name(p.who)} {act} {_np(p.what, ACC)}."

    def which_place(self, p: m.WhichPlace) -> str:
        return f"{capital(_np(p.what))} {_stands(p.what)} {_at(p.here)} или {_at(p.there)}?"

    def who_did(self, p: m.WhoDid) -> str:
        return f"Кто {TIMES[p.time]} {_did(p.verb, False)} {_at(p.place)} {_np(p.what, ACC)}?"

    def not_but(self, p: m.NotBut) -> str:
        act = f"{_did(p.verb, p.right.female)} {_her(p.thing.noun)} {TIMES[p.time]} {_at(p.place)}"
        return f"Не {_name(p.wrong)}, а {_name(p.right)} {act}."

    def want_question(self, p: m.WantQuestion) -> str:
        act = f"{_verb(p.verb, p.what.thing.noun)[0]} {_at(p.place)} {_np(p.what, ACC)}"
        return f"Хочет ли {_name(p.who)} {TIMES[p.time]} {act}?"

    def want_yes(self, p: m.WantYes) -> str:
        act = f"{_verb(p.verb, p.thing.noun)[0]} {_her(p.thing.noun)}"
        return f"Да, {_name(p.who)} хочет {TIMES[p.time]} {act} и купить {_np(p.wished, ACC)}."

    def want_no(self, p: m.WantNo) -> str:
        she = "она" if p.who.female else "он"
        wish = f"{TIMES[p.time]} {she} хочет {_verb(p.verb, p.instead.thing.noun)[0]} {_np(p.instead, ACC)}"
        return f"Нет, {_name(p.who)} не хочет {_her(p.thing.noun)} {_verb(p.verb, p.thing.noun)[4]}; {wish}."

    def relative_spot(self, p: m.RelativeSpot) -> str:
        clause = f"{_which(p.what.thing.noun)} {_name(p.who)} {_did(p.verb, p.who.female)} {_at(p.place)}"
        return f"{capital(_np(p.what))}, {clause}, {_stands(p.what)} {_spot(p.spot)}."

    def relative_quality(self, p: m.RelativeQuality) -> str:
        thing = p.what.thing
        act = f"{_name(p.who)} {_did(p.verb, p.who.female)} {TIMES[p.time]} {_at(p.place)}"
        quality = adjective(thing.quality, NOUNS[thing.noun][0], NOM)
        return f"{capital(_np(p.what))}, {_which(thing.noun)} {act}, очень {quality}."

    def _is(self, np: m.NP) -> str:
        thing, gender = np.thing, NOUNS[np.thing.noun][0]
        return f"{_np(np)} {adjective(thing.colour, gender, NOM)} и очень {adjective(thing.quality, gender, NOM)}"

    def contrast(self, p: m.Contrast) -> str:
        return f"{capital(self._is(p.first))}, а {self._is(p.second)}."

    def while_(self, p: m.While) -> str:
        verb, other_verb = _verb(p.verb, p.what.thing.noun)[1], _verb(p.other_verb, p.other_what.thing.noun)[1]
        first = f"{_name(p.who)} {verb} {_at(p.place)} {_np(p.what, ACC)}"
        return f"Пока {first}, {_name(p.other)} {other_verb} {_np(p.other_what, ACC)}."

    def meal(self, p: m.Meal) -> str:
        who = f"{_name(p.who)} вместе {_with(NAMES[p.companion.name][3])}"
        return f"{capital(TIMES[p.time])} {_at(p.place)} {who} пьёт {MASS[p.drink][1]} и ест {MASS[p.food][1]}."

    def meal_not(self, p: m.MealNot) -> str:
        refusal = f"{_name(p.who)} не пьёт {MASS[p.refused][1]}"
        meal = f"{'она' if p.who.female else 'он'} пьёт {MASS[p.drink][1]} и ест {MASS[p.food][1]}"
        return f"{capital(TIMES[p.time])} {_at(p.place)} {refusal}: {meal}."

    def how_many(self, p: m.HowMany) -> str:
        what = f"{COUNTED[p.noun][2]} и сколько {COUNTED[p.second_noun][2]}"
        return f"Сколько {what} {_name(p.who)} {_did('buy', p.who.female)} {TIMES[p.time]} {_at(p.place)}?"

    def counts(self, p: m.Counts) -> str:
        what = f"{_counted(p.number, p.noun)} и {_counted(p.second_number, p.second_noun)}"
        act = f"{_name(p.who)} {_did('buy', p.who.female)} {_at(p.place)} {what}"
        return f"{capital(TIMES[p.time])} {act}."

    def because(self, p: m.Because) -> str:
        cause = f"{_did(p.verb, p.who.female, p.what.thing.noun)} {_at(p.place)} {_np(p.what, ACC)}"
        return f"{_name(p.who)} сегодня очень {STATES[p.state][p.who.female]}, потому что {cause}."

    def compare(self, p: m.Compare) -> str:
        return f"{capital(_np(p.first))} {ADJECTIVES[p.quality][2]}, чем {_np(p.second)}."

    def rest(self, p: m.Rest) -> str:
        return f"{capital(TIMES[p.time])} {_np(p.what)} {VERBS[p.verb][1]} {_spot(p.spot)}."

    def likes(self, p: m.Likes) -> str:
        first = f"{NAMES[p.who.name][2]} нравится {_np(p.what)}"
        return f"{first}, а {NAMES[p.other.name][2]} нравится {_np(p.other_what)}."


GRAMMAR = Russian()
