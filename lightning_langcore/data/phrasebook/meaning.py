"""What a document says, before any language says it: concepts, the things they name, and propositions about them.

Concepts are plain English keys (``"book"``, ``"red"``, ``"buy"``). Every grammar in ``languages`` has one row for
each of them, so a document planned here can be realised in each language.
"""

from __future__ import annotations

from dataclasses import dataclass

# --- concepts -------------------------------------------------------------------------------------------------------

COMMON_QUALITIES = ("big", "small", "new", "old", "beautiful")

PORTABLE: dict[str, tuple[str, ...]] = {  # what can be bought, hidden and put on a table -> its further qualities
    "book": ("heavy", "light", "expensive"),
    "notebook": ("expensive", "clean"),
    "key": ("heavy", "light"),
    "cup": ("clean", "dirty", "expensive"),
    "knife": ("clean", "dirty", "expensive"),
    "umbrella": ("light", "expensive"),
    "hat": ("clean", "dirty", "expensive"),
    "phone": ("light", "expensive"),
    "box": ("heavy", "light"),
    "basket": ("heavy", "light", "clean"),
    "bag": ("heavy", "light", "dirty", "expensive"),
    "lamp": ("heavy", "expensive"),
    "alarm_clock": ("light", "expensive"),
    "pencil": ("expensive",),
    "ball": ("light", "dirty", "clean"),
    "plate": ("clean", "dirty", "expensive"),
    "bottle": ("clean", "dirty", "heavy"),
    "shirt": ("clean", "dirty", "expensive"),
    "camera": ("heavy", "light", "expensive"),
    "guitar": ("light", "expensive"),
    "towel": ("clean", "dirty"),
    "scarf": ("light", "clean", "expensive"),
    "suitcase": ("heavy", "light", "expensive"),
    "vase": ("heavy", "clean", "expensive"),
}
VEHICLES: dict[str, tuple[str, ...]] = {
    "car": ("clean", "dirty", "expensive"),
    "bicycle": ("clean", "dirty", "light", "expensive"),
    "boat": ("clean", "dirty", "expensive"),
}
ANIMALS: dict[str, tuple[str, ...]] = {
    "cat": ("big", "small", "old", "beautiful", "clean", "dirty"),
    "dog": ("big", "small", "old", "beautiful", "clean", "dirty"),
    "horse": ("big", "small", "old", "beautiful", "clean", "dirty"),
    "bird": ("big", "small", "old", "beautiful"),
    "rabbit": ("big", "small", "old", "beautiful", "clean", "dirty"),
    "duck": ("big", "small", "old", "beautiful", "dirty"),
}
PETS = ("cat", "dog", "bird", "rabbit")  # animals one meets indoors
FURNITURE: dict[str, tuple[str, ...]] = {  # where things are -> the relations it allows
    "table": ("on", "under", "beside"),
    "chair": ("on", "under", "beside"),
    "shelf": ("on",),
    "bed": ("on", "under", "beside"),
    "sofa": ("on", "beside", "behind"),
    "wardrobe": ("in", "beside", "behind"),
}
PRODUCE = ("apple", "egg", "orange", "lemon", "banana", "cake")
COUNTED = (*PRODUCE, "cup", "plate", "pencil", "notebook", "bottle", "book")  # what is bought by number
FOODS = ("bread", "rice", "soup", "cheese")
DRINKS = ("tea", "coffee", "milk", "juice", "water")
JOBS = ("doctor", "teacher", "student", "cook", "writer", "engineer", "painter", "farmer", "driver", "singer")

COLOURS = ("red", "blue", "green", "yellow", "white", "black", "grey", "brown")
ANIMAL_COLOURS = ("white", "black", "grey", "brown")
QUALITIES = ("big", "small", "new", "old", "beautiful", "heavy", "light", "expensive", "clean", "dirty")
STATES = ("happy", "tired", "sad")

WASHABLE = ("cup", "plate", "bottle", "knife", "shirt", "towel", "bag", "basket", "ball", "scarf", "vase", "hat")
MENDABLE = ("umbrella", "phone", "lamp", "alarm_clock", "bag", "camera", "guitar", "suitcase", "box", "basket")
READABLE = ("book", "notebook")
DRAWABLE = ("vase", "guitar", "lamp", "basket", "cup", "bottle")
VERBS_PAST_ONLY = ("buy", "find", "lose")
VERBS_WITH_PRESENT = ("wash", "draw", "repair", "look_for", "read", "photograph", "feed", "hide", "sell")
TRANSITIVE = VERBS_PAST_ONLY + VERBS_WITH_PRESENT
TRANSFERS = ("give", "show", "bring", "lend")
MOTIONS = ("go", "come_back")
RESTS = ("sleep", "sit")
OTHER_VERBS = ("eat", "drink", "have", "want", "like")

