"""Spanish: gender and number, ser and estar, personal a, contractions, object pronouns."""

from __future__ import annotations

from typing import ClassVar

from lightning_langcore.data.phrasebook import concepts
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook.grammars.base import Grammar, Words, capital, forms

NAMES = {
    "anna": "Ana", "maria": "María", "sofia": "Sofía", "elena": "Elena", "laura": "Laura", "sara": "Sara",
    "ivan": "Iván", "david": "David", "daniel": "Daniel", "thomas": "Tomás", "martin": "Martín", "adam": "Adán",
}  # fmt: skip

NOUNS = {  # singular, gender, plural where things are counted
    "book": ("libro", "m", "libros"), "notebook": ("cuaderno", "m", "cuadernos"), "key": ("llave", "f", ""),
    "cup": ("taza", "f", "tazas"), "knife": ("cuchillo", "m", ""), "umbrella": ("paraguas", "m", ""),
    "hat": ("sombrero", "m", ""), "phone": ("teléfono", "m", ""), "box": ("caja", "f", ""),
    "basket": ("cesta", "f", ""),
    "bag": ("bolso", "m", ""), "lamp": ("lámpara", "f", ""), "alarm_clock": ("despertador", "m", ""),
    "pencil": ("lápiz", "m", "lápices"), "ball": ("pelota", "f", ""), "plate": ("plato", "m", "platos"),
    "bottle": ("botella", "f", "botellas"), "shirt": ("camisa", "f", ""), "camera": ("cámara", "f", ""),
    "guitar": ("guitarra", "f", ""), "towel": ("toalla", "f", ""), "scarf": ("bufanda", "f", ""),
    "suitcase": ("maleta", "f", ""), "vase": ("jarrón", "m", ""), "car": ("coche", "m", ""),
    "bicycle": ("bicicleta", "f", ""), "boat": ("barco", "m", ""), "cat": ("gato", "m", ""),
    "dog": ("perro", "m", ""),
    "horse": ("caballo", "m", ""), "bird": ("pájaro", "m", ""), "rabbit": ("conejo", "m", ""),
    "duck": ("pato", "m", ""),
    "table": ("mesa", "f", ""), "chair": ("silla", "f", ""), "shelf": ("estante", "m", ""), "bed": ("cama", "f", ""),
    "sofa": ("sofá", "m", ""), "wardrobe": ("armario", "m", ""), "apple": ("manzana", "f", "manzanas"),
    "egg": ("huevo", "m", "huevos"), "orange": ("naranja", "f", "naranjas"), "lemon": ("limón", "m", "limones"),
    "banana": ("plátano", "m", "plátanos"), "cake": ("pastel", "m", "pasteles"),
}  # fmt: skip
MASS = {
    "bread": "pan", "rice": "arroz", "soup": "sopa", "cheese": "queso", "tea": "té", "coffee": "café", "milk": "leche",
    "juice": "zumo", "water": "agua",
}  # fmt: skip
JOBS = {  # masculine, feminine
    "doctor": ("médico", "médica"), "teacher": ("profesor", "profesora"), "student": ("estudiante", "estudiante"),
    "cook": ("cocinero", "cocinera"), "writer": ("escritor", "escritora"), "engineer": ("ingeniero", "ingeniera"),
    "painter": ("pintor", "pintora"), "farmer": ("agricultor", "agricultora"),
    "driver": ("conductor", "conductora"), "singer": ("cantante", "cantante"),
}  # fmt: skip

ADJECTIVES = {  # masculine, feminine, form before a noun where it may stand there (masculine, feminine)
    "red": ("rojo", "roja"), "blue": ("azul", "azul"), "green": ("verde", "verde"),
    "yellow": ("amarillo", "amarilla"),
    "white": ("blanco", "blanca"), "black": ("negro", "negra"), "grey": ("gris", "gris"),
    "brown": ("marrón", "marrón"), "big": ("grande", "grande"),
    "small": ("pequeño", "pequeña", "pequeño", "pequeña"), "new": ("nuevo", "nueva", "nuevo", "nueva"),
    "old": ("viejo", "vieja", "viejo", "vieja"), "beautiful": ("hermoso", "hermosa", "hermoso", "hermosa"),
    "heavy": ("pesado", "pesada"), "light": ("ligero", "ligera"), "expensive": ("caro", "cara"),
    "clean": ("limpio", "limpia"), "dirty": ("sucio", "sucia"), "happy": ("contento", "contenta"),
    "tired": ("cansado", "cansada"), "sad": ("triste", "triste"),
}  # fmt: skip
PASSING = ("clean", "dirty")  # what a thing "está"

