"""Language-independent content of conversations: questions about a scene, and exercises.

Like the propositions of ``propositions``, each question is realised by one method of every language (``METHODS``),
together with its answer. The docstring of a question is an example of question and answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightning_langcore.data.phrasebook import propositions as m


@dataclass(frozen=True, slots=True)
class Who:
    """Who bought the red book at the market yesterday? Anna bought the red book."""

    act: m.PastAct


@dataclass(frozen=True, slots=True)
class WhereDid:
    """Where did Anna buy the red book? Anna bought the red book at the market."""

    act: m.PastAct


@dataclass(frozen=True, slots=True)
class Where:
    """Where is the red book? The red book is on the old table in the kitchen."""

    fact: m.Located


@dataclass(frozen=True, slots=True)
class Inside:
    """Is the red book in the garden? No, the red book is in the kitchen."""

    what: m.NP
    place: str
    asked: str


@dataclass(frozen=True, slots=True)
class Colour:
    """What colour is the book? The book is red."""

    what: m.NP


@dataclass(frozen=True, slots=True)
class Belongings:
    """What does Anna have? Anna has a small red book and a big black dog."""

    fact: m.Has


@dataclass(frozen=True, slots=True)
class Owns:
    """Does Anna have a book? Yes, Anna has a small red book. No, Anna does not have a book."""

    who: m.Person
    noun: str
    what: m.NP | None


@dataclass(frozen=True, slots=True)
class Work:
    """Is Anna a singer or a doctor? Anna is a doctor."""

    who: m.Person
    jobs: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Consumes:
    """What does Anna drink? Anna drinks tea."""

    who: m.Person
    verb: str
    what: str


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who did Anna give the red book to? Anna gave the red book to Ivan."""

    fact: m.Transfer


@dataclass(frozen=True, slots=True)
class Total:
    """How many things did Anna buy in all? Anna bought eight things in all."""

    who: m.Person
    number: int


@dataclass(frozen=True, slots=True)
class Together:
    """How many apples did Anna and Ivan buy in all? Anna and Ivan bought seven apples in all."""

    who: m.Person
    other: m.Person
    number: int
    noun: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """Each noun after its number: three + book, five + egg. Three books, five eggs."""

    pairs: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Phrase:
    """One phrase from a noun and its adjectives: book + red + small. A small red book."""

    thing: m.Thing


@dataclass(frozen=True, slots=True)
class Form:
    """A form of one word: the plural of "knife" is "knives".

    Each language asks for an inflected form of the word for ``topic`` (``noun``, ``verb``, ``adjective`` or ``job``),
    or for a form of the noun if it does not inflect that word. ``counted`` is a noun with a plural in every language.
    """

    topic: str
    noun: str
    counted: str
    verb: str
    adjective: str
    job: str


@dataclass(frozen=True, slots=True)
class Translation:
    """A sentence to translate into the first of ``targets`` that is not the language of the question."""

    sentence: m.Proposition
    targets: tuple[str, str]


Question = Who | WhereDid | Where | Inside | Colour | Belongings | Owns | Work | Consumes | Recipient | Total | Together
Exercise = Numbers | Phrase | Form

METHODS: dict[type, str] = {  # question -> method of a language
    Who: "who", WhereDid: "where_did", Where: "where", Inside: "inside", Colour: "colour", Belongings: "belongings",
    Owns: "owns", Work: "work", Consumes: "consumes", Recipient: "recipient", Total: "total", Together: "together",
    Numbers: "numbers", Phrase: "phrase", Form: "form",
}  # fmt: skip
