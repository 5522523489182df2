"""Planning of a document: first its persons and things, then its propositions and their order.

A scene keeps track of the owner, the position and the origin of each thing, and later sentences are consistent with
this state. Therefore a document is partly predictable from its beginning.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache

from lightning_langcore.data.phrasebook import concepts
from lightning_langcore.data.phrasebook import propositions as m

# Possible causes of a feeling.
_CAUSES = {"happy": ("buy", "find"), "tired": ("wash", "repair", "look_for"), "sad": ("lose", "sell")}
_PRESENT = frozenset(concepts.VERBS_WITH_PRESENT) - {"hide", "sell"}
_WISHED = frozenset(("sell", "repair", "wash", "draw", "photograph", "read", "hide"))
_AFFORDED = {noun: concepts.affordances(noun) for noun in (*concepts.PORTABLE, *concepts.VEHICLES, *concepts.ANIMALS)}
_PORTABLE = tuple(concepts.PORTABLE)
_FURNITURE = tuple(concepts.FURNITURE)
_PRESENT_OF = {noun: tuple(v for v in verbs if v in _PRESENT) for noun, verbs in _AFFORDED.items()}
_WISHED_OF = {noun: tuple(v for v in verbs if v in _WISHED) for noun, verbs in _AFFORDED.items()}

_ELSEWHERE = (*concepts.ROOMS, "garden", "shop", "school", "museum")
# Places where a verb is plausible with a small thing; other verbs are plausible anywhere.
_FIT_PLACES = {
    "wash": ("kitchen", "garden"),
    "repair": ("office", "living_room", "garden", "kitchen"),
    "read": ("library", "living_room", "bedroom", "park", "garden", "beach", "school"),
    "draw": ("park", "garden", "school", "living_room", "office"),
    "hide": ("garden", "park", "bedroom", "kitchen", "living_room", "office", "library"),
}
_DAYTIMES = ("in_the_morning", "at_noon", "in_the_evening")
_MEETING_PLACES = ("kitchen", "living_room", "office", "park", "garden", "beach", "school", "village")


class _Scene:
    """The entities of one document and the facts that its sentences have stated about them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        names = rng.sample(concepts.WOMEN + concepts.MEN, rng.choice((2, 2, 3)))
        jobs = rng.sample(concepts.JOBS, len(names))
        self.qualities: list[str] = []  # in use: each thing gets one of its own where it can
        self.people = [m.Person(name, name in concepts.WOMEN, job) for name, job in zip(names, jobs, strict=True)]
        nouns = rng.sample(_PORTABLE, 3)
        nouns.append(rng.choice(tuple(concepts.ANIMALS) if rng.random() < 0.65 else tuple(concepts.VEHICLES)))
        palette = rng.sample(concepts.COLOURS, 4)
        things = [self._thing(noun, colour) for noun, colour in zip(nouns, palette, strict=True)]
        self.first, self.second, self.wish, self.companion = things
        self.room = rng.choice(concepts.ROOMS)
        self.outside = rng.choice(concepts.OUTSIDE)
        self.support = self._thing(self._furniture(), rng.choice(concepts.COLOURS))
        self.habit, self.past, self.wish_time = (
            rng.choice(concepts.HABITS),
            rng.choice(concepts.PAST),
            rng.choice(concepts.WISHES),
        )
        self.seen: list[m.Thing] = []
        self.support_seen = False
        self.owner: dict[m.Thing, m.Person] = {}
        self.origin: dict[m.Thing, m.PastAct] = {}
        self.where: dict[m.Thing, m.Spot] = {}
        self.told: list[m.Thing] = []
        self.felt: list[m.Person] = []
        self.contrasted = False

    # --- small helpers ---

    def _thing(self, noun: str, colour: str) -> m.Thing:
        if noun in concepts.ANIMALS and colour not in concepts.ANIMAL_COLOURS:
            colour = self.rng.choice(concepts.ANIMAL_COLOURS)
        free = [quality for quality in concepts.qualities(noun) if quality not in self.qualities]
        quality = self.rng.choice(free or concepts.qualities(noun))
        self.qualities.append(quality)
        return m.Thing(noun, colour, quality)

    def _furniture(self) -> str:
        rooms = {"bed": ("bedroom",), "wardrobe": ("bedroom", "living_room", "office"),
                 "sofa": ("living_room", "office", "bedroom", "library")}  # fmt: skip
        fit = [f for f in _FURNITURE if self.room in rooms.get(f, concepts.ROOMS)]
        return self.rng.choice(fit)

    def _new(self, thing: m.Thing) -> m.NP:
        """The first mention of a thing: indefinite, with all its properties."""
        self.seen.append(thing)
        return m.NP(thing, definite=False)

    def _known(self, thing: m.Thing) -> m.NP:
        """A later mention of a thing: definite, with its colour and sometimes also its quality."""
        return m.NP(thing, quality=self.rng.random() < 0.5)

    def _others(self, person: m.Person) -> m.Person:
        return self.rng.choice([p for p in self.people if p is not person])

    def _spot(self, thing: m.Thing, told_place: bool = True) -> m.Spot:
        """Position of a thing: the position stated before, or a new position at the one piece of furniture."""
        known = self.where.get(thing)
        if known is None:
            relations = concepts.FURNITURE[self.support.noun]
            if thing.noun in concepts.ANIMALS and "in" in relations:
                relations = ("beside", "behind")
            relation = self.rng.choice(relations)
        else:
            relation = known.relation
        support = m.NP(self.support, definite=self.support_seen, colour=False)
        self.support_seen = True
        spot = m.Spot(relation, support, self.room if told_place else None)
        self.where[thing] = spot
        return spot

    def _place_for(self, verb: str, noun: str) -> str:
        """A place where this verb is plausible with this kind of thing; a place of the scene if possible."""
        if verb in ("buy", "sell"):
            places = concepts.SHOPS if verb == "buy" else concepts.SALES
            return self.outside if self.outside in places else self.rng.choice(places)
        if noun in concepts.ANIMALS or noun in concepts.VEHICLES:
            return self.outside if self.outside in concepts.ANIMAL_PLACES else self.rng.choice(concepts.ANIMAL_PLACES)
        fitting = _FIT_PLACES.get(verb, (self.outside,))
        fit = [place for place in (self.room, self.outside) if place in fitting]
        return self.rng.choice(fit or fitting)

    def _things(self, kinds: tuple[str, ...]) -> list[m.Thing]:
        return [t for t in self.seen if t.noun in kinds]

    def _unplaced(self) -> m.Thing | None:
        """A small thing whose position no sentence has stated, except possibly the sentence that introduced it."""
        things = [t for t in self.seen if t.noun in concepts.PORTABLE and t not in self.told]
        return self.rng.choice(things) if things else None

    def _locate(self, thing: m.Thing) -> m.Located:
        self.told.append(thing)
        return m.Located(self._known(thing), self._spot(thing))

    # --- openings ---

    def opening(self) -> list[m.Proposition]:
        """Two or three sentences that introduce the persons and things."""
        p, q = self.people[0], self.people[1]
        ways = (self._open_act_has, self._open_has_exists, self._open_exists_act, self._open_act_lacks)
        return self.rng.choice(ways)(p, q)

    def _act(self, who: m.Person, thing: m.Thing) -> m.PastAct:
        verb = self.rng.choice(("buy", "find"))
        act = m.PastAct(self.past, who, verb, self._new(thing), self._place_for(verb, thing.noun))
        self.outside = act.place
        self.owner[thing] = who
        self.origin[thing] = act
        return act

    def _has(self, who: m.Person, *things: m.Thing) -> m.Has:
        for thing in things:
            self.owner[thing] = who
        return m.Has(who, self._new(things[0]), self._new(things[1]))

    def _open_act_has(self, p: m.Person, q: m.Person) -> list[m.Proposition]:
        return [self._act(p, self.first), self._has(q, self.second, self.companion)]

    def _open_has_exists(self, p: m.Person, q: m.Person) -> list[m.Proposition]:
        has = self._has(p, self.first, self.companion)
        exists = m.Exists(self._new(self.second), self._spot(self.second))
        self.owner[self.second] = q
        return [has, exists]

    def _open_exists_act(self, p: m.Person, q: m.Person) -> list[m.Proposition]:
        exists = m.Exists(self._new(self.first), self._spot(self.first))
        self.owner[self.first] = p
        return [exists, self._act(q, self.second), self._lacks(p, q)]

    def _open_act_lacks(self, p: m.Person, q: m.Person) -> list[m.Proposition]:
        act = self._act(p, self.first)
        lacks = self._lacks(p, q)
        exists = m.Exists(self._new(self.second), self._spot(self.second))
        self.owner[self.second] = q
        return [act, lacks, exists]

    def _lacks(self, p: m.Person, q: m.Person) -> m.Lacks:
        kinds = concepts.ANIMALS if self.companion.noun in concepts.ANIMALS else concepts.VEHICLES
        noun = self.rng.choice([k for k in kinds if k != self.companion.noun])
        self.owner[self.companion] = q
        return m.Lacks(p, noun, q, self._new(self.companion))

    # --- developments: each returns propositions, or an empty list if it does not fit the scene ---

    def located(self) -> list[m.Proposition]:
        thing = self._unplaced()
        return [] if thing is None or thing in self.where else [self._locate(thing)]

    def which_place(self) -> list[m.Proposition]:
        thing = self._unplaced()
        if thing is None:
            return []
        places = [self.room, self.rng.choice([x for x in _ELSEWHERE if x != self.room])]
        self.rng.shuffle(places)
        question = m.WhichPlace(m.NP(thing, owner=self.owner[thing]), *places)
        return [question, self._locate(thing)]

    def who_did(self) -> list[m.Proposition]:
        if not self.origin:
            return []
        act = self.rng.choice(list(self.origin.values()))
        question = m.WhoDid(act.verb, m.NP(act.what.thing), act.place, act.time)
        return [question, m.NotBut(self._others(act.who), act.who, act.verb, act.what.thing, act.place, act.time)]

    def want(self) -> list[m.Proposition]:
        thing = self.rng.choice(self.seen)
        who = self.owner[thing]
        verb = self.rng.choice(_WISHED_OF[thing.noun])
        place = self._place_for(verb, thing.noun)
        question = m.WantQuestion(who, verb, m.NP(thing), place, self.wish_time)
        instead = [t for t in self.seen if t is not thing and verb in _AFFORDED[t.noun]]
        if verb == "sell":
            instead = [t for t in instead if self.owner[t] is who]
        if instead:
            return [question, m.WantNo(who, verb, thing, m.NP(self.rng.choice(instead)), self.wish_time)]
        if self.wish in self.seen:
            return []
        self.owner[self.wish] = who
        return [question, m.WantYes(who, verb, thing, m.NP(self.wish, definite=False), self.wish_time)]

    def relative(self) -> list[m.Proposition]:
        if not self.origin:
            return []
        act = self.rng.choice(list(self.origin.values()))
        thing = act.what.thing
        if self.support_seen and thing not in self.told and self.rng.random() < 0.7:
            self.told.append(thing)
            spot = self._spot(thing, told_place=False)
            return [m.RelativeSpot(self._known(thing), act.who, act.verb, act.place, spot)]
        if thing.quality == "new":  # "very new" is said of nothing
            return []
        return [m.RelativeQuality(m.NP(thing, quality=False), act.who, act.verb, act.place, act.time)]

    def contrast(self) -> list[m.Proposition]:
        if self.contrasted:
            return []
        pairs = [(a, b) for a in self.seen for b in self.seen if self.owner[a] is not self.owner[b]]
        pairs = [(a, b) for a, b in pairs if a.colour != b.colour and len({a.quality, b.quality, "new"}) == 3]
        if not pairs:
            return []
        a, b = self.rng.choice(pairs)
        first, second = (m.NP(thing, colour=False, quality=False, owner=self.owner[thing]) for thing in (a, b))
        self.contrasted = True
        return [m.Contrast(first, second)]

    def while_(self) -> list[m.Proposition]:
        first, second = self.rng.sample(self.seen, 2)
        who = self.rng.choice(self.people)
        verb, other_verb = self.rng.choice(_PRESENT_OF[first.noun]), self.rng.choice(_PRESENT_OF[second.noun])
        if verb == other_verb:
            return []
        place = self._place_for(verb, second.noun if first.noun in concepts.PORTABLE else first.noun)
        return [m.While(who, verb, self._known(first), place, self._others(who), other_verb, self._known(second))]

    def meal(self) -> list[m.Proposition]:
        who = self.rng.choice(self.people)
        drink, refused = self.rng.sample(concepts.DRINKS, 2)
        food = self.rng.choice(concepts.FOODS)
        place = self.room if self.room in _MEETING_PLACES else self.rng.choice(_MEETING_PLACES)
        if self.rng.random() < 0.5:
            return [m.Meal(self.habit, who, drink, food, self._others(who), place)]
        time = self.habit if self.habit in _DAYTIMES else self.rng.choice(_DAYTIMES)
        return [m.MealNot(time, who, refused, drink, food, place)]

    def counts(self) -> list[m.Proposition]:
        who = self.rng.choice(self.people)
        used = {t.noun for t in self.seen}
        noun, second = self.rng.sample([n for n in concepts.COUNTED if n not in used], 2)
        number, second_number = self.rng.sample(concepts.NUMERALS, 2)
        place = self._place_for("sell", noun)  # where one buys food
        counts = m.Counts(self.past, who, number, noun, second_number, second, place)
        return [m.HowMany(self.past, who, noun, second, place), counts] if self.rng.random() < 0.6 else [counts]

    def because(self) -> list[m.Proposition]:
        if self.origin and self.rng.random() < 0.5:
            act = self.rng.choice(list(self.origin.values()))
            self.felt.append(act.who)
            return [m.Because(act.who, "happy", act.verb, self._known(act.what.thing), act.place)]
        thing = self.rng.choice(self.seen)
        verbs = [v for v in _CAUSES["tired"] if v in _AFFORDED[thing.noun]]
        if not verbs:
            return []
        verb = self.rng.choice(verbs)
        place = self._place_for(verb, thing.noun)
        who = self.rng.choice(self.people)
        self.felt.append(who)
        return [m.Because(who, "tired", verb, self._known(thing), place)]

    def compare(self) -> list[m.Proposition]:
        things = self._things(_PORTABLE)
        pairs = [(a, b) for a in things for b in things if a.colour != b.colour and a.quality not in (b.quality, "new")]
        if not pairs:
            return []
        a, b = self.rng.choice(pairs)
        first, second = (m.NP(thing, quality=False, owner=self.owner[thing]) for thing in (a, b))
        return [m.Compare(first, second, a.quality)]

    def rest(self) -> list[m.Proposition]:
        pets = self._things(concepts.PETS)
        if not pets:
            return []
        pet = self.rng.choice(pets)
        return [m.Rest(self.habit, self._known(pet), self.rng.choice(concepts.RESTS), self._spot(pet))]

    def likes(self) -> list[m.Proposition]:
        first, second = self.rng.sample(self.seen, 2)
        who = self.rng.choice(self.people)
        return [m.Likes(who, self._known(first), self._others(who), self._known(second))]

    def motion(self) -> list[m.Proposition]:
        things = [t for t in self.seen if t.noun in ("dog", "horse")] if self.outside in concepts.ANIMAL_PLACES else []
        things = things or self._things(concepts.CARRIED)
        if not things:
            return []
        who = self.rng.choice(self.people)
        verb = self.rng.choice(concepts.MOTIONS)
        return [m.Motion(self.habit, who, self._others(who), self._known(self.rng.choice(things)), verb, self.outside)]

    def job(self) -> list[m.Proposition]:
        who = self.rng.choice(self.people)
        return [m.Job(who, self.habit, self.rng.choice(concepts.MOTIONS), self.outside, self._others(who))]

    def transfer(self) -> list[m.Proposition]:
        thing = self.rng.choice(self._things(_PORTABLE))
        who = self.owner[thing]
        recipient = self._others(who)
        verb = self.rng.choice(concepts.TRANSFERS)
        place = self.rng.choice((self.outside, self.room))
        transfer = m.Transfer(self.past, who, verb, self._known(thing), recipient, place)
        if verb == "give":
            self.owner[thing] = recipient
        return [transfer]

    def farewell(self) -> list[m.Proposition]:
        """A last sentence, in which a thing is lost or sold."""
        thing = self.rng.choice(self.seen)
        verbs = [v for v in _CAUSES["sad"] if v in _AFFORDED[thing.noun]]
        if not verbs or self.owner[thing] in self.felt:
            return []
        verb = self.rng.choice(verbs)
        place = self._place_for(verb, thing.noun)
        return [m.Because(self.owner[thing], "sad", verb, self._known(thing), place)]


