"""French: elision, contraction, partitives, adjective position, agreement of the participle with what precedes it.

A no-break space (U+00A0) stands before the question mark and the colon.
"""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook.grammars.base import Grammar, Words, capital, forms

NAMES = {
    "anna": "Anna", "maria": "Maria", "sofia": "Sofia", "elena": "Elena", "laura": "Laura", "sara": "Sara",
    "ivan": "Ivan", "david": "David", "daniel": "Daniel", "thomas": "Thomas", "martin": "Martin", "adam": "Adam",
}  # fmt: skip

NOUNS = {  # singular, gender, plural where things are counted
    "book": ("livre", "m", "livres"), "notebook": ("cahier", "m", "cahiers"), "key": ("clé", "f", ""),
    "cup": ("tasse", "f", "tasses"), "knife": ("couteau", "m", ""), "umbrella": ("parapluie", "m", ""),
    "hat": ("chapeau", "m", ""), "phone": ("téléphone", "m", ""), "box": ("boîte", "f", ""),
    "basket": ("panier", "m", ""),
    "bag": ("sac", "m", ""), "lamp": ("lampe", "f", ""), "alarm_clock": ("réveil", "m", ""),
    "pencil": ("crayon", "m", "crayons"), "ball": ("ballon", "m", ""), "plate": ("assiette", "f", "assiettes"),
    "bottle": ("bouteille", "f", "bouteilles"), "shirt": ("chemise", "f", ""), "camera": ("appareil photo", "m", ""),
    "guitar": ("guitare", "f", ""), "towel": ("serviette", "f", ""), "scarf": ("écharpe", "f", ""),
    "suitcase": ("valise", "f", ""), "vase": ("vase", "m", ""), "car": ("voiture", "f", ""),
    "bicycle": ("vélo", "m", ""),
    "boat": ("bateau", "m", ""), "cat": ("chat", "m", ""), "dog": ("chien", "m", ""), "horse": ("cheval", "m", ""),
    "bird": ("oiseau", "m", ""), "rabbit": ("lapin", "m", ""), "duck": ("canard", "m", ""),
    "table": ("table", "f", ""),
    "chair": ("chaise", "f", ""), "shelf": ("étagère", "f", ""), "bed": ("lit", "m", ""), "sofa": ("canapé", "m", ""),
    "wardrobe": ("armoire", "f", ""), "apple": ("pomme", "f", "pommes"), "egg": ("œuf", "m", "œufs"),
    "orange": ("orange", "f", "oranges"), "lemon": ("citron", "m", "citrons"), "banana": ("banane", "f", "bananes"),
    "cake": ("gâteau", "m", "gâteaux"),
}  # fmt: skip
MASS = {  # noun, with the partitive article
    "bread": ("pain", "du pain"), "rice": ("riz", "du riz"), "soup": ("soupe", "de la soupe"),
    "cheese": ("fromage", "du fromage"), "tea": ("thé", "du thé"), "coffee": ("café", "du café"),
    "milk": ("lait", "du lait"), "juice": ("jus", "du jus"), "water": ("eau", "de l'eau"),
}  # fmt: skip
JOBS = {  # masculine, feminine
    "doctor": ("médecin", "médecin"), "teacher": ("professeur", "professeure"), "student": ("étudiant", "étudiante"),
    "cook": ("cuisinier", "cuisinière"), "writer": ("écrivain", "écrivaine"), "engineer": ("ingénieur", "ingénieure"),
    "painter": ("peintre", "peintre"), "farmer": ("agriculteur", "agricultrice"),
    "driver": ("conducteur", "conductrice"), "singer": ("chanteur", "chanteuse"),
}  # fmt: skip

ADJECTIVES = {  # masculine, feminine, masculine before a vowel for the adjectives that precede the noun
    "red": ("rouge", "rouge"), "blue": ("bleu", "bleue"), "green": ("vert", "verte"), "yellow": ("jaune", "jaune"),
    "white": ("blanc", "blanche"), "black": ("noir", "noire"), "grey": ("gris", "grise"),
    "brown": ("marron", "marron"),
    "big": ("grand", "grande", "grand"), "small": ("petit", "petite", "petit"),
    "new": ("nouveau", "nouvelle", "nouvel"), "old": ("vieux", "vieille", "vieil"),
    "beautiful": ("beau", "belle", "bel"), "heavy": ("lourd", "lourde"), "light": ("léger", "légère"),
    "expensive": ("cher", "chère"), "clean": ("propre", "propre"), "dirty": ("sale", "sale"),
    "happy": ("content", "contente"), "tired": ("fatigué", "fatiguée"), "sad": ("triste", "triste"),
}  # fmt: skip

