"""The embedded parallel corpus: API, determinism, novelty, and grammar checked from outside the grammars.

The grammar checks read finished text with tables and patterns written here by hand, so that a slip in a language's
own tables shows.
"""

import hashlib
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache

import pytest

from lightning_langcore.data.phrasebook import LANGUAGES, document, document_planner, lexicon, sentences
from lightning_langcore.data.phrasebook import _grammar as grammar
from lightning_langcore.data.phrasebook import concepts as known_concepts
from lightning_langcore.data.phrasebook import propositions as m

READ = 1200  # documents read by the grammar checks


@cache
def texts(lang: str) -> list[str]:
    return [document(lang, i, seed=5) for i in range(READ)]


@cache
def whole(lang: str) -> str:
    return "\n".join(texts(lang))


def found(pattern: str, lang: str, least: int = 20) -> list[tuple[str, ...]]:
    """Every match's groups; that a check finds enough to look at is part of the check."""
    hits = [hit.groups() for hit in re.finditer(pattern, whole(lang))]
    assert len(hits) >= least, f"{lang}: {pattern} is found {len(hits)} times only"
    return hits


# --- the API -------------------------------------------------------------------------------------------------------


def test_document_joins_sentences():
    for lang in LANGUAGES:
        assert document(lang, 3) == ("" if lang == "zh" else " ").join(sentences(lang, 3))


def test_unknown_language_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'tlh'.*en, zh, es, ru, ar, ko, vi, fr"):
        document("tlh", 0)
    with pytest.raises(ValueError, match="known languages"):
        lexicon("tlh")


def test_negative_index_is_refused():
    with pytest.raises(ValueError, match="-1"):
        sentences("en", -1)


def test_document_depends_on_seed_and_index_alone():
    assert document("en", 7) == document("en", 7, seed=0)
    first = [document("ru", i) for i in range(50)]
    assert len(set(first)) == 50
    assert not set(first) & {document("ru", i, seed=1) for i in range(50)}
    assert [document("ru", i) for i in reversed(range(50))] == first[::-1]


