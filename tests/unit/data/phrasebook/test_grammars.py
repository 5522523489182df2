"""The grammars of eight languages, checked from outside the grammars."""

import re
import unicodedata
from functools import cache

import pytest

from lightning_langcore.data.phrasebook import LANGUAGES, document, lexicon
from lightning_langcore.data.phrasebook import _grammar as grammar
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