VERBS = {  # infinitive, present singular, past participle, present plural
    "buy": ("acheter", "", "acheté"), "find": ("trouver", "", "trouvé"), "lose": ("perdre", "", "perdu"),
    "wash": ("laver", "lave", "lavé"), "draw": ("dessiner", "dessine", ""), "repair": ("réparer", "répare", "réparé"),
    "look_for": ("chercher", "cherche", "cherché"), "read": ("lire", "lit", ""),
    "photograph": ("photographier", "photographie", ""), "feed": ("nourrir", "nourrit", ""),
    "hide": ("cacher", "", ""), "sell": ("vendre", "", "vendu"), "give": ("donner", "", "donné"),
    "show": ("montrer", "", "montré"), "bring": ("apporter", "", "apporté"), "lend": ("prêter", "", "prêté"),
    "go": ("aller", "va", "", "vont"), "come_back": ("revenir", "revient", "", "reviennent"),
    "sleep": ("dormir", "dort", ""), "sit": ("s'asseoir", "s'assoit", ""), "eat": ("manger", "mange", ""),
    "drink": ("boire", "boit", ""), "have": ("avoir", "a", ""), "want": ("vouloir", "veut", ""),
    "like": ("aimer", "aime", ""),
}  # fmt: skip
PERCH = ("se poser", "se pose")  # how a bird sits

PLACES = {  # with the article, in it
    "kitchen": ("la cuisine", "dans la cuisine"), "bedroom": ("la chambre", "dans la chambre"),
    "living_room": ("le salon", "dans le salon"), "office": ("le bureau", "dans le bureau"),
    "library": ("la bibliothèque", "à la bibliothèque"), "market": ("le marché", "au marché"),
    "shop": ("le magasin", "au magasin"), "park": ("le parc", "dans le parc"), "station": ("la gare", "à la gare"),
    "museum": ("le musée", "au musée"), "garden": ("le jardin", "dans le jardin"),
    "beach": ("la plage", "sur la plage"),
    "school": ("l'école", "à l'école"), "village": ("le village", "au village"),
    "hospital": ("l'hôpital", "à l'hôpital"),
}  # fmt: skip

SOLD_AT = {"shop": "dans le magasin", "village": "dans le village"}  # "vendre au magasin" would be to sell to it

TIMES = {
    "in_the_morning": "le matin", "at_noon": "à midi", "in_the_evening": "le soir", "every_day": "tous les jours",
    "on_sundays": "le dimanche", "on_weekends": "le week-end", "yesterday": "hier", "last_week": "la semaine dernière",
    "on_monday": "lundi", "on_saturday": "samedi", "this_morning": "ce matin", "yesterday_evening": "hier soir",
    "today": "aujourd'hui", "tomorrow": "demain", "tonight": "ce soir",
}  # fmt: skip

NUMERALS = {3: "trois", 4: "quatre", 5: "cinq", 6: "six", 7: "sept", 8: "huit", 9: "neuf", 10: "dix"}

RELATIONS = {"on": "sur", "under": "sous", "beside": "à côté de", "in": "dans", "behind": "derrière"}

NBSP = "\u00a0"


def _vowel(text: str) -> bool:
    """Whether a word elides what stands before it (no word here begins with an aspirated h)."""
    return text[0].lower() in "aeiouéèêœhâî"


def _de(text: str) -> str:
    if text.startswith("le "):
        return "du " + text[3:]
    return ("d'" if _vowel(text) else "de ") + text


def _to(text: str) -> str:
    return "au " + text[3:] if text.startswith("le ") else "à " + text


def _that(text: str) -> str:
    return ("qu'" if _vowel(text) else "que ") + text


def _name(person: m.Person) -> str:
    return NAMES[person.name]


def _gender(noun: str) -> int:
    return 1 if NOUNS[noun][1] == "f" else 0


def _np(np: m.NP) -> str:
    thing = np.thing
    noun, gender = NOUNS[thing.noun][0], _gender(thing.noun)
    text, after = noun, []
    if np.colour:
        after.append(ADJECTIVES[thing.colour][gender])
    if np.quality:
        quality = ADJECTIVES[thing.quality]
        if len(quality) > 2:
            text = f"{quality[2] if gender == 0 and _vowel(noun) else quality[gender]} {noun}"
        else:
            after.append(quality[gender])
    if after:
        text = f"{text} {' et '.join(after)}"
    if not np.definite:
        return f"{'une' if gender else 'un'} {text}"
    text = "l'" + text if _vowel(text) else f"{'la' if gender else 'le'} {text}"
    return text if np.owner is None else f"{text} {_de(_name(np.owner))}"


