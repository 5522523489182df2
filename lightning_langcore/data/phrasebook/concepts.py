"""The concepts of the phrasebook: things and persons, their properties, and the actions that they allow."""

from __future__ import annotations

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


def qualities(noun: str) -> tuple[str, ...]:
    """The qualities that a thing of this kind can have."""
    if noun in ANIMALS:
        return ANIMALS[noun]
    if noun in FURNITURE:
        return COMMON_QUALITIES
    further = PORTABLE.get(noun) or VEHICLES[noun]
    return COMMON_QUALITIES + further


def colours(noun: str) -> tuple[str, ...]:
    """The colours that a thing of this kind can have."""
    return ANIMAL_COLOURS if noun in ANIMALS else COLOURS


def affordances(noun: str) -> tuple[str, ...]:
    """The transitive verbs that make sense with a thing of this kind."""
    if noun in ANIMALS:
        verbs = ("buy", "find", "look_for", "draw", "photograph", "feed", "sell", "lose")
        return verbs if noun in ("bird", "duck") else (*verbs, "wash")
    if noun in VEHICLES:
        return ("buy", "find", "draw", "photograph", "wash", "repair", "sell")
    further = {"wash": WASHABLE, "repair": MENDABLE, "read": READABLE, "draw": DRAWABLE}
    return ("buy", "find", "lose", "look_for", "hide", "sell", *(v for v, nouns in further.items() if noun in nouns))