ROOMS = ("kitchen", "bedroom", "living_room", "office", "library")
OUTSIDE = ("market", "shop", "park", "station", "museum", "garden", "beach", "school", "village", "hospital")
SHOPS = ("market", "shop", "station", "museum", "village")
SALES = ("market", "shop", "village")  # where private persons sell
CARRIED = ("book", "notebook", "umbrella", "hat", "phone", "basket", "bag", "ball", "camera", "guitar", "suitcase")
ANIMAL_PLACES = ("park", "garden", "beach", "village")
PLACES = ROOMS + OUTSIDE

HABITS = ("in_the_morning", "at_noon", "in_the_evening", "every_day", "on_sundays", "on_weekends")
PAST = ("yesterday", "last_week", "on_monday", "on_saturday", "this_morning", "yesterday_evening")
WISHES = ("today", "tomorrow", "tonight")
TIMES = HABITS + PAST + WISHES

NUMERALS = (3, 4, 5, 6, 7, 8, 9, 10)

WOMEN = ("anna", "maria", "sofia", "elena", "laura", "sara")
MEN = ("ivan", "david", "daniel", "thomas", "martin", "adam")


# --- entities -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Person:
    """Someone the document is about, under one name throughout."""

    name: str
    female: bool
    job: str


@dataclass(frozen=True, slots=True)
class Thing:
    """An object or animal that keeps its colour and quality through the whole document."""

    noun: str
    colour: str
    quality: str


@dataclass(frozen=True, slots=True)
class NP:
    """One mention of a thing: how much of it is said, and whether the reader knows it already."""

    thing: Thing
    definite: bool = True
    colour: bool = True
    quality: bool = True
    owner: Person | None = None


@dataclass(frozen=True, slots=True)
class Spot:
    """A position relative to a piece of furniture, in a room where that is said."""

    relation: str
    support: NP
    place: str | None


# --- propositions: one sentence each --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PastAct:
    """Yesterday Anna bought a small red book at the market."""

    time: str
    who: Person
    verb: str
    what: NP
    place: str


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a small red book on the old table in the kitchen."""

    what: NP
    spot: Spot


@dataclass(frozen=True, slots=True)
class Located:
    """The small red book is on the old table in the kitchen."""

    what: NP
    spot: Spot


@dataclass(frozen=True, slots=True)
class Has:
    """Anna has a small red book and a big black dog."""

    who: Person
    first: NP
    second: NP


@dataclass(frozen=True, slots=True)
class Lacks:
    """Anna does not have a bicycle, but Ivan has a new blue car."""

    who: Person
    noun: str
    other: Person
    what: NP


@dataclass(frozen=True, slots=True)
class Job:
    """Anna is a doctor and goes to the park with Ivan every day."""

    who: Person
    time: str
    verb: str
    place: str
    companion: Person


@dataclass(frozen=True, slots=True)
class Motion:
    """In the evening Anna and Ivan come back from the park with the big black dog."""

    time: str
    who: Person
    companion: Person
    pet: NP
    verb: str
    place: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """Yesterday Anna gave the red book to Ivan in the garden."""

    time: str
    who: Person
    verb: str
    what: NP
    recipient: Person
    place: str


@dataclass(frozen=True, slots=True)
class WhichPlace:
    """Is Anna's small red book in the kitchen or in the garden?"""

    what: NP
    here: str
    there: str


@dataclass(frozen=True, slots=True)
class WhoDid:
    """Who bought the small red book at the market yesterday?"""

    verb: str
    what: NP
    place: str
    time: str


@dataclass(frozen=True, slots=True)
class NotBut:
    """Not Ivan but Anna bought it at the market yesterday."""

    wrong: Person
    right: Person
    verb: str
    thing: Thing
    place: str
    time: str


@dataclass(frozen=True, slots=True)
class WantQuestion:
    """Does Anna want to sell the small red book at the market tomorrow?"""

    who: Person
    verb: str
    what: NP
    place: str
    time: str


@dataclass(frozen=True, slots=True)
class WantYes:
    """Yes, Anna wants to sell it tomorrow and buy a new blue bag."""

    who: Person
    verb: str
    thing: Thing
    wished: NP
    time: str


@dataclass(frozen=True, slots=True)
class WantNo:
    """No, Anna does not want to sell it; tomorrow she wants to sell the green lamp."""

    who: Person
    verb: str
    thing: Thing
    instead: NP
    time: str