def _spot(spot: m.Spot) -> str:
    relation, support = RELATIONS[spot.relation], _np(spot.support)
    text = f"à côté {_de(support)}" if spot.relation == "beside" else f"{relation} {support}"
    if spot.place is None:
        return text
    inside = spot.support.definite or spot.relation == "in"
    return f"{text} {_de(PLACES[spot.place][0]) if inside else _at(spot.place)}"


def _at(place: str, verb: str = "") -> str:
    return SOLD_AT.get(place, PLACES[place][1]) if verb == "sell" else PLACES[place][1]


def _when(time: str) -> str:
    return capital(TIMES[time]) + ","


def _agreed(verb: str, noun: str) -> str:
    """The participle after its object."""
    return VERBS[verb][2] + ("e" if _gender(noun) else "")


class French(Grammar):
    """French."""

    words: ClassVar[Words] = {
        "noun": {k: forms(v[0], v[2]) for k, v in NOUNS.items()} | {k: (v[0],) for k, v in MASS.items()}
        | {k: forms(*v) for k, v in JOBS.items()},
        "verb": {k: forms(*v) for k, v in VERBS.items()} | {"perch": PERCH},
        "adjective": {k: forms(*v) for k, v in ADJECTIVES.items()},
        "place": {k: (v[0].replace("'", " ").split()[1],) for k, v in PLACES.items()},
        "time": {k: (v, capital(v)) for k, v in TIMES.items()},
        "numeral": {str(k): (v,) for k, v in NUMERALS.items()},
        "name": {k: (v,) for k, v in NAMES.items()},
    }  # fmt: skip

    def past_act(self, p: m.PastAct) -> str:
        return f"{_when(p.time)} {_name(p.who)} a {VERBS[p.verb][2]} {_np(p.what)} {_at(p.place)}."

    def exists(self, p: m.Exists) -> str:
        return f"Il y a {_np(p.what)} {_spot(p.spot)}."

    def located(self, p: m.Located) -> str:
        return f"{capital(_np(p.what))} est {_spot(p.spot)}."

    def has(self, p: m.Has) -> str:
        return f"{_name(p.who)} a {_np(p.first)} et {_np(p.second)}."

    def lacks(self, p: m.Lacks) -> str:
        return f"{_name(p.who)} n'a pas {_de(NOUNS[p.noun][0])}, mais {_name(p.other)} a {_np(p.what)}."

    def _move(self, verb: str, place: str, form: int) -> str:
        way = _to(PLACES[place][0]) if verb == "go" else _de(PLACES[place][0])
        return f"{VERBS[verb][form]} {way}"

    def job(self, p: m.Job) -> str:
        job = JOBS[p.who.job][p.who.female]
        move = f"{self._move(p.verb, p.place, 1)} avec {_name(p.companion)}"
        return f"{_name(p.who)} est {job} et {move} {TIMES[p.time]}."

    def motion(self, p: m.Motion) -> str:
        move = f"{self._move(p.verb, p.place, 3)} avec {_np(p.pet)}"
        return f"{_when(p.time)} {_name(p.who)} et {_name(p.companion)} {move}."

    def transfer(self, p: m.Transfer) -> str:
        act = f"a {VERBS[p.verb][2]} {_np(p.what)} à {_name(p.recipient)}"
        return f"{_when(p.time)} {_name(p.who)} {act} {_at(p.place)}."

    def which_place(self, p: m.WhichPlace) -> str:
        return f"Est-ce {_that(_np(p.what))} est {_at(p.here)} ou {_at(p.there)}{NBSP}?"

    def who_did(self, p: m.WhoDid) -> str:
        return f"Qui a {VERBS[p.verb][2]} {_np(p.what)} {_at(p.place)} {TIMES[p.time]}{NBSP}?"

    def not_but(self, p: m.NotBut) -> str:
        act = f"{_agreed(p.verb, p.thing.noun)} {_at(p.place)} {TIMES[p.time]}"
        return f"Ce n'est pas {_name(p.wrong)}, c'est {_name(p.right)} qui l'a {act}."

    def want_question(self, p: m.WantQuestion) -> str:
        act = f"{VERBS[p.verb][0]} {_np(p.what)} {_at(p.place, p.verb)}"
        return f"Est-ce {_that(_name(p.who))} veut {act} {TIMES[p.time]}{NBSP}?"

    def _it(self, verb: str, noun: str) -> str:
        return f"{'la' if _gender(noun) else 'le'} {VERBS[verb][0]}"

    def want_yes(self, p: m.WantYes) -> str:
        act = self._it(p.verb, p.thing.noun)
        return f"Oui, {_name(p.who)} veut {act} {TIMES[p.time]} et acheter {_np(p.wished)}."

    def want_no(self, p: m.WantNo) -> str:
        refusal = f"{_name(p.who)} ne veut pas {self._it(p.verb, p.thing.noun)}"
        she = "elle" if p.who.female else "il"
        wish = f"{TIMES[p.time]}, {she} veut {VERBS[p.verb][0]} {_np(p.instead)}"
        return f"Non, {refusal}{NBSP}: {wish}."

    def _clause(self, who: m.Person, verb: str, noun: str, place: str) -> str:
        return f"{_that(_name(who))} a {_agreed(verb, noun)} {_at(place)}"

    def relative_spot(self, p: m.RelativeSpot) -> str:
        clause = self._clause(p.who, p.verb, p.what.thing.noun, p.place)
        return f"{capital(_np(p.what))} {clause} est {_spot(p.spot)}."

    def relative_quality(self, p: m.RelativeQuality) -> str:
        thing = p.what.thing
        clause = f"{self._clause(p.who, p.verb, thing.noun, p.place)} {TIMES[p.time]}"
        return f"{capital(_np(p.what))} {clause} est très {ADJECTIVES[thing.quality][_gender(thing.noun)]}."

    def _is(self, np: m.NP) -> str:
        thing, gender = np.thing, _gender(np.thing.noun)
        return f"{_np(np)} est {ADJECTIVES[thing.colour][gender]} et très {ADJECTIVES[thing.quality][gender]}"

    def contrast(self, p: m.Contrast) -> str:
        return f"{capital(self._is(p.first))}, mais {self._is(p.second)}."

    def while_(self, p: m.While) -> str:
        first = f"{_name(p.who)} {VERBS[p.verb][1]} {_np(p.what)} {_at(p.place)}"
        return f"Pendant {_that(first)}, {_name(p.other)} {VERBS[p.other_verb][1]} {_np(p.other_what)}."

    def meal(self, p: m.Meal) -> str:
        meal = f"boit {MASS[p.drink][1]} et mange {MASS[p.food][1]} avec {_name(p.companion)}"
        return f"{_when(p.time)} {_name(p.who)} {meal} {_at(p.place)}."

    def meal_not(self, p: m.MealNot) -> str:
        refusal = f"{_name(p.who)} ne boit pas {_de(MASS[p.refused][0])} {_at(p.place)}"
        she = "elle" if p.who.female else "il"
        return f"{_when(p.time)} {refusal}{NBSP}: {she} boit {MASS[p.drink][1]} et mange {MASS[p.food][1]}."

    def how_many(self, p: m.HowMany) -> str:
        what = f"{_de(NOUNS[p.noun][2])} et combien {_de(NOUNS[p.second_noun][2])}"
        bought = "achetées" if _gender(p.noun) and _gender(p.second_noun) else "achetés"
        return f"Combien {what} est-ce {_that(_name(p.who))} a {bought} {_at(p.place)} {TIMES[p.time]}{NBSP}?"

    def counts(self, p: m.Counts) -> str:
        first = f"{NUMERALS[p.number]} {NOUNS[p.noun][2]}"
        second = f"{NUMERALS[p.second_number]} {NOUNS[p.second_noun][2]}"
        return f"{_when(p.time)} {_name(p.who)} a acheté {first} et {second} {_at(p.place)}."

    def because(self, p: m.Because) -> str:
        state = f"est très {ADJECTIVES[p.state][p.who.female]} aujourd'hui"
        cause = f"a {VERBS[p.verb][2]} {_np(p.what)} {_at(p.place, p.verb)}"
        return f"{_name(p.who)} {state} parce qu'{'elle' if p.who.female else 'il'} {cause}."

    def compare(self, p: m.Compare) -> str:
        more = f"est plus {ADJECTIVES[p.quality][_gender(p.first.thing.noun)]}"
        return f"{capital(_np(p.first))} {more} que {_np(p.second)}."

    def rest(self, p: m.Rest) -> str:
        verb = PERCH if p.verb == "sit" and p.what.thing.noun == "bird" else VERBS[p.verb]
        return f"{_when(p.time)} {_np(p.what)} {verb[1]} {_spot(p.spot)}."

    def likes(self, p: m.Likes) -> str:
        return f"{_name(p.who)} aime {_np(p.what)}, et {_name(p.other)} aime {_np(p.other_what)}."


GRAMMAR = French()
