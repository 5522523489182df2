"""English: articles by first mention, do-support, third-person -s, comparatives."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import concepts
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook.grammars.base import Grammar, Words, capital, forms

NAMES = {
    "anna": "Anna", "maria": "Maria", "sofia": "Sofia", "elena": "Elena", "laura": "Laura", "sara": "Sara",
    "ivan": "Ivan", "david": "David", "daniel": "Daniel", "thomas": "Thomas", "martin": "Martin", "adam": "Adam",
}  # fmt: skip

NOUNS = {  # singular, plural
    "book": ("book", "books"), "notebook": ("notebook", "notebooks"), "key": ("key", "keys"), "cup": ("cup", "cups"),
    "knife": ("knife", "knives"), "umbrella": ("umbrella", "umbrellas"), "hat": ("hat", "hats"),
    "phone": ("phone", "phones"), "box": ("box", "boxes"), "basket": ("basket", "baskets"), "bag": ("bag", "bags"),
    "lamp": ("lamp", "lamps"), "alarm_clock": ("alarm clock", "alarm clocks"), "pencil": ("pencil", "pencils"),
    "ball": ("ball", "balls"), "plate": ("plate", "plates"), "bottle": ("bottle", "bottles"),
    "shirt": ("shirt", "shirts"), "camera": ("camera", "cameras"), "guitar": ("guitar", "guitars"),
    "towel": ("towel", "towels"), "scarf": ("scarf", "scarves"), "suitcase": ("suitcase", "suitcases"),
    "vase": ("vase", "vases"), "car": ("car", "cars"), "bicycle": ("bicycle", "bicycles"), "boat": ("boat", "boats"),
    "cat": ("cat", "cats"), "dog": ("dog", "dogs"), "horse": ("horse", "horses"), "bird": ("bird", "birds"),
    "rabbit": ("rabbit", "rabbits"), "duck": ("duck", "ducks"), "table": ("table", "tables"),
    "chair": ("chair", "chairs"), "shelf": ("shelf", "shelves"), "bed": ("bed", "beds"), "sofa": ("sofa", "sofas"),
    "wardrobe": ("wardrobe", "wardrobes"), "apple": ("apple", "apples"), "egg": ("egg", "eggs"),
    "orange": ("orange", "oranges"), "lemon": ("lemon", "lemons"), "banana": ("banana", "bananas"),
    "cake": ("cake", "cakes"),
}  # fmt: skip
MASS = {w: w for w in concepts.FOODS + concepts.DRINKS}
JOBS = {w: w for w in concepts.JOBS}

ADJECTIVES = {  # positive, comparative
    "red": ("red", ""), "blue": ("blue", ""), "green": ("green", ""), "yellow": ("yellow", ""),
    "white": ("white", ""), "black": ("black", ""), "grey": ("grey", ""), "brown": ("brown", ""),
    "big": ("big", "bigger"), "small": ("small", "smaller"), "new": ("new", "newer"), "old": ("old", "older"),
    "beautiful": ("beautiful", "more beautiful"), "heavy": ("heavy", "heavier"), "light": ("light", "lighter"),
    "expensive": ("expensive", "more expensive"), "clean": ("clean", "cleaner"), "dirty": ("dirty", "dirtier"),
    "happy": ("happy", ""), "tired": ("tired", ""), "sad": ("sad", ""),
}  # fmt: skip
BEFORE_NOUN = {"light": "lightweight"}  # "a light blue bag" would be one of a pale blue

VERBS = {  # infinitive, third person singular, past
    "buy": ("buy", "buys", "bought"), "find": ("find", "finds", "found"), "lose": ("lose", "loses", "lost"),
    "wash": ("wash", "washes", "washed"), "draw": ("draw", "draws", "drew"),
    "repair": ("repair", "repairs", "repaired"), "look_for": ("look for", "looks for", "looked for"),
    "read": ("read", "reads", "read"), "photograph": ("photograph", "photographs", "photographed"),
    "feed": ("feed", "feeds", "fed"), "hide": ("hide", "hides", "hid"), "sell": ("sell", "sells", "sold"),
    "give": ("give", "gives", "gave"), "show": ("show", "shows", "showed"), "bring": ("bring", "brings", "brought"),
    "lend": ("lend", "lends", "lent"), "go": ("go", "goes", "went"), "come_back": ("come back", "comes back", ""),
    "sleep": ("sleep", "sleeps", ""), "sit": ("sit", "sits", ""), "eat": ("eat", "eats", ""),
    "drink": ("drink", "drinks", ""), "have": ("have", "has", ""), "want": ("want", "wants", ""),
    "like": ("like", "likes", ""),
}  # fmt: skip

PLACES = {  # noun, in it, towards it, away from it
    "kitchen": ("kitchen", "in the kitchen", "to the kitchen", "from the kitchen"),
    "bedroom": ("bedroom", "in the bedroom", "to the bedroom", "from the bedroom"),
    "living_room": ("living room", "in the living room", "to the living room", "from the living room"),
    "office": ("office", "in the office", "to the office", "from the office"),
    "library": ("library", "in the library", "to the library", "from the library"),
    "market": ("market", "at the market", "to the market", "from the market"),
    "shop": ("shop", "in the shop", "to the shop", "from the shop"),
    "park": ("park", "in the park", "to the park", "from the park"),
    "station": ("station", "at the station", "to the station", "from the station"),
    "museum": ("museum", "at the museum", "to the museum", "from the museum"),
    "garden": ("garden", "in the garden", "to the garden", "from the garden"),
    "beach": ("beach", "on the beach", "to the beach", "from the beach"),
    "school": ("school", "at the school", "to the school", "from the school"),
    "village": ("village", "in the village", "to the village", "from the village"),
    "hospital": ("hospital", "at the hospital", "to the hospital", "from the hospital"),
}

TIMES = {
    "in_the_morning": "in the morning", "at_noon": "at noon", "in_the_evening": "in the evening",
    "every_day": "every day", "on_sundays": "on Sundays", "on_weekends": "on weekends", "yesterday": "yesterday",
    "last_week": "last week", "on_monday": "on Monday", "on_saturday": "on Saturday",
    "this_morning": "this morning", "yesterday_evening": "yesterday evening", "today": "today",
    "tomorrow": "tomorrow", "tonight": "tonight",
}  # fmt: skip

NUMERALS = {3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten"}

RELATIONS = {"on": "on", "under": "under", "beside": "next to", "in": "in", "behind": "behind"}


def _a(text: str) -> str:
    return ("an " if text[0] in "aeiou" else "a ") + text


def _np(np: m.NP) -> str:
    thing = np.thing
    words = ([thing.quality] if np.quality else []) + ([thing.colour] if np.colour else [])
    text = " ".join([BEFORE_NOUN.get(w, ADJECTIVES[w][0]) for w in words] + [NOUNS[thing.noun][0]])
    if np.owner is not None:
        return f"{NAMES[np.owner.name]}'s {text}"
    return "the " + text if np.definite else _a(text)


def _spot(spot: m.Spot) -> str:
    text = f"{RELATIONS[spot.relation]} {_np(spot.support)}"
    return text if spot.place is None else f"{text} {PLACES[spot.place][1]}"


def _she(person: m.Person) -> str:
    return "she" if person.female else "he"


def _name(person: m.Person) -> str:
    return NAMES[person.name]


def _at(place: str) -> str:
    return PLACES[place][1]


class English(Grammar):
    """English."""

    words: ClassVar[Words] = {
        "noun": NOUNS | {k: (v,) for k, v in (MASS | JOBS).items()},
        "verb": {k: forms(*v) for k, v in VERBS.items()},
        "adjective": {k: forms(*v, BEFORE_NOUN.get(k, "")) for k, v in ADJECTIVES.items()},
        "place": {k: (v[0],) for k, v in PLACES.items()},
        "time": {k: (v, capital(v)) for k, v in TIMES.items()},
        "numeral": {str(k): (v,) for k, v in NUMERALS.items()},
        "name": {k: (v,) for k, v in NAMES.items()},
    }

    def past_act(self, p: m.PastAct) -> str:
        return f"{capital(TIMES[p.time])} {_name(p.who)} {VERBS[p.verb][2]} {_np(p.what)} {_at(p.place)}."

    def exists(self, p: m.Exists) -> str:
        return f"There is {_np(p.what)} {_spot(p.spot)}."

    def located(self, p: m.Located) -> str:
        return f"{capital(_np(p.what))} is {_spot(p.spot)}."

    def has(self, p: m.Has) -> str:
        return f"{_name(p.who)} has {_np(p.first)} and {_np(p.second)}."

    def lacks(self, p: m.Lacks) -> str:
        return f"{_name(p.who)} does not have {_a(NOUNS[p.noun][0])}, but {_name(p.other)} has {_np(p.what)}."

    def _move(self, verb: str, place: str, plural: bool) -> str:
        return f"{VERBS[verb][0 if plural else 1]} {PLACES[place][2 if verb == 'go' else 3]}"

    def job(self, p: m.Job) -> str:
        move = self._move(p.verb, p.place, plural=False)
        return f"{_name(p.who)} is {_a(JOBS[p.who.job])} and {move} with {_name(p.companion)} {TIMES[p.time]}."

    def motion(self, p: m.Motion) -> str:
        move = self._move(p.verb, p.place, plural=True)
        return f"{capital(TIMES[p.time])} {_name(p.who)} and {_name(p.companion)} {move} with {_np(p.pet)}."

    def transfer(self, p: m.Transfer) -> str:
        act = f"{_name(p.who)} {VERBS[p.verb][2]} {_np(p.what)} to {_name(p.recipient)}"
        return f"{capital(TIMES[p.time])} {act} {_at(p.place)}."

    def which_place(self, p: m.WhichPlace) -> str:
        return f"Is {_np(p.what)} {_at(p.here)} or {_at(p.there)}?"

    def who_did(self, p: m.WhoDid) -> str:
        return f"Who {VERBS[p.verb][2]} {_np(p.what)} {_at(p.place)} {TIMES[p.time]}?"

    def not_but(self, p: m.NotBut) -> str:
        return f"Not {_name(p.wrong)} but {_name(p.right)} {VERBS[p.verb][2]} it {_at(p.place)} {TIMES[p.time]}."

    def want_question(self, p: m.WantQuestion) -> str:
        return f"Does {_name(p.who)} want to {VERBS[p.verb][0]} {_np(p.what)} {_at(p.place)} {TIMES[p.time]}?"

    def want_yes(self, p: m.WantYes) -> str:
        return f"Yes, {_name(p.who)} wants to {VERBS[p.verb][0]} it {TIMES[p.time]} and buy {_np(p.wished)}."

    def want_no(self, p: m.WantNo) -> str:
        verb = VERBS[p.verb][0]
        wish = f"{TIMES[p.time]} {_she(p.who)} wants to {verb} {_np(p.instead)}"
        return f"No, {_name(p.who)} does not want to {verb} it; {wish}."

    def relative_spot(self, p: m.RelativeSpot) -> str:
        clause = f"that {_name(p.who)} {VERBS[p.verb][2]} {_at(p.place)}"
        return f"{capital(_np(p.what))} {clause} is {_spot(p.spot)}."

    def relative_quality(self, p: m.RelativeQuality) -> str:
        clause = f"that {_name(p.who)} {VERBS[p.verb][2]} {_at(p.place)} {TIMES[p.time]}"
        return f"{capital(_np(p.what))} {clause} is very {ADJECTIVES[p.what.thing.quality][0]}."

    def _is(self, np: m.NP) -> str:
        return f"{_np(np)} is {ADJECTIVES[np.thing.colour][0]} and very {ADJECTIVES[np.thing.quality][0]}"

    def contrast(self, p: m.Contrast) -> str:
        return f"{self._is(p.first)}, but {self._is(p.second)}."

    def while_(self, p: m.While) -> str:
        first = f"{_name(p.who)} {VERBS[p.verb][1]} {_np(p.what)} {_at(p.place)}"
        return f"While {first}, {_name(p.other)} {VERBS[p.other_verb][1]} {_np(p.other_what)}."

    def meal(self, p: m.Meal) -> str:
        meal = f"drinks {MASS[p.drink]} and eats {MASS[p.food]}"
        return f"{capital(TIMES[p.time])} {_name(p.who)} {meal} with {_name(p.companion)} {_at(p.place)}."

    def meal_not(self, p: m.MealNot) -> str:
        refusal = f"{_name(p.who)} does not drink {MASS[p.refused]} {_at(p.place)}"
        return f"{capital(TIMES[p.time])} {refusal}; {_she(p.who)} drinks {MASS[p.drink]} and eats {MASS[p.food]}."

    def how_many(self, p: m.HowMany) -> str:
        what = f"{NOUNS[p.noun][1]} and how many {NOUNS[p.second_noun][1]}"
        return f"How many {what} did {_name(p.who)} buy {_at(p.place)} {TIMES[p.time]}?"

    def counts(self, p: m.Counts) -> str:
        first = f"{NUMERALS[p.number]} {NOUNS[p.noun][1]}"
        second = f"{NUMERALS[p.second_number]} {NOUNS[p.second_noun][1]}"
        return f"{capital(TIMES[p.time])} {_name(p.who)} bought {first} and {second} {_at(p.place)}."

    def because(self, p: m.Because) -> str:
        cause = f"{_she(p.who)} {VERBS[p.verb][2]} {_np(p.what)} {_at(p.place)}"
        return f"{_name(p.who)} is very {ADJECTIVES[p.state][0]} today because {cause}."

    def compare(self, p: m.Compare) -> str:
        return f"{capital(_np(p.first))} is {ADJECTIVES[p.quality][1]} than {_np(p.second)}."

    def rest(self, p: m.Rest) -> str:
        return f"{capital(TIMES[p.time])} {_np(p.what)} {VERBS[p.verb][1]} {_spot(p.spot)}."

    def likes(self, p: m.Likes) -> str:
        return f"{_name(p.who)} likes {_np(p.what)}, and {_name(p.other)} likes {_np(p.other_what)}."


GRAMMAR = English()