VERBS = {  # infinitive, present and past of the third person singular, present plural
    "buy": ("comprar", "", "compró"), "find": ("encontrar", "", "encontró"), "lose": ("perder", "", "perdió"),
    "wash": ("lavar", "lava", "lavó"), "draw": ("dibujar", "dibuja", ""), "repair": ("reparar", "repara", "reparó"),
    "look_for": ("buscar", "busca", "buscó"), "read": ("leer", "lee", ""),
    "photograph": ("fotografiar", "fotografía", ""), "feed": ("alimentar", "alimenta", ""),
    "hide": ("esconder", "", ""), "sell": ("vender", "", "vendió"), "give": ("dar", "", "dio"),
    "show": ("mostrar", "", "mostró"), "bring": ("llevar", "", "llevó"), "lend": ("prestar", "", "prestó"),
    "go": ("ir", "va", "", "van"), "come_back": ("volver", "vuelve", "", "vuelven"),
    "sleep": ("dormir", "duerme", ""), "sit": ("sentarse", "se sienta", ""), "eat": ("comer", "come", ""),
    "drink": ("beber", "bebe", ""), "have": ("tener", "tiene", ""), "want": ("querer", "quiere", ""),
    "like": ("gustar", "gusta", ""),
}  # fmt: skip
PERCH = ("posarse", "se posa")  # how a bird sits
KEPT = ("cat", "dog", "horse", "car", "bicycle", "boat")  # "no tiene" them without an article
PERSONAL_A = ("feed", "look_for", "find", "photograph", "wash", "draw", "lose")  # of a known animal

PLACES = {
    "kitchen": "la cocina", "bedroom": "el dormitorio", "living_room": "el salón", "office": "la oficina",
    "library": "la biblioteca", "market": "el mercado", "shop": "la tienda", "park": "el parque",
    "station": "la estación", "museum": "el museo", "garden": "el jardín", "beach": "la playa",
    "school": "la escuela", "village": "el pueblo", "hospital": "el hospital",
}  # fmt: skip

TIMES = {
    "in_the_morning": "por la mañana", "at_noon": "al mediodía", "in_the_evening": "por la tarde",
    "every_day": "todos los días", "on_sundays": "los domingos", "on_weekends": "los fines de semana",
    "yesterday": "ayer", "last_week": "la semana pasada", "on_monday": "el lunes", "on_saturday": "el sábado",
    "this_morning": "esta mañana", "yesterday_evening": "ayer por la tarde", "today": "hoy", "tomorrow": "mañana",
    "tonight": "esta noche",
}  # fmt: skip

NUMERALS = {3: "tres", 4: "cuatro", 5: "cinco", 6: "seis", 7: "siete", 8: "ocho", 9: "nueve", 10: "diez"}

RELATIONS = {"on": "sobre", "under": "debajo de", "beside": "al lado de", "in": "en", "behind": "detrás de"}


def _de(text: str) -> str:
    return "del " + text[3:] if text.startswith("el ") else "de " + text


def _to(text: str) -> str:
    return "al " + text[3:] if text.startswith("el ") else "a " + text


def _and(text: str) -> str:
    return ("e " if text.startswith("I") else "y ") + text


def _name(person: m.Person) -> str:
    return NAMES[person.name]


def _gender(noun: str) -> int:
    return 1 if NOUNS[noun][1] == "f" else 0


def _np(np: m.NP) -> str:
    thing = np.thing
    gender = _gender(thing.noun)
    before, after = "", []
    if np.colour:
        after.append(ADJECTIVES[thing.colour][gender])
    if np.quality:
        quality = ADJECTIVES[thing.quality]
        if thing.quality == "big":  # "gran" would be great
            after.insert(0, quality[gender])
        elif len(quality) > 2 and (np.colour or thing.quality != "new"):  # "una nueva mesa" would be another one
            before = quality[2 + gender] + " "
        else:
            after.append(quality[gender])
    text = before + NOUNS[thing.noun][0] + (" " + " y ".join(after) if after else "")
    if np.owner is not None:
        text = f"{text} de {_name(np.owner)}"
    article = ("el", "la") if np.definite else ("un", "una")
    return f"{article[gender]} {text}"


def _object(verb: str, np: m.NP) -> str:
    text = _np(np)
    return _to(text) if np.definite and np.thing.noun in concepts.ANIMALS and verb in PERSONAL_A else text