_DEVELOPMENTS: tuple[Callable[[_Scene], list[m.Proposition]], ...] = (
    _Scene.located, _Scene.which_place, _Scene.who_did, _Scene.want, _Scene.relative, _Scene.contrast, _Scene.while_,
    _Scene.meal, _Scene.counts, _Scene.because, _Scene.compare, _Scene.rest, _Scene.likes, _Scene.motion, _Scene.job,
    _Scene.transfer,
)  # fmt: skip


@lru_cache(maxsize=64)
def plan(seed: int, index: int) -> tuple[m.Proposition, ...]:
    """The propositions of one document, in order: 5 to 9 of them, from ``seed`` and ``index`` alone.

    ``random.Random`` hashes a string seed with SHA-512, so the plan is the same in every process.
    """
    scene = _Scene(random.Random(f"phrasebook:{seed}:{index}"))
    said = scene.opening()
    length = scene.rng.choice((5, 5, 5, 5, 5, 6, 6, 7))
    for develop in scene.rng.sample(_DEVELOPMENTS, len(_DEVELOPMENTS)):
        if len(said) >= length:
            break
        said += develop(scene)
    last = scene.rng.random()
    if len(said) < 9 and last < 0.5:
        said += scene.farewell() if last < 0.25 else scene.contrast()
    return tuple(said)
