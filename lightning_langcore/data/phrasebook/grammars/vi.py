"""Vietnamese: classifiers, no inflection, đã for the past, có ... không for questions, của for possession."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import concepts
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook.grammars.base import Grammar, Words, capital, forms

NAMES = {
    "anna": "Anna", "maria": "Maria", "sofia": "Sofia", "elena": "Elena", "laura": "Laura", "sara": "Sara",
    "ivan": "Ivan", "david": "David", "daniel": "Daniel", "thomas": "Thomas", "martin": "Martin", "adam": "Adam",
}  # fmt: skip

NOUNS = {  # noun, classifier
    "book": ("sách", "quyển"), "notebook": ("vở", "quyển"), "key": ("chìa khóa", "chiếc"), "cup": ("cốc", "cái"),
    "knife": ("dao", "con"), "umbrella": ("ô", "chiếc"), "hat": ("mũ", "chiếc"), "phone": ("điện thoại", "chiếc"),
    "box": ("hộp", "cái"), "basket": ("giỏ", "cái"), "bag": ("túi", "chiếc"), "lamp": ("đèn bàn", "cái"),
    "alarm_clock": ("đồng hồ báo thức", "chiếc"), "pencil": ("bút chì", "cây"), "ball": ("bóng", "quả"),
    "plate": ("đĩa", "cái"), "bottle": ("chai", "cái"), "shirt": ("áo sơ mi", "chiếc"),
    "camera": ("máy ảnh", "chiếc"),
    "guitar": ("đàn ghi ta", "cây"), "towel": ("khăn tắm", "chiếc"), "scarf": ("khăn quàng", "chiếc"),
    "suitcase": ("va li", "chiếc"), "vase": ("bình hoa", "cái"), "car": ("ô tô", "chiếc"),
    "bicycle": ("xe đạp", "chiếc"), "boat": ("thuyền", "chiếc"), "cat": ("mèo", "con"), "dog": ("chó", "con"),
    "horse": ("ngựa", "con"), "bird": ("chim", "con"), "rabbit": ("thỏ", "con"), "duck": ("vịt", "con"),
    "table": ("bàn", "cái"), "chair": ("ghế", "cái"), "shelf": ("kệ", "cái"), "bed": ("giường", "chiếc"),
    "sofa": ("ghế sofa", "chiếc"), "wardrobe": ("tủ quần áo", "chiếc"), "apple": ("táo", "quả"),
    "egg": ("trứng", "quả"),
    "orange": ("cam", "quả"), "lemon": ("chanh", "quả"), "banana": ("chuối", "quả"), "cake": ("bánh ngọt", "cái"),
}  # fmt: skip
MASS = {
    "bread": "bánh mì", "rice": "cơm", "soup": "súp", "cheese": "phô mai", "tea": "trà", "coffee": "cà phê",
    "milk": "sữa", "juice": "nước ép", "water": "nước lọc",
}  # fmt: skip
JOBS = {
    "doctor": "bác sĩ", "teacher": "giáo viên", "student": "sinh viên", "cook": "đầu bếp", "writer": "nhà văn",
    "engineer": "kỹ sư", "painter": "họa sĩ", "farmer": "nông dân", "driver": "tài xế", "singer": "ca sĩ",
}  # fmt: skip

ADJECTIVES = {
    "red": "đỏ", "blue": "xanh dương", "green": "xanh lá cây", "yellow": "vàng", "white": "trắng", "black": "đen",
    "grey": "xám", "brown": "nâu", "big": "to", "small": "nhỏ", "new": "mới", "old": "cũ", "beautiful": "đẹp",
    "heavy": "nặng", "light": "nhẹ", "expensive": "đắt", "clean": "sạch", "dirty": "bẩn", "happy": "vui",
    "tired": "mệt", "sad": "buồn",
}  # fmt: skip
OLD_ANIMAL = "già"  # things are cũ

VERBS = {  # citation, with an object (and a recipient and a place)
    "buy": ("mua", "mua {}"), "find": ("tìm thấy", "tìm thấy {}"), "lose": ("làm mất", "làm mất {}"),
    "wash": ("rửa", "rửa {}"), "draw": ("vẽ", "vẽ {}"), "repair": ("sửa", "sửa {}"), "look_for": ("tìm", "tìm {}"),
    "read": ("đọc", "đọc {}"), "photograph": ("chụp ảnh", "chụp ảnh {}"), "feed": ("cho ăn", "cho {} ăn"),
    "hide": ("giấu", "giấu {}"), "sell": ("bán", "bán {}"), "give": ("tặng", "tặng {what} cho {who}"),
    "show": ("cho xem", "cho {who} xem {what}"), "bring": ("mang đến", "mang {what} đến {place} cho {who}"),
    "lend": ("cho mượn", "cho {who} mượn {what}"), "go": ("đi đến", "đi đến {}"),
    "come_back": ("trở về", "từ {} trở về"), "sleep": ("ngủ", "ngủ {}"), "sit": ("ngồi", "ngồi {}"),
    "eat": ("ăn", "ăn {}"), "drink": ("uống", "uống {}"), "have": ("có", "có {}"), "want": ("muốn", "muốn {}"),
    "like": ("thích", "thích {}"),
}  # fmt: skip
# Washing goes by what is washed: cloth is giặt, an animal tắm cho, anything else rửa.
WASH_CLOTH = ("giặt", "giặt {}")
WASH_ANIMAL = ("tắm cho", "tắm cho {}")
PERCH = ("đậu", "đậu {}")  # how a bird sits
CLOTH = ("shirt", "towel", "scarf", "hat", "bag")

PLACES = {  # noun, in it
    "kitchen": ("nhà bếp", "trong nhà bếp"), "bedroom": ("phòng ngủ", "trong phòng ngủ"),
    "living_room": ("phòng khách", "trong phòng khách"), "office": ("văn phòng", "trong văn phòng"),
    "library": ("thư viện", "trong thư viện"), "market": ("chợ", "ở chợ"), "shop": ("cửa hàng", "ở cửa hàng"),
    "park": ("công viên", "trong công viên"), "station": ("nhà ga", "ở nhà ga"), "museum": ("bảo tàng", "ở bảo tàng"),
    "garden": ("vườn", "trong vườn"), "beach": ("bãi biển", "ở bãi biển"), "school": ("trường học", "ở trường học"),
    "village": ("làng", "ở làng"), "hospital": ("bệnh viện", "ở bệnh viện"),
}  # fmt: skip

TIMES = {
    "in_the_morning": "buổi sáng", "at_noon": "buổi trưa", "in_the_evening": "buổi tối", "every_day": "mỗi ngày",
    "on_sundays": "mỗi Chủ nhật", "on_weekends": "cuối tuần", "yesterday": "hôm qua", "last_week": "tuần trước",
    "on_monday": "hôm thứ Hai", "on_saturday": "hôm thứ Bảy", "this_morning": "sáng nay",
    "yesterday_evening": "tối qua", "today": "hôm nay", "tomorrow": "ngày mai", "tonight": "tối nay",
}  # fmt: skip

NUMERALS = {3: "ba", 4: "bốn", 5: "năm", 6: "sáu", 7: "bảy", 8: "tám", 9: "chín", 10: "mười"}

RELATIONS = {"on": "trên", "under": "dưới", "beside": "bên cạnh", "in": "trong", "behind": "phía sau"}


def _quality(thing: m.Thing) -> str:
    return OLD_ANIMAL if thing.quality == "old" and thing.noun in concepts.ANIMALS else ADJECTIVES[thing.quality]


def _np(np: m.NP) -> str:
    thing = np.thing
    noun, classifier = NOUNS[thing.noun]
    words = [classifier, noun] if np.definite else ["một", classifier, noun]
    if np.quality:
        words.append(_quality(thing))
    if np.colour:
        words.append("màu " + ADJECTIVES[thing.colour])
    if np.owner is not None:
        words.append("của " + NAMES[np.owner.name])
    return " ".join(words)


def _spot(spot: m.Spot) -> str:
    text = f"{RELATIONS[spot.relation]} {_np(spot.support)}"
    return text if spot.place is None else f"{text} {PLACES[spot.place][1]}"


def _name(person: m.Person) -> str:
    return NAMES[person.name]


def _she(person: m.Person) -> str:
    return "cô ấy" if person.female else "anh ấy"


def _at(place: str) -> str:
    return PLACES[place][1]


def _is_at(place: str) -> str:
    text = PLACES[place][1]
    return text if text.startswith("ở ") else "ở " + text


def _do(verb: str, noun: str, text: str) -> str:
    row = VERBS[verb]
    if verb == "wash":
        row = WASH_CLOTH if noun in CLOTH else WASH_ANIMAL if noun in concepts.ANIMALS else row
    return row[1].format(text)


def _counted(number: str, noun: str) -> str:
    return f"{number} {NOUNS[noun][1]} {NOUNS[noun][0]}"


class Vietnamese(Grammar):
    """Vietnamese."""

    words: ClassVar[Words] = {
        "noun": {k: (v[0],) for k, v in NOUNS.items()} | {k: (v,) for k, v in (MASS | JOBS).items()},
        "classifier": {v[1]: (v[1],) for v in NOUNS.values()},
        "verb": {k: forms(v[0], v[1].split(" {")[0]) for k, v in VERBS.items()}
        | {"wash_cloth": (WASH_CLOTH[0],), "wash_animal": (WASH_ANIMAL[0],), "perch": (PERCH[0],)},
        "adjective": {k: (v,) for k, v in ADJECTIVES.items()} | {"old_animal": (OLD_ANIMAL,)},
        "place": {k: (v[0],) for k, v in PLACES.items()},
        "time": {k: (v, capital(v)) for k, v in TIMES.items()},
        "numeral": {str(k): (v,) for k, v in NUMERALS.items()},
        "name": {k: (v,) for k, v in NAMES.items()},
    }  # fmt: skip

    def past_act(self, p: m.PastAct) -> str:
        act = _do(p.verb, p.what.thing.noun, _np(p.what))
        return f"{capital(TIMES[p.time])} {_name(p.who)} đã {act} {_at(p.place)}."

    def exists(self, p: m.Exists) -> str:
        return f"{capital(_spot(p.spot))} có {_np(p.what)}."

    def located(self, p: m.Located) -> str:
        return f"{capital(_np(p.what))} ở {_spot(p.spot)}."

    def has(self, p: m.Has) -> str:
        return f"{_name(p.who)} có {_np(p.first)} và {_np(p.second)}."

    def lacks(self, p: m.Lacks) -> str:
        return f"{_name(p.who)} không có {NOUNS[p.noun][0]}, nhưng {_name(p.other)} có {_np(p.what)}."

    def job(self, p: m.Job) -> str:
        move = f"{VERBS[p.verb][1].format(PLACES[p.place][0])} cùng {_name(p.companion)}"
        return f"{_name(p.who)} là {JOBS[p.who.job]} và {TIMES[p.time]} {_she(p.who)} {move}."

    def motion(self, p: m.Motion) -> str:
        taking = "dắt" if p.pet.thing.noun in concepts.ANIMALS else "mang"
        move = f"{taking} {_np(p.pet)} {VERBS[p.verb][1].format(PLACES[p.place][0])}"
        return f"{capital(TIMES[p.time])} {_name(p.who)} và {_name(p.companion)} {move}."

    def transfer(self, p: m.Transfer) -> str:
        act = VERBS[p.verb][1].format(what=_np(p.what), who=_name(p.recipient), place=PLACES[p.place][0])
        place = "" if p.verb == "bring" else f" {_at(p.place)}"
        return f"{capital(TIMES[p.time])} {_name(p.who)} đã {act}{place}."

    def which_place(self, p: m.WhichPlace) -> str:
        return f"{capital(_np(p.what))} {_is_at(p.here)} hay {_is_at(p.there)}?"

    def who_did(self, p: m.WhoDid) -> str:
        act = _do(p.verb, p.what.thing.noun, _np(p.what))
        return f"Ai đã {act} {_at(p.place)} {TIMES[p.time]}?"

    def not_but(self, p: m.NotBut) -> str:
        act = f"{_do(p.verb, p.thing.noun, 'nó')} {_at(p.place)} {TIMES[p.time]}"
        return f"Không phải {_name(p.wrong)} mà là {_name(p.right)} đã {act}."

    def want_question(self, p: m.WantQuestion) -> str:
        act = _do(p.verb, p.what.thing.noun, _np(p.what))
        return f"{capital(TIMES[p.time])} {_name(p.who)} có muốn {act} {_at(p.place)} không?"

    def want_yes(self, p: m.WantYes) -> str:
        act = _do(p.verb, p.thing.noun, "nó")
        return f"Có, {TIMES[p.time]} {_name(p.who)} muốn {act} và mua {_np(p.wished)}."

    def want_no(self, p: m.WantNo) -> str:
        act = _do(p.verb, p.thing.noun, "nó")
        wish = f"{TIMES[p.time]} {_she(p.who)} muốn {_do(p.verb, p.instead.thing.noun, _np(p.instead))}"
        return f"Không, {_name(p.who)} không muốn {act}; {wish}."

    def _that(self, who: m.Person, verb: str, place: str) -> str:
        return f"mà {_name(who)} đã {VERBS[verb][0]} {_at(place)}"

    def relative_spot(self, p: m.RelativeSpot) -> str:
        return f"{capital(_np(p.what))} {self._that(p.who, p.verb, p.place)} đang ở {_spot(p.spot)}."

    def relative_quality(self, p: m.RelativeQuality) -> str:
        clause = f"{self._that(p.who, p.verb, p.place)} {TIMES[p.time]}"
        return f"{capital(_np(p.what))} {clause} rất {_quality(p.what.thing)}."

    def _is(self, np: m.NP) -> str:
        return f"{_np(np)} màu {ADJECTIVES[np.thing.colour]} và rất {_quality(np.thing)}"

    def contrast(self, p: m.Contrast) -> str:
        return f"{capital(self._is(p.first))}, còn {self._is(p.second)}."

    def while_(self, p: m.While) -> str:
        first = f"{_name(p.who)} {_do(p.verb, p.what.thing.noun, _np(p.what))} {_at(p.place)}"
        return f"Trong khi {first}, {_name(p.other)} {_do(p.other_verb, p.other_what.thing.noun, _np(p.other_what))}."

    def meal(self, p: m.Meal) -> str:
        meal = f"uống {MASS[p.drink]} và ăn {MASS[p.food]} cùng {_name(p.companion)}"
        return f"{capital(TIMES[p.time])} {_name(p.who)} {meal} {_at(p.place)}."

    def meal_not(self, p: m.MealNot) -> str:
        refusal = f"{_name(p.who)} không uống {MASS[p.refused]} {_at(p.place)}"
        meal = f"{_she(p.who)} uống {MASS[p.drink]} và ăn {MASS[p.food]}"
        return f"{capital(TIMES[p.time])} {refusal}; {meal}."

    def how_many(self, p: m.HowMany) -> str:
        what = f"{_counted('bao nhiêu', p.noun)} và {_counted('bao nhiêu', p.second_noun)}"
        return f"{capital(TIMES[p.time])} {_name(p.who)} đã mua {what} {_at(p.place)}?"

    def counts(self, p: m.Counts) -> str:
        what = f"{_counted(NUMERALS[p.number], p.noun)} và {_counted(NUMERALS[p.second_number], p.second_noun)}"
        return f"{capital(TIMES[p.time])} {_name(p.who)} đã mua {what} {_at(p.place)}."

    def because(self, p: m.Because) -> str:
        cause = f"{_she(p.who)} đã {_do(p.verb, p.what.thing.noun, _np(p.what))} {_at(p.place)}"
        return f"Hôm nay {_name(p.who)} rất {ADJECTIVES[p.state]} vì {cause}."

    def compare(self, p: m.Compare) -> str:
        return f"{capital(_np(p.first))} {_quality(p.first.thing)} hơn {_np(p.second)}."

    def rest(self, p: m.Rest) -> str:
        verb = PERCH if p.verb == "sit" and p.what.thing.noun == "bird" else VERBS[p.verb]
        return f"{capital(TIMES[p.time])} {_np(p.what)} {verb[1].format(_spot(p.spot))}."

    def likes(self, p: m.Likes) -> str:
        return f"{_name(p.who)} thích {_np(p.what)}, còn {_name(p.other)} thích {_np(p.other_what)}."


GRAMMAR = Vietnamese()