def _pronoun(noun: str) -> str:
    return ("lo", "la")[_gender(noun)]


def _spot(spot: m.Spot) -> str:
    relation, support = RELATIONS[spot.relation], _np(spot.support)
    text = f"{relation[:-3]} {_de(support)}" if relation.endswith(" de") else f"{relation} {support}"
    if spot.place is None:
        return text
    inside = spot.support.definite or spot.relation == "in"
    return f"{text} {_de(PLACES[spot.place]) if inside else _at(spot.place)}"


def _at(place: str) -> str:
    return "en " + PLACES[place]


class Spanish(Grammar):
    """Spanish, as in Spain."""

    words: ClassVar[Words] = {
        "noun": {k: forms(v[0], v[2]) for k, v in NOUNS.items()} | {k: (v,) for k, v in MASS.items()}
        | {k: forms(*v) for k, v in JOBS.items()},
        "verb": {k: forms(*v) for k, v in VERBS.items()} | {"perch": PERCH},
        "adjective": {k: forms(*v) for k, v in ADJECTIVES.items()},
        "place": {k: (v.split()[1],) for k, v in PLACES.items()},
        "time": {k: (v, capital(v)) for k, v in TIMES.items()},
        "numeral": {str(k): (v,) for k, v in NUMERALS.items()},
        "name": {k: (v,) for k, v in NAMES.items()},
    }  # fmt: skip

    def past_act(self, p: m.PastAct) -> str:
        act = f"{_name(p.who)} {VERBS[p.verb][2]} {_object(p.verb, p.what)}"
        return f"{capital(TIMES[p.time])} {act} {_at(p.place)}."

    def exists(self, p: m.Exists) -> str:
        return f"Hay {_np(p.what)} {_spot(p.spot)}."

    def located(self, p: m.Located) -> str:
        return f"{capital(_np(p.what))} está {_spot(p.spot)}."

    def has(self, p: m.Has) -> str:
        return f"{_name(p.who)} tiene {_np(p.first)} y {_np(p.second)}."

    def lacks(self, p: m.Lacks) -> str:
        none = NOUNS[p.noun][0] if p.noun in KEPT else ("ningún ", "ninguna ")[_gender(p.noun)] + NOUNS[p.noun][0]
        return f"{_name(p.who)} no tiene {none}, pero {_name(p.other)} tiene {_np(p.what)}."

    def _move(self, verb: str, place: str, form: int) -> str:
        way = _to(PLACES[place]) if verb == "go" else _de(PLACES[place])
        return f"{VERBS[verb][form]} {way}"

    def job(self, p: m.Job) -> str:
        job = JOBS[p.who.job][p.who.female]
        move = f"{self._move(p.verb, p.place, 1)} con {_name(p.companion)}"
        return f"{_name(p.who)} es {job} y {TIMES[p.time]} {move}."

    def motion(self, p: m.Motion) -> str:
        move = f"{self._move(p.verb, p.place, 3)} con {_np(p.pet)}"
        return f"{capital(TIMES[p.time])} {_name(p.who)} {_and(_name(p.companion))} {move}."

    def transfer(self, p: m.Transfer) -> str:
        act = f"le {VERBS[p.verb][2]} a {_name(p.recipient)} {_np(p.what)}"
        place = _to(PLACES[p.place]) if p.verb == "bring" else _at(p.place)
        return f"{capital(TIMES[p.time])} {_name(p.who)} {act} {place}."

    def which_place(self, p: m.WhichPlace) -> str:
        return f"¿Está {_np(p.what)} {_at(p.here)} o {_at(p.there)}?"

    def who_did(self, p: m.WhoDid) -> str:
        return f"¿Quién {VERBS[p.verb][2]} {TIMES[p.time]} {_object(p.verb, p.what)} {_at(p.place)}?"

    def not_but(self, p: m.NotBut) -> str:
        act = f"{_pronoun(p.thing.noun)} {VERBS[p.verb][2]} {TIMES[p.time]} {_at(p.place)}"
        return f"No fue {_name(p.wrong)}, sino {_name(p.right)} quien {act}."

    def want_question(self, p: m.WantQuestion) -> str:
        act = f"{VERBS[p.verb][0]} {TIMES[p.time]} {_object(p.verb, p.what)} {_at(p.place)}"
        return f"¿Quiere {_name(p.who)} {act}?"

    def want_yes(self, p: m.WantYes) -> str:
        act = VERBS[p.verb][0] + _pronoun(p.thing.noun)
        return f"Sí, {_name(p.who)} quiere {act} {TIMES[p.time]} y comprar {_np(p.wished)}."

    def want_no(self, p: m.WantNo) -> str:
        verb = VERBS[p.verb][0]
        wish = f"{TIMES[p.time]} quiere {verb} {_object(p.verb, p.instead)}"
        return f"No, {_name(p.who)} no quiere {verb}{_pronoun(p.thing.noun)}; {wish}."

    def relative_spot(self, p: m.RelativeSpot) -> str:
        clause = f"que {_name(p.who)} {VERBS[p.verb][2]} {_at(p.place)}"
        return f"{capital(_np(p.what))} {clause} está {_spot(p.spot)}."

    def _copula(self, quality: str) -> str:
        return "está" if quality in PASSING else "es"

    def relative_quality(self, p: m.RelativeQuality) -> str:
        thing = p.what.thing
        clause = f"que {_name(p.who)} {VERBS[p.verb][2]} {TIMES[p.time]} {_at(p.place)}"
        quality = f"{self._copula(thing.quality)} muy {ADJECTIVES[thing.quality][_gender(thing.noun)]}"
        return f"{capital(_np(p.what))} {clause} {quality}."

    def _is(self, np: m.NP) -> str:
        thing, gender = np.thing, _gender(np.thing.noun)
        again = " está" if thing.quality in PASSING else ""
        return f"{_np(np)} es {ADJECTIVES[thing.colour][gender]} y{again} muy {ADJECTIVES[thing.quality][gender]}"

    def contrast(self, p: m.Contrast) -> str:
        return f"{capital(self._is(p.first))}, pero {self._is(p.second)}."

    def while_(self, p: m.While) -> str:
        first = f"{_name(p.who)} {VERBS[p.verb][1]} {_object(p.verb, p.what)} {_at(p.place)}"
        return f"Mientras {first}, {_name(p.other)} {VERBS[p.other_verb][1]} {_object(p.other_verb, p.other_what)}."

    def meal(self, p: m.Meal) -> str:
        meal = f"bebe {MASS[p.drink]} y come {MASS[p.food]} con {_name(p.companion)}"
        return f"{capital(TIMES[p.time])} {_name(p.who)} {meal} {_at(p.place)}."

    def meal_not(self, p: m.MealNot) -> str:
        refusal = f"{_name(p.who)} no bebe {MASS[p.refused]} {_at(p.place)}"
        return f"{capital(TIMES[p.time])} {refusal}: bebe {MASS[p.drink]} y come {MASS[p.food]}."

    def how_many(self, p: m.HowMany) -> str:
        many = ("cuántos", "cuántas")
        first = f"{capital(many[_gender(p.noun)])} {NOUNS[p.noun][2]}"
        second = f"{many[_gender(p.second_noun)]} {NOUNS[p.second_noun][2]}"
        return f"¿{first} y {second} compró {_name(p.who)} {TIMES[p.time]} {_at(p.place)}?"

    def counts(self, p: m.Counts) -> str:
        first = f"{NUMERALS[p.number]} {NOUNS[p.noun][2]}"
        second = f"{NUMERALS[p.second_number]} {NOUNS[p.second_noun][2]}"
        return f"{capital(TIMES[p.time])} {_name(p.who)} compró {first} y {second} {_at(p.place)}."

    def because(self, p: m.Because) -> str:
        state = f"está muy {ADJECTIVES[p.state][p.who.female]}"
        cause = f"{VERBS[p.verb][2]} {_object(p.verb, p.what)} {_at(p.place)}"
        return f"Hoy {_name(p.who)} {state} porque {cause}."

    def compare(self, p: m.Compare) -> str:
        more = f"{self._copula(p.quality)} más {ADJECTIVES[p.quality][_gender(p.first.thing.noun)]}"
        return f"{capital(_np(p.first))} {more} que {_np(p.second)}."

    def rest(self, p: m.Rest) -> str:
        verb = PERCH if p.verb == "sit" and p.what.thing.noun == "bird" else VERBS[p.verb]
        return f"{capital(TIMES[p.time])} {_np(p.what)} {verb[1]} {_spot(p.spot)}."

    def likes(self, p: m.Likes) -> str:
        first = f"A {_name(p.who)} le gusta {_np(p.what)}"
        return f"{first}, y a {_name(p.other)} le gusta {_np(p.other_what)}."


GRAMMAR = Spanish()
