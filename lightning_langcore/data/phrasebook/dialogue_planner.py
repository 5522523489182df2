"""Planning of a conversation: a scene, and a question whose answer follows from the scene alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import TypeVar

from lightning_langcore.data.phrasebook import LANGUAGES, concepts, document_planner
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook import questions as q

KINDS = ("scene", "translation", "inflection", "counting")

_SEED_OFFSET = 1_000_003  # makes the scene of a conversation differ from the document of the same seed and index
_PRONOUNS = (m.NotBut, m.WantYes, m.WantNo)  # contain "it", whose referent is in another sentence
_QUESTIONS = (m.WhichPlace, m.WhoDid, m.HowMany, m.WantQuestion)
_MOVING = (m.Transfer, m.While, m.Motion, m.Rest, m.Because)  # may change the position of a thing
_GAINS = (m.PastAct, m.Counts, m.Because, m.Transfer, m.Lacks)  # state or imply what a person has
_VERBS = (
    "buy",
    "find",
    "lose",
    "wash",
    "repair",
    "look_for",
    "sell",
    *concepts.TRANSFERS,
)  # verbs whose past is in every table
_ELSEWHERE = (*concepts.ROOMS, "garden", "shop", "school", "museum")
_THINGS = (*concepts.PORTABLE, *concepts.VEHICLES, *concepts.ANIMALS, *concepts.FURNITURE)
_WORDINGS = 6  # a common multiple of the numbers of wordings


@dataclass(frozen=True, slots=True)
class DialoguePlan:
    """One conversation: a question with a number of its wording, about a scene (empty for exercises without one)."""

    kind: str
    wording: int
    question: q.Question | q.Exercise | q.Translation
    scene: tuple[m.Proposition, ...] = ()


@lru_cache(maxsize=64)
def plan(seed: int, index: int) -> DialoguePlan:
    """The plan of conversation ``index``, from ``seed`` and ``index`` alone; it is the same for every language."""
    rng = random.Random(f"talk:{seed}:{index}")
    kind = rng.choice(KINDS)
    wording = rng.randrange(_WORDINGS)
    if kind == "inflection":
        return DialoguePlan(kind, wording, _exercise(rng))
    if kind == "counting":
        return DialoguePlan(kind, wording, *_counting(rng))
    propositions = document_planner.plan(_SEED_OFFSET + seed, index)
    if kind == "translation":
        sentence = rng.choice([p for p in propositions if not isinstance(p, _PRONOUNS)])
        first, second = rng.sample(LANGUAGES, 2)
        return DialoguePlan(kind, wording, q.Translation(sentence, (first, second)))
    statements = [p for p in propositions if not isinstance(p, _PRONOUNS + _QUESTIONS)]
    return DialoguePlan(kind, wording, *_question_about(rng, statements))


# --- exercises --------------------------------------------------------------------------------------------------------


def _exercise(rng: random.Random) -> q.Exercise:
    which = rng.random()
    if which < 0.4:
        pairs = zip(rng.sample(concepts.NUMERALS, 2), rng.sample(concepts.COUNTED, 2), strict=True)
        return q.Numbers(tuple(pairs))
    if which < 0.8:
        noun = rng.choice(_THINGS)
        return q.Phrase(m.Thing(noun, rng.choice(concepts.colours(noun)), rng.choice(concepts.qualities(noun))))
    return q.Form(
        rng.choice(("noun", "verb", "adjective", "job")), rng.choice(_THINGS), rng.choice(concepts.COUNTED),
        rng.choice(_VERBS), rng.choice(concepts.QUALITIES + concepts.COLOURS), rng.choice(concepts.JOBS),
    )  # fmt: skip


def _counting(rng: random.Random) -> tuple[q.Question, tuple[m.Proposition, ...]]:
    """A question about numbers, and the purchases of one or two persons.

    The question is for the total of one person, or for the total of the one noun that both persons have bought.
    """
    names = rng.sample(concepts.WOMEN + concepts.MEN, 2)
    people = [
        m.Person(name, name in concepts.WOMEN, job)
        for name, job in zip(names, rng.sample(concepts.JOBS, 2), strict=True)
    ]
    nouns = rng.sample(concepts.COUNTED, 4)
    together = rng.random() < 0.5
    if together:
        nouns[2] = nouns[0]
    times = rng.sample(concepts.PAST, 2)
    bought = []
    for who, time, pair in zip(people, times, (nouns[:2], nouns[2:]), strict=True):
        first, second = pair if rng.random() < 0.5 else pair[::-1]
        number, second_number = rng.sample(concepts.NUMERALS, 2)
        bought.append(m.Counts(time, who, number, first, second_number, second, rng.choice(concepts.SALES)))
    if together:
        number = sum(p.number if p.noun == nouns[0] else p.second_number for p in bought)
        return q.Together(people[0], people[1], number, nouns[0]), tuple(bought)
    asked = rng.choice(bought)
    scene = tuple(bought) if rng.random() < 0.5 else (asked,)
    return q.Total(asked.who, asked.number + asked.second_number), scene


# --- a question about a scene -----------------------------------------------------------------------------------------


def _question_about(
    rng: random.Random, statements: Sequence[m.Proposition]
) -> tuple[q.Question, tuple[m.Proposition, ...]]:
    """A question of a random kind, and two to five of the statements, among them the one that answers the question."""
    candidates: dict[type, list[tuple[q.Question, int]]] = {}
    for i, p in enumerate(statements):
        for question in _questions_answered_by(p, rng):
            candidates.setdefault(type(question), []).append((question, i))
    for kind in rng.sample(list(candidates), len(candidates)):
        question, i = rng.choice(candidates[kind])
        scene = _scene(rng, statements, i, question)
        if scene:
            return question, scene
    raise AssertionError("every scene shows something of a colour")


def _questions_answered_by(p: m.Proposition, rng: random.Random) -> Iterator[q.Question]:
    """Questions that a statement answers."""
    for np in parts(p, m.NP):
        if np.colour and not np.definite:
            yield q.Colour(m.NP(np.thing, colour=False, quality=False))
    if isinstance(p, m.PastAct):
        act = replace(p, what=_short(p.what))
        yield from (q.Who(act), q.WhereDid(act))
    elif isinstance(p, m.Exists | m.Located):
        yield from _position(p, rng)
    elif isinstance(p, m.Has):
        what = rng.choice((p.first, p.second))
        yield from (q.Belongings(p), q.Owns(p.who, what.thing.noun, what))
    elif isinstance(p, m.Lacks):
        yield from (q.Owns(p.who, p.noun, None), q.Owns(p.other, p.what.thing.noun, p.what))
    elif isinstance(p, m.Transfer):
        yield q.Recipient(replace(p, what=_short(p.what)))
    else:
        yield from _habit(p, rng)


def _position(p: m.Exists | m.Located, rng: random.Random) -> Iterator[q.Question]:
    what, place = _short(p.what), p.spot.place
    spot = replace(p.spot, support=replace(p.spot.support, definite=True))
    yield q.Where(m.Located(what, spot))
    if place is not None:
        asked = rng.choice((place, rng.choice([x for x in _ELSEWHERE if x != place])))
        yield q.Inside(what, place, asked)


def _habit(p: m.Proposition, rng: random.Random) -> Iterator[q.Question]:
    if isinstance(p, m.Job):
        jobs = [p.who.job, rng.choice([job for job in concepts.JOBS if job != p.who.job])]
        rng.shuffle(jobs)
        yield q.Work(p.who, (jobs[0], jobs[1]))
    elif isinstance(p, m.Meal | m.MealNot) and p.food != "soup":  # some languages "drink" soup
        verb = rng.choice(("drink", "eat"))
        yield q.Consumes(p.who, verb, p.drink if verb == "drink" else p.food)


def _short(np: m.NP) -> m.NP:
    """A mention without the quality, such as "the red book": unambiguous, because a scene has each noun once."""
    return m.NP(np.thing, quality=False)


def _makes_ambiguous(question: q.Question, p: m.Proposition) -> bool:
    """Whether a statement in the same scene would make the answer ambiguous."""
    if isinstance(question, q.Where | q.Inside):
        thing = (question.fact.what if isinstance(question, q.Where) else question.what).thing
        return isinstance(p, _MOVING) and thing in parts(p, m.Thing)
    if isinstance(question, q.Owns) and question.what is not None:
        return isinstance(p, m.Transfer | m.Because) and question.what.thing in parts(p, m.Thing)
    if isinstance(question, q.Belongings):
        has = question.fact
        if isinstance(p, _GAINS) and has.who in parts(p, m.Person):
            return True
        mentioned = (has.first.thing, has.second.thing)
        return any(np.owner == has.who and np.thing not in mentioned for np in parts(p, m.NP))
    return False


def _scene(
    rng: random.Random, statements: Sequence[m.Proposition], fact: int, question: q.Question
) -> tuple[m.Proposition, ...]:
    """Statement ``fact`` with some other statements, in which each thing is introduced before it is referred to.

    Returns:
        An empty tuple if there is no such scene.
    """
    chosen: set[int] = set()
    size = rng.choice((2, 3, 3, 4))
    others = [i for i in range(len(statements)) if i != fact]
    for i in (fact, *rng.sample(others, len(others))):
        more = _with_introductions(statements, i)
        clear = not any(_makes_ambiguous(question, statements[j]) for j in more)
        fits = more and len(chosen | more) <= 4 and clear
        if fits:
            chosen |= more
        elif i == fact:
            return ()
        if len(chosen) >= size:
            break
    return tuple(statements[i] for i in sorted(chosen)) if len(chosen) > 1 else ()


def _with_introductions(statements: Sequence[m.Proposition], i: int) -> set[int]:
    """Statement ``i`` and the statements that introduce its things; an empty set if one of these is missing."""
    needed = {i}
    for np in parts(statements[i], m.NP):
        if np.definite:
            first = next((j for j in range(i) if _introduces(statements[j], np.thing)), None)
            before = set() if first is None else _with_introductions(statements, first)
            if not before:
                return set()
            needed |= before
    return needed


def _introduces(p: m.Proposition, thing: m.Thing) -> bool:
    return any(np.thing == thing and not np.definite for np in parts(p, m.NP))


Part = TypeVar("Part")


def parts(value: object, kind: type[Part]) -> Iterator[Part]:
    """All values of a type in a proposition, at any depth."""
    if isinstance(value, kind):
        yield value
    if is_dataclass(value):
        for field in fields(value):
            yield from parts(getattr(value, field.name), kind)