def test_same_text_in_another_process():
    """Under another PYTHONHASHSEED; the parent packages are stubbed, to leave out their imports."""
    script = (
        "import hashlib, sys, types\n"
        "for name in ('lightning_langcore', 'lightning_langcore.data'):\n"
        "    module = types.ModuleType(name)\n"
        "    module.__path__ = [sys.argv[1] + '/' + name.replace('.', '/')]\n"
        "    sys.modules[name] = module\n"
        "from lightning_langcore.data.phrasebook import LANGUAGES, document\n"
        "text = '\\n'.join(document(lang, i, seed=3) for lang in LANGUAGES for i in range(100))\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    text = "\n".join(document(lang, i, seed=3) for lang in LANGUAGES for i in range(100))
    root = document_planner.__file__.split("/lightning_langcore/")[0]
    for hash_seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-c", script, root],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONUTF8": "1"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert result.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()


def test_as_many_sentences_in_every_language():
    for i in range(300):
        numbers = {len(sentences(lang, i)) for lang in LANGUAGES}
        assert len(numbers) == 1
        assert 5 <= numbers.pop() <= 9


@pytest.mark.parametrize("lang", LANGUAGES)
def test_lexicon_is_large_enough(lang):
    words = lexicon(lang)
    least = {"noun": 44, "verb": 22, "adjective": 16, "place": 10, "time": 10, "numeral": 8, "name": 10}
    for kind, number in least.items():
        assert len(set(words[kind])) >= number, kind


# --- not a toy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_held_out_sentences_are_new(lang):
    known = {s for i in range(3000) for s in sentences(lang, i)}
    held_out = [s for i in range(3000, 3300) for s in sentences(lang, i)]
    assert sum(s in known for s in held_out) < 0.03 * len(held_out)


def test_documents_are_of_a_useful_length():
    means = {lang: sum(map(len, texts(lang))) / READ for lang in ("en", "zh")}
    assert 300 < means["en"] < 450
    assert 100 < means["zh"] < 160


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_word_is_used(lang):
    text = "\n".join(document(lang, i) for i in range(3000))
    for kind, rows in grammar(lang).words.items():
        for concept, forms in rows.items():
            assert any(form in text for form in forms), f"{lang}: no form of {kind} {concept} in 3000 documents"


def concepts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif is_dataclass(value):
        for field in fields(value):
            yield from concepts(getattr(value, field.name))


def test_every_concept_and_proposition_is_planned():
    said = [p for i in range(3000) for p in document_planner.plan(0, i)]
    used = {c for p in said for c in concepts(p)}
    k = known_concepts
    known = {*k.PORTABLE, *k.VEHICLES, *k.ANIMALS, *k.FURNITURE, *k.PRODUCE, *k.FOODS, *k.DRINKS, *k.JOBS, *k.COLOURS,
             *k.QUALITIES, *k.STATES, *k.TRANSITIVE, *k.TRANSFERS, *k.MOTIONS, *k.RESTS, *k.PLACES, *k.TIMES,
             *map(str, k.NUMERALS), *k.WOMEN, *k.MEN}  # fmt: skip
    assert not known - used
    assert {type(p) for p in said} == set(m.METHODS)


def test_questions_are_answered_and_things_stay_as_they_are():
    answers = {
        m.WhichPlace: m.SearchResult,
        m.WhoDid: m.NotBut,
        m.HowMany: m.Counts,
        m.WantQuestion: (m.WantYes, m.WantNo),
    }
    for i in range(1000):
        plan = document_planner.plan(0, i)
        for question, answer in zip(plan, (*plan[1:], None), strict=True):
            if type(question) in answers:
                assert isinstance(answer, answers[type(question)])
            if isinstance(question, m.WhichPlace):
                assert answer.what.thing == question.what.thing
                assert answer.spot.place in (question.here, question.there)
            if isinstance(question, m.HowMany):
                assert (answer.who, answer.noun, answer.place) == (question.who, question.noun, question.place)
        things = {np.thing for p in plan for np in mentions(p)}
        assert len({thing.noun for thing in things}) == len(things), "one noun, two things"
        known: set[m.Thing] = set()
        for p in plan:
            for np in mentions(p):
                assert np.definite == (np.thing in known), f"document {i}: {p}"
                known.add(np.thing)


def mentions(value: object) -> Iterator[m.NP]:
    if isinstance(value, m.NP):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from mentions(getattr(value, field.name))


# --- every language ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_text_is_clean(lang):
    ends = {"zh": "。？", "ar": ".؟"}.get(lang, ".?")
    for text in texts(lang):
        assert unicodedata.is_normalized("NFC", text)
        assert not re.search(r"\s\s|[{}_\[\]|]|None|\d|\s[.,。，]", text), text
    for i in range(300):
        for p, sentence in zip(document_planner.plan(0, i), sentences(lang, i), strict=True):
            asked = isinstance(p, m.WhichPlace | m.WhoDid | m.HowMany | m.WantQuestion)
            assert sentence[-1] == ends[asked], sentence
            assert sum(sentence.count(mark) for mark in ends) == 1, sentence
            assert sentence[0] == sentence[0].upper()


ANNA, IVAN = m.Person("anna", True, "doctor"), m.Person("ivan", False, "teacher")
UMBRELLA, BOOK = m.Thing("umbrella", "blue", "old"), m.Thing("book", "red", "small")
GUITAR, CAT = m.Thing("guitar", "black", "heavy"), m.Thing("cat", "white", "old")
TABLE = m.NP(m.Thing("table", "green", "old"), colour=False)

GOLDEN = [  # propositions in the order of the rows of GOLDEN_TEXT, each written out by hand
    m.PastAct("yesterday", ANNA, "buy", m.NP(UMBRELLA, definite=False), "market"),
    m.Lacks(IVAN, "dog", ANNA, m.NP(CAT, definite=False)),
    m.NotBut(IVAN, ANNA, "find", GUITAR, "park", "on_monday"),
    m.RelativeSpot(m.NP(BOOK, quality=False), IVAN, "buy", "shop", m.Spot("under", TABLE, None)),
    m.Counts("on_saturday", ANNA, 4, "egg", 10, "book", "village"),
]
GOLDEN_TEXT = {
    "en": [
        "Yesterday Anna bought an old blue umbrella at the market.",
        "Ivan does not have a dog, but Anna has an old white cat.",
        "Not Ivan but Anna found it in the park on Monday.",
        "The red book that Ivan bought in the shop is under the old table.",
        "On Saturday Anna bought four eggs and ten books in the village.",
    ],
    "zh": [
        "昨天安娜在市场上买了一把蓝色的旧雨伞。",
        "伊万没有狗，但是安娜有一只白色的老猫。",
        "不是伊万，而是安娜星期一在公园里找到了它。",
        "伊万在商店里买的那本红色的书在那张旧桌子下面。",
        "星期六安娜在村子里买了四个鸡蛋和十本书。",
    ],
    "es": [
        "Ayer Ana compró un viejo paraguas azul en el mercado.",
        "Iván no tiene perro, pero Ana tiene un viejo gato blanco.",
        "No fue Iván, sino Ana quien la encontró el lunes en el parque.",
        "El libro rojo que Iván compró en la tienda está debajo de la vieja mesa.",
        "El sábado Ana compró cuatro huevos y diez libros en el pueblo.",
    ],
    "ru": [
        "Вчера Анна купила на рынке старый синий зонт.",
        "У Ивана нет собаки, но у Анны есть старая белая кошка.",
        "Не Иван, а Анна нашла её в понедельник в парке.",
        "Красная книга, которую Иван купил в магазине, лежит под старым столом.",
        "В субботу Анна купила в деревне четыре яйца и десять книг.",
    ],
    "ar": [
        "أمس اشترت آنا مظلة زرقاء قديمة في السوق.",
        "ليس لدى إيفان كلب، لكن لدى آنا قطة بيضاء عجوز.",
        "ليس إيفان، بل آنا هي التي وجدتها في المتنزه يوم الاثنين.",
        "الكتاب الأحمر الذي اشتراه إيفان في المتجر موجود تحت الطاولة القديمة.",
        "يوم السبت اشترت آنا أربع بيضات وعشرة كتب في القرية.",
    ],
    "ko": [
        "어제 안나는 시장에서 낡은 파란 우산을 샀습니다.",
        "이반에게는 개가 없지만 안나에게는 늙은 하얀 고양이가 있습니다.",
        "이반이 아니라 안나가 월요일에 공원에서 그것을 발견했습니다.",
        "이반이 가게에서 산 빨간 책은 낡은 탁자 아래에 있습니다.",
        "토요일에 안나는 마을에서 달걀 네 개와 책 열 권을 샀습니다.",
    ],
    "vi": [
        "Hôm qua Anna đã mua một chiếc ô cũ màu xanh dương ở chợ.",
        "Ivan không có chó, nhưng Anna có một con mèo già màu trắng.",
        "Không phải Ivan mà là Anna đã tìm thấy nó trong công viên hôm thứ Hai.",
        "Quyển sách màu đỏ mà Ivan đã mua ở cửa hàng đang ở dưới cái bàn cũ.",
        "Hôm thứ Bảy Anna đã mua bốn quả trứng và mười quyển sách ở làng.",
    ],
    "fr": [
        "Hier, Anna a acheté un vieux parapluie bleu au marché.",
        "Ivan n'a pas de chien, mais Anna a un vieux chat blanc.",
        "Ce n'est pas Ivan, c'est Anna qui l'a trouvée dans le parc lundi.",
        "Le livre rouge qu'Ivan a acheté au magasin est sous la vieille table.",
        "Samedi, Anna a acheté quatre œufs et dix livres au village.",
    ],
}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_golden_sentences(lang):
    assert [grammar(lang).say(p) for p in GOLDEN] == GOLDEN_TEXT[lang]


# --- each language by itself ------------------------------------------------------------------------------------------


def test_en_articles_numbers_and_do_support():
    for article, letter in found(r"\b([Aa]n?) (\w)", "en"):
        assert (article.lower() == "an") == (letter in "aeiou")
    for (noun,) in found(r"\b(?:three|four|five|six|seven|eight|nine|ten|many) (\w+)", "en"):
        assert noun.endswith("s")
    for verb, _ in found(r"(?:does not|Does \w+ want to|and how many \w+ did \w+) (\w+?)(s?) ", "en"):
        assert verb in {"have", "drink", "want", "buy", "sell", "hide", "wash", "draw", "repair", "read", "photograph"}


ZH_MEASURE = {
    "书": "本", "笔记本": "本", "钥匙": "把", "雨伞": "把", "水果刀": "把", "帽子": "顶", "手机": "部", "台灯": "盏",
    "铅笔": "支", "衬衫": "件", "毛巾": "条", "围巾": "条", "汽车": "辆", "自行车": "辆", "船": "条", "猫": "只",
    "狗": "只", "马": "匹", "鸟": "只", "兔子": "只", "桌子": "张", "床": "张", "椅子": "把", "香蕉": "根",
    "苹果": "个", "鸡蛋": "个", "杯子": "个", "盘子": "个",
}  # fmt: skip


def test_zh_measure_words_and_locatives():
    measures = "".join(sorted(set(ZH_MEASURE.values())))
    nouns = "|".join(sorted(ZH_MEASURE, key=len, reverse=True))
    # From a determiner and its measure word over the words of quality and colour to the noun.
    quality, colour = "(?:漂亮的|昂贵的|沉重的|轻便的|干净的)?", "(?:[红蓝绿黄白黑灰棕]色的?)?"
    pattern = rf"[一那三四五六七八九十几]([{measures}]){quality}{colour}[大小新旧老脏]?({nouns})(?!丁)"
    for measure, noun in found(pattern, "zh", least=2000):
        assert measure == ZH_MEASURE[noun], noun
    assert not re.search(r"[一那几](?:书|猫|狗|桌子|苹果|杯子|汽车)", whole("zh")), "a noun without its measure word"
    assert not re.search(r"[ .,?]", whole("zh").replace("\n", ""))
    assert not re.search(r"没有[一那]|不有|二", whole("zh"))


ES_FEMININE = ("llave", "taza", "caja", "cesta", "lámpara", "pelota", "botella", "camisa", "cámara", "guitarra",
               "toalla", "bufanda", "maleta", "bicicleta", "mesa", "silla", "cama")  # fmt: skip
ES_MASCULINE = ("libro", "cuaderno", "cuchillo", "paraguas", "sombrero", "teléfono", "bolso", "despertador", "lápiz",
                "plato", "jarrón", "coche", "barco", "gato", "perro", "caballo", "pájaro", "conejo", "pato",
                "estante", "sofá", "armario")  # fmt: skip


def test_es_agreement_and_contractions():
    nouns = "|".join(ES_FEMININE + ES_MASCULINE)
    for article, adjective, noun in found(rf"\b(el|la|un|una|del|al) (?:(\w+) )?({nouns})\b", "es", least=2000):
        feminine = noun in ES_FEMININE
        assert (article in ("la", "una")) == feminine, noun
        if adjective:
            assert adjective == "gran" or adjective[-1] == ("a" if feminine else "o"), f"{adjective} {noun}"
    for noun, colour in found(rf"\b({nouns}) (roj[oa]|negr[oa]|blanc[oa]|amarill[oa])\b", "es", least=1000):
        assert colour[-1] == ("a" if noun in ES_FEMININE else "o"), f"{noun} {colour}"
    assert not re.search(r"\b(de|a) el\b|\by I", whole("es"))
    for text in texts("es")[:200]:
        assert text.count("¿") == text.count("?")
    for verb in found(r"(?:es|está) (?:hoy )?muy (\w+)", "es"):
        assert verb
    assert not re.search(r"\bes (muy|más) (limpi|suci)|\bestá (muy|más) (grande|viej|pequeñ)", whole("es"))


RU_GENITIVE = {"машины", "велосипеда", "лодки", "кошки", "собаки", "лошади", "птицы", "кролика", "утки"}
RU_FEW = {"яблока", "яйца", "апельсина", "лимона", "банана", "торта", "чашки", "тарелки", "карандаша", "тетради",
          "бутылки", "книги"}  # fmt: skip
RU_MANY = {"яблок", "яиц", "апельсинов", "лимонов", "бананов", "тортов", "чашек", "тарелок", "карандашей", "тетрадей",
           "бутылок", "книг"}  # fmt: skip
RU_WOMEN = ("Анна", "Мария", "София", "Елена", "Лаура", "Сара")


def test_ru_cases_numerals_and_agreement():
    assert {noun for (noun,) in found(r"\bнет (\w+)", "ru")} == RU_GENITIVE
    assert {noun for (noun,) in found(r"\b(?:три|четыре) (\w+)", "ru")} == RU_FEW
    assert {n for (n,) in found(r"(?:[Сс]колько|пять|шесть|семь|восемь|девять|десять) (\w+)", "ru")} == RU_MANY
    for name, verb in found(r"\b([А-Я]\w+) (купила?|наш[ёл]\w+|подарила?|одолжила?|показала?)\b", "ru"):
        if name != "Кто":
            assert verb.endswith("ла") == (name in RU_WOMEN), f"{name} {verb}"
    for adjective, noun in found(r"\b(\w+(?:ый|ий|ой|ая|яя|ое|ую|юю)) (\w+[ауо])\b", "ru"):
        if noun in ("книга", "лампа", "кошка", "собака", "машина", "сумка", "ваза"):
            assert adjective.endswith(("ая", "яя")), f"{adjective} {noun}"
        if noun in ("книгу", "лампу", "кошку", "собаку", "машину", "сумку", "вазу"):
            assert adjective.endswith(("ую", "юю")), f"{adjective} {noun}"
    for (adjective,) in found(r"\b(\w+) кролика\b(?!,)", "ru"):  # animate: accusative as genitive
        assert adjective == "нет" or adjective.endswith(("ого", "его")), adjective
    for (adjective,) in found(r"\bна (\w+) (?:столе|стуле|диване)", "ru"):
        assert adjective.endswith(("ом", "ем"))
    for (adjective,) in found(r"\b(?:под|за) (\w+) (?:столом|стулом|диваном|шкафом)", "ru"):
        assert adjective.endswith(("ым", "им"))


AR_FEMININE = ("مظلة", "قبعة", "سلة", "حقيبة", "كرة", "زجاجة", "كاميرا", "قيثارة", "منشفة", "مزهرية", "سيارة", "دراجة",
               "قطة", "بطة", "طاولة", "أريكة", "خزانة")  # fmt: skip
AR_MASCULINE = ("كتاب", "دفتر", "مفتاح", "كوب", "سكين", "هاتف", "صندوق", "مصباح", "منبه", "طبق", "قميص", "وشاح", "قارب",
                "كلب", "حصان", "عصفور", "أرنب", "كرسي", "رف", "سرير")  # fmt: skip
AR_COLOURS = {"أحمر": "حمراء", "أزرق": "زرقاء", "أخضر": "خضراء", "أصفر": "صفراء", "أبيض": "بيضاء", "أسود": "سوداء"}


def test_ar_agreement_in_definiteness_and_gender():
    nouns = "|".join(AR_FEMININE + AR_MASCULINE)
    colours = "|".join([*AR_COLOURS, *AR_COLOURS.values()])
    for noun_al, noun, colour_al, colour in found(rf"\b(ال)?({nouns})ا? (ال)?({colours})\b", "ar", least=1000):
        assert bool(noun_al) == bool(colour_al), f"{noun} {colour}"
        assert (colour in AR_COLOURS.values()) == (noun in AR_FEMININE), f"{noun} {colour}"
    for noun, which in found(rf"\bال({nouns}) (?:ال\w+ )*(الذي|التي)\b", "ar"):
        assert which == ("التي" if noun in AR_FEMININE else "الذي"), noun
    for noun, clitic in found(rf"\bال({nouns}) (?:ال\w+ )*(?:الذي|التي) (?:اشترا|اشترت|وجد|وجدت)(ها|ه)\b", "ar"):
        assert clitic == ("ها" if noun in AR_FEMININE else "ه"), noun


def test_ar_numerals_verbs_and_tanwin():
    feminine = {"تفاحات", "بيضات", "برتقالات", "ليمونات", "موزات", "كعكات", "زجاجات"}
    masculine = {"كتب", "دفاتر", "أكواب", "أقلام", "أطباق"}
    long, short = "ثلاثة|أربعة|خمسة|ستة|سبعة|ثمانية|تسعة|عشرة", "ثلاث|أربع|خمس|ست|سبع|ثماني|تسع|عشر"
    assert {noun for (noun,) in found(rf"\bو?(?:{long}) (\w+)", "ar")} == masculine
    assert {noun for (noun,) in found(rf"\b(?:و?(?:{short})) (\w+)", "ar")} == feminine
    women = ("آنا", "ماريا", "صوفيا", "إيلينا", "لورا", "سارة")
    names = "|".join((*women, "إيفان", "ديفيد", "دانيال", "توماس", "مارتن", "آدم"))
    for verb, name in found(rf"\b([يت](?:شرب|ذهب|عود|ريد|حب|غسل|قرأ)|اشترى|اشترت) ({names})\b", "ar"):
        assert verb.startswith("ت") or verb == "اشترت" if name in women else verb[0] == "ي" or verb == "اشترى"
    for (noun,) in found(r"اشتر[تى] \w+ (كتابا?|طبقا?|هاتفا?|صندوقا?) (?!و)", "ar"):
        assert noun.endswith("ا"), noun
    assert not re.search(r"[,?;]", whole("ar"))


def closed(syllable: str) -> bool:
    """From the Unicode order of Hangul: whether there is a final consonant."""
    decomposed = unicodedata.normalize("NFD", syllable)
    return "\u11a8" <= decomposed[-1] <= "\u11ff"


def test_ko_particles_follow_the_final_consonant():
    after = {"은": True, "는": False, "이": True, "가": False, "을": True, "를": False, "과": True, "와": False}
    words = lexicon("ko")
    nouns = "|".join(sorted({*words["noun"], *words["name"], *words["counter"]} - {"가수"}, key=len, reverse=True))
    hits = found(rf"(?:^|(?<=[ \n]))({nouns})(은|는|이|가|을|를|과|와)(?= )", "ko", least=5000)
    assert {particle for _, particle in hits} == set(after)
    for noun, particle in hits:
        assert closed(noun[-1]) == after[particle], noun + particle


def test_ko_is_polite_and_counts_with_counters():
    for sentence in re.findall(r"[^.?\n]+[.?]", whole("ko")):
        assert re.search(r"니다\.$|니까\?$", sentence), sentence
    counters = {"책": "권", "공책": "권", "연필": "자루", "사과": "개", "케이크": "조각"}
    numbers = "몇|세|네|다섯|여섯|일곱|여덟|아홉|열"
    for noun, counter in found(rf"({'|'.join(counters)}) (?:{numbers}) (\S+?)[과와을를] ", "ko"):
        assert counter == counters[noun]


VI_CLASSIFIER = {
    "sách": "quyển", "vở": "quyển", "dao": "con", "bóng": "quả", "mèo": "con", "chó": "con", "ngựa": "con",
    "chim": "con", "thỏ": "con", "vịt": "con", "táo": "quả", "trứng": "quả", "cam": "quả", "chanh": "quả",
    "chuối": "quả", "ô tô": "chiếc", "xe đạp": "chiếc", "bàn": "cái", "cốc": "cái", "điện thoại": "chiếc",
}  # fmt: skip


def test_vi_classifiers_and_questions():
    nouns = "|".join(sorted(VI_CLASSIFIER, key=len, reverse=True))
    numbers = "một|ba|bốn|năm|sáu|bảy|tám|chín|mười|bao nhiêu"
    for classifier, noun in found(rf"\b(?:{numbers}) (\w+) ({nouns})\b(?! tắm| bàn)", "vi", least=500):
        assert classifier == VI_CLASSIFIER[noun], noun
    assert not re.search(rf"\b(?:{numbers}) (?:{nouns})\b", whole("vi")), "a numeral without a classifier"
    for (rest,) in found(r" có muốn ([^.?]*)", "vi"):
        assert rest.endswith(" không")


FR_FEMININE = ("clé", "tasse", "boîte", "lampe", "bouteille", "chemise", "guitare", "serviette", "valise", "voiture",
               "table", "chaise")  # fmt: skip
FR_MASCULINE = ("livre", "cahier", "couteau", "parapluie", "chapeau", "téléphone", "panier", "sac", "réveil", "crayon",
                "ballon", "vase", "vélo", "bateau", "chat", "chien", "cheval", "lapin", "canard", "lit",
                "canapé")  # fmt: skip


def test_fr_agreement():
    nouns = "|".join(FR_FEMININE + FR_MASCULINE)
    feminine_only = ("grande", "petite", "nouvelle", "vieille", "belle")
    for article, adjective, noun in found(rf"\b(le|la|un|une|du|au) (?:(\w+) )?({nouns})\b", "fr", least=2000):
        feminine = noun in FR_FEMININE
        assert (article in ("la", "une")) == feminine, noun
        if adjective:
            assert (adjective in feminine_only) == feminine, f"{adjective} {noun}"
    for noun, colour in found(rf"\b({nouns}) (verte?|bleue?|noire?|grise?|blanc(?:he)?)\b", "fr", least=1000):
        assert colour.endswith("e") == (noun in FR_FEMININE), f"{noun} {colour}"
    for noun, participle in found(rf"\b({nouns})[^.?]*? (?:que |qu')\w+ a (achetée?|trouvée?)\b", "fr"):
        assert participle.endswith("ée") == (noun in FR_FEMININE), noun


def test_fr_elision_negation_and_spacing():
    text = whole("fr")
    assert not re.search(r"\b(?:[Ll]e|[Ll]a|[Dd]e|[Qq]ue|[Nn]e) [aeiouéèêàâîœhAEIOU]", text)
    assert not re.search(r"\b(?:de|à) le\b", text)
    assert not re.search(r"\bpas (?:un|une|du|des)\b", text)
    assert not re.search(r"[^\u00a0][?:;]", text)
    assert not re.search(r"\b(?:nouveau|vieux|beau) [aeiouéêœ]", text)
