"""How a talk is planned: what is asked about which scene, so that the scene alone decides the answer."""

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

_APART = 1_000_003  # added to the seed: a talk's scene is not the document of the same seed and index
_PRONOUNS = (m.NotBut, m.WantYes, m.WantNo)  # what "it" means is not in the sentence
_ASKING = (m.WhichPlace, m.WhoDid, m.HowMany, m.WantQuestion)
_MOVING = (m.Transfer, m.While, m.Motion, m.Rest, m.Because)  # after which a thing may be elsewhere
_GAINS = (m.PastAct, m.Counts, m.Because, m.Transfer, m.Lacks)  # which say, or hint, what somebody has
_VERBS = (
    "buy",
    "find",
    "lose",
    "wash",
    "repair",
    "look_for",
    "sell",
    *concepts.TRANSFERS,
)  # every table has their past
_ELSEWHERE = (*concepts.ROOMS, "garden", "shop", "school", "museum")
_THINGS = (*concepts.PORTABLE, *concepts.VEHICLES, *concepts.ANIMALS, *concepts.FURNITURE)
_WORDINGS = 6  # a common multiple of how many wordings there are


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation: a question, worded one way, about a scene (empty where it needs none)."""

    kind: str
    wording: int
    question: q.Question | q.Exercise | q.Translation
    scene: tuple[m.Proposition, ...] = ()


@lru_cache(maxsize=64)
def plan(seed: int, index: int) -> Talk:
    """Talk ``index``, from ``seed`` and ``index`` alone; its meaning is that of every language."""
    rng = random.Random(f"talk:{seed}:{index}")
    kind = rng.choice(KINDS)
    wording = rng.randrange(_WORDINGS)
    if kind == "inflection":
        return Talk(kind, wording, _exercise(rng))
    if kind == "counting":
        return Talk(kind, wording, *_counting(rng))
    said = document_planner.plan(_APART + seed, index)
    if kind == "translation":
        sentence = rng.choice([p for p in said if not isinstance(p, _PRONOUNS)])
        first, second = rng.sample(LANGUAGES, 2)
        return Talk(kind, wording, q.Translation(sentence, (first, second)))
    return Talk(kind, wording, *_about(rng, [p for p in said if not isinstance(p, _PRONOUNS + _ASKING)]))


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
    """Two persons' purchases, or one's; of both only one noun is in common, and that is what is asked for."""
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


def _about(rng: random.Random, said: Sequence[m.Proposition]) -> tuple[q.Question, tuple[m.Proposition, ...]]:
    """A question of a random kind, and two to five of the sentences, the one that answers it among them."""
    candidates: dict[type, list[tuple[q.Question, int]]] = {}
    for i, p in enumerate(said):
        for question in _asked_of(p, rng):
            candidates.setdefault(type(question), []).append((question, i))
    for kind in rng.sample(list(candidates), len(candidates)):
        question, i = rng.choice(candidates[kind])
        scene = _scene(rng, said, i, question)
        if scene:
            return question, scene
    raise AssertionError("every scene shows something of a colour")


def _asked_of(p: m.Proposition, rng: random.Random) -> Iterator[q.Question]:
    """What a sentence answers."""
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
    elif isinstance(p, m.Meal | m.MealNot) and p.food != "soup":  # which some eat and some drink
        verb = rng.choice(("drink", "eat"))
        yield q.Consumes(p.who, verb, p.drink if verb == "drink" else p.food)


def _short(np: m.NP) -> m.NP:
    """The red book: enough, for a scene has each noun once."""
    return m.NP(np.thing, quality=False)


def _spoils(question: q.Question, p: m.Proposition) -> bool:
    """Whether a sentence, told in the same scene, would leave the answer in doubt."""
    if isinstance(question, q.Where | q.Inside):
        thing = (question.fact.what if isinstance(question, q.Where) else question.what).thing
        return isinstance(p, _MOVING) and thing in parts(p, m.Thing)
    if isinstance(question, q.Owns) and question.what is not None:
        return isinstance(p, m.Transfer | m.Because) and question.what.thing in parts(p, m.Thing)
    if isinstance(question, q.Belongings):
        has = question.fact
        if isinstance(p, _GAINS) and has.who in parts(p, m.Person):
            return True
        told = (has.first.thing, has.second.thing)
        return any(np.owner == has.who and np.thing not in told for np in parts(p, m.NP))
    return False


def _scene(
    rng: random.Random, said: Sequence[m.Proposition], fact: int, question: q.Question
) -> tuple[m.Proposition, ...]:
    """The fact with some other sentences, none of which mentions a thing as known before it is; or nothing."""
    chosen: set[int] = set()
    size = rng.choice((2, 3, 3, 4))
    others = [i for i in range(len(said)) if i != fact]
    for i in (fact, *rng.sample(others, len(others))):
        more = _with_introductions(said, i)
        fits = more and len(chosen | more) <= 4 and not any(_spoils(question, said[j]) for j in more)
        if fits:
            chosen |= more
        elif i == fact:
            return ()
        if len(chosen) >= size:
            break
    return tuple(said[i] for i in sorted(chosen)) if len(chosen) > 1 else ()


def _with_introductions(said: Sequence[m.Proposition], i: int) -> set[int]:
    """A sentence and those that it needs to have been told before; none where one of them is not there."""
    needed = {i}
    for np in parts(said[i], m.NP):
        if np.definite:
            first = next((j for j in range(i) if _introduces(said[j], np.thing)), None)
            before = set() if first is None else _with_introductions(said, first)
            if not before:
                return set()
            needed |= before
    return needed


def _introduces(p: m.Proposition, thing: m.Thing) -> bool:
    return any(np.thing == thing and not np.definite for np in parts(p, m.NP))


Part = TypeVar("Part")


def parts(value: object, kind: type[Part]) -> Iterator[Part]:
    """Everything of a kind in a proposition, however deep."""
    if isinstance(value, kind):
        yield value
    if is_dataclass(value):
        for field in fields(value):
            yield from parts(getattr(value, field.name), kind)
