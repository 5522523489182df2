"""Korean: verb last, particles by the final consonant, counters, the polite -ㅂ니다 style throughout."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import concepts
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook.grammars.base import Grammar, Words, forms

NAMES = {
    "anna": "안나", "maria": "마리아", "sofia": "소피아", "elena": "엘레나", "laura": "로라", "sara": "사라",
    "ivan": "이반", "david": "데이비드", "daniel": "다니엘", "thomas": "토마스", "martin": "마틴", "adam": "아담",
}  # fmt: skip

NOUNS = {  # noun, counter
    "book": ("책", "권"), "notebook": ("공책", "권"), "key": ("열쇠", "개"), "cup": ("컵", "개"),
    "knife": ("칼", "자루"),
    "umbrella": ("우산", "개"), "hat": ("모자", "개"), "phone": ("휴대폰", "대"), "box": ("상자", "개"),
    "basket": ("바구니", "개"), "bag": ("가방", "개"), "lamp": ("램프", "개"), "alarm_clock": ("자명종", "개"),
    "pencil": ("연필", "자루"), "ball": ("공", "개"), "plate": ("접시", "개"), "bottle": ("병", "개"),
    "shirt": ("셔츠", "벌"), "camera": ("카메라", "대"), "guitar": ("기타", "대"), "towel": ("수건", "장"),
    "scarf": ("목도리", "개"), "suitcase": ("여행 가방", "개"), "vase": ("꽃병", "개"), "car": ("자동차", "대"),
    "bicycle": ("자전거", "대"), "boat": ("보트", "척"), "cat": ("고양이", "마리"), "dog": ("개", "마리"),
    "horse": ("말", "마리"), "bird": ("새", "마리"), "rabbit": ("토끼", "마리"), "duck": ("오리", "마리"),
    "table": ("탁자", "개"), "chair": ("의자", "개"), "shelf": ("선반", "개"), "bed": ("침대", "개"),
    "sofa": ("소파", "개"), "wardrobe": ("옷장", "개"), "apple": ("사과", "개"), "egg": ("달걀", "개"),
    "orange": ("오렌지", "개"), "lemon": ("레몬", "개"), "banana": ("바나나", "개"), "cake": ("케이크", "조각"),
}  # fmt: skip
MASS = {
    "bread": "빵", "rice": "밥", "soup": "수프", "cheese": "치즈", "tea": "차", "coffee": "커피", "milk": "우유",
    "juice": "주스", "water": "물",
}  # fmt: skip
JOBS = {
    "doctor": "의사", "teacher": "교사", "student": "학생", "cook": "요리사", "writer": "작가", "engineer": "기술자",
    "painter": "화가", "farmer": "농부", "driver": "운전사", "singer": "가수",
}  # fmt: skip

ADJECTIVES = {  # before the noun, "... and", "... but", polite
    "red": ("빨간", "빨갛고", "", ""), "blue": ("파란", "파랗고", "", ""), "green": ("초록색", "초록색이고", "", ""),
    "yellow": ("노란", "노랗고", "", ""), "white": ("하얀", "하얗고", "", ""), "black": ("검은", "검고", "", ""),
    "grey": ("회색", "회색이고", "", ""), "brown": ("갈색", "갈색이고", "", ""), "big": ("큰", "", "크지만", "큽니다"),
    "small": ("작은", "", "작지만", "작습니다"), "new": ("새", "", "", ""),
    "old": ("낡은", "", "낡았지만", "낡았습니다"),
    "beautiful": ("예쁜", "", "예쁘지만", "예쁩니다"), "heavy": ("무거운", "", "무겁지만", "무겁습니다"),
    "light": ("가벼운", "", "가볍지만", "가볍습니다"), "expensive": ("비싼", "", "비싸지만", "비쌉니다"),
    "clean": ("깨끗한", "", "깨끗하지만", "깨끗합니다"), "dirty": ("더러운", "", "더럽지만", "더럽습니다"),
    "happy": ("행복한", "", "", "행복합니다"), "tired": ("피곤한", "", "", "피곤합니다"),
    "sad": ("슬픈", "", "", "슬퍼합니다"),
}  # fmt: skip
OLD_ANIMAL = ("늙은", "", "늙었지만", "늙었습니다")  # things are 낡다

VERBS = {  # citation, present polite, past stem, before a noun in the past, before 때 (-ㄹ), "... and" (-고)
    "buy": ("사다", "삽니다", "샀", "산", "살", "사고"), "find": ("발견하다", "", "발견했", "발견한", "", ""),
    "lose": ("잃어버리다", "", "잃어버렸", "", "", ""), "wash": ("닦다", "닦습니다", "닦았", "", "닦을", "닦고"),
    "draw": ("그리다", "그립니다", "", "", "그릴", "그리고"),
    "repair": ("고치다", "고칩니다", "고쳤", "", "고칠", "고치고"),
    "look_for": ("찾아다니다", "찾아다닙니다", "찾아다녔", "", "찾아다닐", ""),
    "read": ("읽다", "읽습니다", "", "", "읽을", "읽고"),
    "photograph": ("찍다", "찍습니다", "", "", "찍을", "찍고"),
    "feed": ("먹이를 주다", "먹이를 줍니다", "", "", "먹이를 줄", ""),
    "hide": ("숨기다", "", "", "", "", "숨기고"), "sell": ("팔다", "", "팔았", "", "", "팔고"),
    "give": ("주다", "", "주었", "", "", ""), "show": ("보여 주다", "", "보여 주었", "", "", ""),
    "bring": ("가져다주다", "", "가져다주었", "", "", ""), "lend": ("빌려주다", "", "빌려주었", "", "", ""),
    "go": ("가다", "갑니다", "", "", "", ""), "come_back": ("돌아오다", "돌아옵니다", "", "", "", ""),
    "sleep": ("자다", "잡니다", "", "", "", ""), "sit": ("앉다", "앉아 있습니다", "", "", "", ""),
    "eat": ("먹다", "먹습니다", "", "", "", "먹고"), "drink": ("마시다", "마십니다", "", "", "", "마시고"),
    "have": ("있다", "있습니다", "", "", "", ""), "want": ("싶어 하다", "싶어 합니다", "", "", "", ""),
    "like": ("좋아하다", "좋아합니다", "", "", "", "좋아하고"),
}  # fmt: skip
# Washing goes by what is washed: cloth is 빨다, an animal 씻기다, anything else 닦다.
WASH_CLOTH = ("빨다", "빱니다", "빨았", "", "빨", "빨고")
WASH_ANIMAL = ("씻기다", "씻깁니다", "씻겼", "", "씻길", "씻기고")
CLOTH = ("shirt", "towel", "scarf", "hat", "bag")

PLACES = {
    "kitchen": "부엌", "bedroom": "침실", "living_room": "거실", "office": "사무실", "library": "도서관",
    "market": "시장", "shop": "가게", "park": "공원", "station": "역", "museum": "박물관", "garden": "정원",
    "beach": "해변", "school": "학교", "village": "마을", "hospital": "병원",
}  # fmt: skip

TIMES = {
    "in_the_morning": "아침에", "at_noon": "정오에", "in_the_evening": "저녁에", "every_day": "매일",
    "on_sundays": "일요일마다", "on_weekends": "주말에", "yesterday": "어제", "last_week": "지난주에",
    "on_monday": "월요일에", "on_saturday": "토요일에", "this_morning": "오늘 아침에",
    "yesterday_evening": "어제저녁에",
    "today": "오늘", "tomorrow": "내일", "tonight": "오늘 밤에",
}  # fmt: skip

NUMERALS = {3: "세", 4: "네", 5: "다섯", 6: "여섯", 7: "일곱", 8: "여덟", 9: "아홉", 10: "열"}

RELATIONS = {"on": "위", "under": "아래", "beside": "옆", "in": "안", "behind": "뒤"}


def _closed(text: str) -> bool:
    """Whether the last syllable ends in a consonant (the jamo arithmetic of precomposed Hangul)."""
    return (ord(text[-1]) - 0xAC00) % 28 != 0


def _topic(text: str) -> str:
    return text + ("은" if _closed(text) else "는")


def _subject(text: str) -> str:
    return text + ("이" if _closed(text) else "가")


def _object(text: str) -> str:
    return text + ("을" if _closed(text) else "를")


def _and(text: str) -> str:
    return text + ("과" if _closed(text) else "와")


def _np(np: m.NP) -> str:
    thing = np.thing
    words = [ADJECTIVES[thing.colour][0]] if np.colour else []
    if np.quality:
        quality = _quality(thing)[0]
        words = [*words, quality] if thing.quality == "new" else [quality, *words]  # 빨간 새 가방, but 큰 빨간 가방
    if np.owner is not None:
        words.insert(0, NAMES[np.owner.name] + "의")
    return " ".join([*words, NOUNS[thing.noun][0]])


def _quality(thing: m.Thing) -> tuple[str, str, str, str]:
    return OLD_ANIMAL if thing.quality == "old" and thing.noun in concepts.ANIMALS else ADJECTIVES[thing.quality]


def _spot(spot: m.Spot) -> str:
    text = f"{_np(spot.support)} {RELATIONS[spot.relation]}"
    return text if spot.place is None else f"{PLACES[spot.place]}의 {text}"


def _name(person: m.Person) -> str:
    return NAMES[person.name]


def _at(place: str) -> str:
    return PLACES[place] + "에서"


def _verb(verb: str, noun: str) -> tuple[str, str, str, str, str, str]:
    if verb == "wash" and noun in CLOTH:
        return WASH_CLOTH
    if verb == "wash" and noun in concepts.ANIMALS:
        return WASH_ANIMAL
    return VERBS[verb]


def _done_to(verb: str, text: str) -> str:
    """The object as this verb takes it."""
    if verb == "feed":
        return text + "에게"
    return f"{text}의 사진을" if verb == "photograph" else _object(text)


def _it(thing: m.Thing) -> str:
    """What takes up a thing again; an animal or a vehicle is not 그것 but named."""
    return f"그 {NOUNS[thing.noun][0]}" if thing.noun in concepts.ANIMALS or thing.noun in concepts.VEHICLES else "그것"


class Korean(Grammar):
    """Korean, in the polite style."""

    words: ClassVar[Words] = {
        "noun": {k: (v[0],) for k, v in NOUNS.items()} | {k: (v,) for k, v in (MASS | JOBS).items()},
        "counter": {NOUNS[k][1]: (NOUNS[k][1],) for k in concepts.COUNTED},
        "verb": {k: forms(*v) for k, v in VERBS.items()}
        | {"wash_cloth": forms(*WASH_CLOTH), "wash_animal": forms(*WASH_ANIMAL)},
        "adjective": {k: forms(*v) for k, v in ADJECTIVES.items()} | {"old_animal": forms(*OLD_ANIMAL)},
        "place": {k: (v,) for k, v in PLACES.items()},
        "time": {k: (v,) for k, v in TIMES.items()},
        "numeral": {str(k): (v,) for k, v in NUMERALS.items()},
        "name": {k: (v,) for k, v in NAMES.items()},
    }  # fmt: skip

    def past_act(self, p: m.PastAct) -> str:
        act = f"{_at(p.place)} {_object(_np(p.what))} {VERBS[p.verb][2]}습니다"
        return f"{TIMES[p.time]} {_topic(_name(p.who))} {act}."

    def exists(self, p: m.Exists) -> str:
        return f"{_spot(p.spot)}에 {_subject(_np(p.what))} 있습니다."

    def located(self, p: m.Located) -> str:
        return f"{_topic(_np(p.what))} {_spot(p.spot)}에 있습니다."

    def has(self, p: m.Has) -> str:
        return f"{_name(p.who)}에게는 {_and(_np(p.first))} {_subject(_np(p.second))} 있습니다."

    def lacks(self, p: m.Lacks) -> str:
        lack = f"{_name(p.who)}에게는 {_subject(NOUNS[p.noun][0])} 없지만"
        return f"{lack} {_name(p.other)}에게는 {_subject(_np(p.what))} 있습니다."

    def _move(self, verb: str, place: str) -> str:
        return f"{PLACES[place]}{'에' if verb == 'go' else '에서'} {VERBS[verb][1]}"

    def job(self, p: m.Job) -> str:
        job = f"{_topic(_name(p.who))} {JOBS[p.who.job]}이고"
        return f"{job} {TIMES[p.time]} {_and(_name(p.companion))} 함께 {self._move(p.verb, p.place)}."

    def motion(self, p: m.Motion) -> str:
        who = f"{_and(_name(p.who))} {_topic(_name(p.companion))}"
        taking = "데리고" if p.pet.thing.noun in concepts.ANIMALS else "가지고"
        return f"{TIMES[p.time]} {who} {_object(_np(p.pet))} {taking} {self._move(p.verb, p.place)}."

    def transfer(self, p: m.Transfer) -> str:
        act = f"{_name(p.recipient)}에게 {_object(_np(p.what))} {VERBS[p.verb][2]}습니다"
        return f"{TIMES[p.time]} {_topic(_name(p.who))} {_at(p.place)} {act}."

    def which_place(self, p: m.WhichPlace) -> str:
        return f"{_topic(_np(p.what))} {PLACES[p.here]}에 있습니까, {PLACES[p.there]}에 있습니까?"

    def who_did(self, p: m.WhoDid) -> str:
        return f"{TIMES[p.time]} {_at(p.place)} 누가 {_object(_np(p.what))} {VERBS[p.verb][2]}습니까?"

    def not_but(self, p: m.NotBut) -> str:
        act = f"{TIMES[p.time]} {_at(p.place)} {_object(_it(p.thing))} {VERBS[p.verb][2]}습니다"
        return f"{_subject(_name(p.wrong))} 아니라 {_subject(_name(p.right))} {act}."

    def want_question(self, p: m.WantQuestion) -> str:
        act = f"{_done_to(p.verb, _np(p.what))} {_verb(p.verb, p.what.thing.noun)[5]} 싶어 합니까"
        return f"{_topic(_name(p.who))} {TIMES[p.time]} {_at(p.place)} {act}?"

    def want_yes(self, p: m.WantYes) -> str:
        act = f"{_done_to(p.verb, _it(p.thing))} {_verb(p.verb, p.thing.noun)[5]}"
        return f"네, {_topic(_name(p.who))} {TIMES[p.time]} {act} {_object(_np(p.wished))} 사고 싶어 합니다."

    def want_no(self, p: m.WantNo) -> str:
        act = f"{_done_to(p.verb, _it(p.thing))} {_verb(p.verb, p.thing.noun)[5]} 싶어 하지 않고"
        wish = f"{_done_to(p.verb, _np(p.instead))} {_verb(p.verb, p.instead.thing.noun)[5]} 싶어 합니다"
        return f"아니요, {_topic(_name(p.who))} {act}, {TIMES[p.time]} {wish}."

    def relative_spot(self, p: m.RelativeSpot) -> str:
        clause = f"{_subject(_name(p.who))} {_at(p.place)} {VERBS[p.verb][3]}"
        return f"{clause} {_topic(_np(p.what))} {_spot(p.spot)}에 있습니다."

    def relative_quality(self, p: m.RelativeQuality) -> str:
        clause = f"{_subject(_name(p.who))} {TIMES[p.time]} {_at(p.place)} {VERBS[p.verb][3]}"
        return f"{clause} {_topic(_np(p.what))} 아주 {_quality(p.what.thing)[3]}."

    def contrast(self, p: m.Contrast) -> str:
        one = f"{ADJECTIVES[p.first.thing.colour][1]} 아주 {_quality(p.first.thing)[2]}"
        two = f"{ADJECTIVES[p.second.thing.colour][1]} 아주 {_quality(p.second.thing)[3]}"
        return f"{_topic(_np(p.first))} {one} {_topic(_np(p.second))} {two}."

    def while_(self, p: m.While) -> str:
        act = f"{_done_to(p.verb, _np(p.what))} {_verb(p.verb, p.what.thing.noun)[4]} 때"
        other = f"{_done_to(p.other_verb, _np(p.other_what))} {_verb(p.other_verb, p.other_what.thing.noun)[1]}"
        return f"{_subject(_name(p.who))} {_at(p.place)} {act} {_topic(_name(p.other))} {other}."

    def _have(self, drink: str, food: str) -> str:
        return f"{_object(MASS[drink])} 마시고 {_object(MASS[food])} 먹습니다"

    def meal(self, p: m.Meal) -> str:
        who = f"{_topic(_name(p.who))} {_and(_name(p.companion))} 함께"
        return f"{TIMES[p.time]} {who} {_at(p.place)} {self._have(p.drink, p.food)}."

    def meal_not(self, p: m.MealNot) -> str:
        refusal = f"{_topic(_name(p.who))} {_at(p.place)} {_object(MASS[p.refused])} 마시지 않으며"
        return f"{TIMES[p.time]} {refusal}, {self._have(p.drink, p.food)}."

    def how_many(self, p: m.HowMany) -> str:
        (noun, counter), (second, second_counter) = NOUNS[p.noun], NOUNS[p.second_noun]
        what = f"{noun} {_and('몇 ' + counter)} {second} {_object('몇 ' + second_counter)}"
        return f"{TIMES[p.time]} {_topic(_name(p.who))} {_at(p.place)} {what} 샀습니까?"

    def counts(self, p: m.Counts) -> str:
        (noun, counter), (second, second_counter) = NOUNS[p.noun], NOUNS[p.second_noun]
        first = f"{noun} {NUMERALS[p.number]} {_and(counter)}"
        what = f"{first} {second} {NUMERALS[p.second_number]} {_object(second_counter)}"
        return f"{TIMES[p.time]} {_topic(_name(p.who))} {_at(p.place)} {what} 샀습니다."

    def because(self, p: m.Because) -> str:
        cause = f"{_at(p.place)} {_done_to(p.verb, _np(p.what))} {_verb(p.verb, p.what.thing.noun)[2]}기 때문에"
        return f"{_topic(_name(p.who))} {cause} 오늘 아주 {ADJECTIVES[p.state][3]}."

    def compare(self, p: m.Compare) -> str:
        return f"{_topic(_np(p.first))} {_np(p.second)}보다 더 {_quality(p.first.thing)[3]}."

    def rest(self, p: m.Rest) -> str:
        particle = "에서" if p.verb == "sleep" else "에"
        return f"{TIMES[p.time]} {_topic(_np(p.what))} {_spot(p.spot)}{particle} {VERBS[p.verb][1]}."

    def likes(self, p: m.Likes) -> str:
        first = f"{_topic(_name(p.who))} {_object(_np(p.what))} 좋아하고"
        return f"{first} {_topic(_name(p.other))} {_object(_np(p.other_what))} 좋아합니다."


GRAMMAR = Korean()