@dataclass(frozen=True, slots=True)
class RelativeSpot:
    """The red book that Anna bought at the market is on the old table."""

    what: NP
    who: Person
    verb: str
    place: str
    spot: Spot


@dataclass(frozen=True, slots=True)
class RelativeQuality:
    """The red book that Anna bought at the market yesterday is very small."""

    what: NP
    who: Person
    verb: str
    place: str
    time: str


@dataclass(frozen=True, slots=True)
class Contrast:
    """Anna's book is red and very small, but Ivan's lamp is green and very big."""

    first: NP
    second: NP


@dataclass(frozen=True, slots=True)
class While:
    """When Anna reads the red book in the garden, Ivan feeds the black dog."""

    who: Person
    verb: str
    what: NP
    place: str
    other: Person
    other_verb: str
    other_what: NP


@dataclass(frozen=True, slots=True)
class Meal:
    """In the morning Anna drinks tea and eats bread with Ivan in the kitchen."""

    time: str
    who: Person
    drink: str
    food: str
    companion: Person
    place: str


@dataclass(frozen=True, slots=True)
class MealNot:
    """In the morning Anna does not drink milk in the kitchen; she drinks tea and eats bread."""

    time: str
    who: Person
    refused: str
    drink: str
    food: str
    place: str


@dataclass(frozen=True, slots=True)
class HowMany:
    """How many apples and how many plates did Anna buy at the market yesterday?"""

    time: str
    who: Person
    noun: str
    second_noun: str
    place: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Yesterday Anna bought three apples and five plates at the market."""

    time: str
    who: Person
    number: int
    noun: str
    second_number: int
    second_noun: str
    place: str


@dataclass(frozen=True, slots=True)
class Because:
    """Anna is very happy today because she found the red book in the park."""

    who: Person
    state: str
    verb: str
    what: NP
    place: str


@dataclass(frozen=True, slots=True)
class Compare:
    """The red book is heavier than the green lamp."""

    first: NP
    second: NP
    quality: str


@dataclass(frozen=True, slots=True)
class Rest:
    """In the evening the black dog sleeps under the old table in the kitchen."""

    time: str
    what: NP
    verb: str
    spot: Spot


@dataclass(frozen=True, slots=True)
class Likes:
    """Anna likes the small red book, and Ivan likes the green lamp."""

    who: Person
    what: NP
    other: Person
    other_what: NP


# fmt: off
Proposition = (
    PastAct | Exists | Located | Has | Lacks | Job | Motion | Transfer | WhichPlace | WhoDid | NotBut | WantQuestion
    | WantYes | WantNo | RelativeSpot | RelativeQuality | Contrast | While | Meal | MealNot | HowMany | Counts
    | Because | Compare | Rest | Likes
)
# fmt: on

METHODS: dict[type, str] = {  # which method of a grammar says which proposition
    PastAct: "past_act", Exists: "exists", Located: "located", Has: "has", Lacks: "lacks", Job: "job",
    Motion: "motion", Transfer: "transfer", WhichPlace: "which_place", WhoDid: "who_did", NotBut: "not_but",
    WantQuestion: "want_question", WantYes: "want_yes", WantNo: "want_no", RelativeSpot: "relative_spot",
    RelativeQuality: "relative_quality", Contrast: "contrast", While: "while_", Meal: "meal", MealNot: "meal_not",
    HowMany: "how_many", Counts: "counts", Because: "because", Compare: "compare", Rest: "rest", Likes: "likes",
}  # fmt: skip


def qualities(noun: str) -> tuple[str, ...]:
    """The qualities a thing of this kind can have."""
    if noun in ANIMALS:
        return ANIMALS[noun]
    if noun in FURNITURE:
        return COMMON_QUALITIES
    further = PORTABLE.get(noun) or VEHICLES[noun]
    return COMMON_QUALITIES + further


def colours(noun: str) -> tuple[str, ...]:
    """The colours a thing of this kind can have."""
    return ANIMAL_COLOURS if noun in ANIMALS else COLOURS


def affordances(noun: str) -> tuple[str, ...]:
    """The transitive verbs that make sense with a thing of this kind, selling, buying and the like included."""
    if noun in ANIMALS:
        verbs = ("buy", "find", "look_for", "draw", "photograph", "feed", "sell", "lose")
        return verbs if noun in ("bird", "duck") else (*verbs, "wash")
    if noun in VEHICLES:
        return ("buy", "find", "draw", "photograph", "wash", "repair", "sell")
    further = {"wash": WASHABLE, "repair": MENDABLE, "read": READABLE, "draw": DRAWABLE}
    return ("buy", "find", "lose", "look_for", "hide", "sell", *(v for v, nouns in further.items() if noun in nouns))
