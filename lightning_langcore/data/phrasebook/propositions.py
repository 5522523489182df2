"""Language-independent content of a document: persons and things, and propositions about them.

Concepts are English keys (``"book"``, ``"red"``, ``"buy"``). Every grammar in ``grammars`` has a row for each concept,
so that a planned document can be realised in each language. The docstring of a proposition is an example sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

# --- entities -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Person:
    """A person of the document, with the same name in all sentences."""

    name: str
    female: bool
    job: str


@dataclass(frozen=True, slots=True)
class Thing:
    """An object or animal, with the same colour and quality in all sentences of the document."""

    noun: str
    colour: str
    quality: str


@dataclass(frozen=True, slots=True)
class NP:
    """One mention of a thing (noun phrase): which properties it states, and whether the thing was mentioned before."""

    thing: Thing
    definite: bool = True
    colour: bool = True
    quality: bool = True
    owner: Person | None = None


@dataclass(frozen=True, slots=True)
class Spot:
    """A position relative to a piece of furniture; ``place`` is the room, ``None`` if it is not stated."""

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
