"""Questions and answers in eight languages, against lines written by hand."""

import re
import unicodedata

import pytest

from lightning_langcore.data.phrasebook import LANGUAGES
from lightning_langcore.data.phrasebook import _grammar as grammar
from lightning_langcore.data.phrasebook import propositions as m
from lightning_langcore.data.phrasebook import questions as q
from tests.support.phrasebook import asking, talks

COLOURS = "red|blue|green|yellow|white|black|grey|brown"


def one(pattern: str, text: str) -> re.Match:
    """The one way to read a pattern in a text."""
    hits = list(re.finditer(pattern, text))
    assert len({hit.groups() for hit in hits}) == 1, f"{pattern} in {text}"
    return hits[0]


def colour(scene: str, noun: str) -> str:
    found = one(rf"({COLOURS}) {noun}\b", scene)[1]
    return f"The {noun} is {found}."


ANNA, IVAN = m.Person("anna", True, "writer"), m.Person("ivan", False, "teacher")
CAT = m.NP(m.Thing("cat", "black", "old"), quality=False)
VASE = m.NP(m.Thing("vase", "white", "heavy"), quality=False)
BOOK = m.NP(m.Thing("book", "red", "small"), colour=False, quality=False)
GOLDEN = [  # questions in the order of the rows of GOLDEN_TEXT, each written out by hand
    q.Who(m.PastAct("yesterday", ANNA, "find", CAT, "park")),
    q.WhereDid(m.PastAct("yesterday", IVAN, "buy", VASE, "market")),
    q.Inside(VASE, "kitchen", "garden"),
    q.Colour(BOOK),
    q.Owns(ANNA, "horse", None),
    q.Work(ANNA, ("singer", "writer")),
    q.Consumes(ANNA, "drink", "water"),
    q.Recipient(m.Transfer("yesterday", IVAN, "show", VASE, ANNA, "park")),
    q.Total(ANNA, 12),
    q.Together(ANNA, IVAN, 11, "apple"),
    q.Numbers(((3, "egg"), (10, "book"))),
    q.Phrase(m.Thing("lamp", "white", "new")),
    q.Form("verb", "key", "pencil", "sell", "beautiful", "writer"),
    q.Form("adjective", "key", "pencil", "sell", "beautiful", "writer"),
    q.Form("noun", "knife", "pencil", "sell", "beautiful", "writer"),
]
GOLDEN_TEXT = {
    "en": [
        "Who found the black cat in the park yesterday? Anna found the black cat.",
        "Where did Ivan buy the white vase? Ivan bought the white vase at the market.",
        "Is the white vase in the garden? No, the white vase is in the kitchen.",
        "What colour is the book? The book is red.",
        "Does Anna have a horse? No, Anna does not have a horse.",
        "Is Anna a singer or a writer? Anna is a writer.",
        "What does Anna drink? Anna drinks water.",
        "Who did Ivan show the white vase to? Ivan showed the white vase to Anna.",
        "How many things did Anna buy in all? Anna bought twelve things in all.",
        "How many apples did Anna and Ivan buy in all? Anna and Ivan bought eleven apples in all.",
        "three + egg, ten + book three eggs, ten books",
        "lamp + white + new a new white lamp",
        "the past tense of “sell” The past tense of “sell” is “sold”.",
        "the comparative of “beautiful” The comparative of “beautiful” is “more beautiful”.",
        "the plural of “knife” The plural of “knife” is “knives”.",
    ],
    "zh": [
        "昨天谁在公园里找到了那只黑色的猫？ 那只黑色的猫是安娜找到的。",
        "那个白色的花瓶是伊万在哪里买的？ 那个白色的花瓶是伊万在市场上买的。",
        "那个白色的花瓶在花园里吗？ 不，那个白色的花瓶在厨房里。",
        "那本书是什么颜色的？ 那本书是红色的。",
        "安娜有马吗？ 没有，安娜没有马。",
        "安娜是歌手还是作家？ 安娜是作家。",
        "安娜喝什么？ 安娜喝水。",
        "伊万把那个白色的花瓶拿给谁看了？ 伊万把那个白色的花瓶拿给安娜看了。",
        "安娜一共买了多少件东西？ 安娜一共买了十二件东西。",
        "安娜和伊万一共买了多少个苹果？ 安娜和伊万一共买了十一个苹果。",
        "三 + 鸡蛋，十 + 书 三个鸡蛋，十本书",
        "台灯 + 白色 + 新 一盏白色的新台灯",
        "“钥匙”的量词 “钥匙”的量词是“把”：一把钥匙。",
        "“钥匙”的量词 “钥匙”的量词是“把”：一把钥匙。",
        "“水果刀”的量词 “水果刀”的量词是“把”：一把水果刀。",
    ],
    "es": [
        "¿Quién encontró ayer al gato negro en el parque? Al gato negro lo encontró Ana.",
        "¿Dónde compró Iván el jarrón blanco? Iván compró el jarrón blanco en el mercado.",
        "¿Está el jarrón blanco en el jardín? No, el jarrón blanco está en la cocina.",
        "¿De qué color es el libro? El libro es rojo.",
        "¿Tiene Ana un caballo? No, Ana no tiene caballo.",
        "¿Ana es cantante o escritora? Ana es escritora.",
        "¿Qué bebe Ana? Ana bebe agua.",
        "¿A quién le mostró Iván el jarrón blanco? Iván le mostró el jarrón blanco a Ana.",
        "¿Cuántas cosas compró Ana en total? Ana compró doce cosas en total.",
        "¿Cuántas manzanas compraron en total Ana e Iván? Ana e Iván compraron once manzanas en total.",
        "tres + huevo, diez + libro tres huevos, diez libros",
        "lámpara + blanco + nuevo una nueva lámpara blanca",
        "la tercera persona del pretérito de «vender» La tercera persona del pretérito de «vender» es «vendió».",
        "el femenino de «hermoso» El femenino de «hermoso» es «hermosa».",
        "el plural de «lápiz» El plural de «lápiz» es «lápices».",
    ],
    "ru": [
        "Кто вчера нашёл в парке чёрную кошку? Чёрную кошку нашла Анна.",
        "Где Иван купил белую вазу? Иван купил белую вазу на рынке.",
        "Белая ваза стоит в саду? Нет, белая ваза стоит на кухне.",
        "Какого цвета книга? Книга красная.",
        "У Анны есть лошадь? Нет, у Анны нет лошади.",
        "Анна — певица или писательница? Анна — писательница.",
        "Что пьёт Анна? Анна пьёт воду.",
        "Кому Иван показал белую вазу? Иван показал белую вазу Анне.",
        "Сколько всего предметов купила Анна? Всего Анна купила двенадцать предметов.",
        "Сколько всего яблок купили Анна и Иван? Всего Анна и Иван купили одиннадцать яблок.",
        "три + яйцо, десять + книга три яйца, десять книг",
        "лампа + белый + новый новая белая лампа",
        "женского рода глагола «продал» Форма женского рода глагола «продал» — «продала».",
        "женского рода прилагательного «красивый» Форма женского рода прилагательного «красивый» — «красивая».",
        "родительного падежа существительного «нож» Форма родительного падежа существительного «нож» — «ножа».",
    ],
    "ar": [
        "من وجد القطة السوداء في المتنزه أمس؟ وجدت آنا القطة السوداء.",
        "أين اشترى إيفان المزهرية البيضاء؟ اشترى إيفان المزهرية البيضاء في السوق.",
        "هل المزهرية البيضاء في الحديقة؟ لا، المزهرية البيضاء في المطبخ.",
        "ما لون الكتاب؟ الكتاب أحمر.",
        "هل لدى آنا حصان؟ لا، ليس لدى آنا حصان.",
        "هل آنا مطربة أم كاتبة؟ آنا كاتبة.",
        "ماذا تشرب آنا؟ تشرب آنا الماء.",
        "على من عرض إيفان المزهرية البيضاء؟ عرض إيفان المزهرية البيضاء على آنا.",
        "كم شيئا اشترت آنا في المجموع؟ اشترت آنا اثني عشر شيئا في المجموع.",
        "كم تفاحة اشترت آنا وإيفان في المجموع؟ اشترت آنا وإيفان إحدى عشرة تفاحة في المجموع.",
        "ثلاثة + بيضة، عشرة + كتاب ثلاث بيضات، عشرة كتب",
        "مصباح + أبيض + جديد مصباح أبيض جديد",
        "صيغة المؤنث للفعل «باع» صيغة المؤنث للفعل «باع» هي «باعت».",
        "صيغة المؤنث للصفة «جميل» صيغة المؤنث للصفة «جميل» هي «جميلة».",
        "صيغة الجمع للاسم «قلم رصاص» صيغة الجمع للاسم «قلم رصاص» هي «أقلام رصاص».",
    ],
    "ko": [
        "어제 공원에서 누가 검은 고양이를 발견했습니까? 안나가 검은 고양이를 발견했습니다.",
        "이반은 어디에서 하얀 꽃병을 샀습니까? 이반은 시장에서 하얀 꽃병을 샀습니다.",
        "하얀 꽃병은 정원에 있습니까? 아니요, 하얀 꽃병은 부엌에 있습니다.",
        "책은 무슨 색입니까? 책은 빨간색입니다.",
        "안나에게 말이 있습니까? 아니요, 안나에게는 말이 없습니다.",
        "안나는 가수입니까, 작가입니까? 안나는 작가입니다.",
        "안나는 무엇을 마십니까? 안나는 물을 마십니다.",
        "이반은 누구에게 하얀 꽃병을 보여 주었습니까? 이반은 안나에게 하얀 꽃병을 보여 주었습니다.",
        "안나는 물건을 모두 몇 개 샀습니까? 안나는 물건을 모두 열두 개 샀습니다.",
        "안나와 이반은 사과를 모두 몇 개 샀습니까? 안나와 이반은 사과를 모두 열한 개 샀습니다.",
        "셋 + 달걀, 열 + 책 달걀 세 개, 책 열 권",
        "램프 + 하얀 + 새 하얀 새 램프",
        "‘팔다’의 정중한 과거형 ‘팔다’의 정중한 과거형은 ‘팔았습니다’입니다.",
        "‘열쇠’의 수를 셀 때 쓰는 말 ‘열쇠’의 수를 셀 때 쓰는 말은 ‘개’입니다.",
        "‘칼’의 수를 셀 때 쓰는 말 ‘칼’의 수를 셀 때 쓰는 말은 ‘자루’입니다.",
    ],
    "vi": [
        "Ai đã tìm thấy con mèo màu đen trong công viên hôm qua? Anna đã tìm thấy con mèo màu đen.",
        "Ivan đã mua cái bình hoa màu trắng ở đâu? Ivan đã mua cái bình hoa màu trắng ở chợ.",
        "Cái bình hoa màu trắng có ở trong vườn không? Không, cái bình hoa màu trắng ở trong nhà bếp.",
        "Quyển sách có màu gì? Quyển sách có màu đỏ.",
        "Anna có ngựa không? Không, Anna không có ngựa.",
        "Anna là ca sĩ hay nhà văn? Anna là nhà văn.",
        "Anna uống gì? Anna uống nước lọc.",
        "Ivan đã cho ai xem cái bình hoa màu trắng? Ivan đã cho Anna xem cái bình hoa màu trắng.",
        "Anna đã mua tất cả bao nhiêu món đồ? Anna đã mua tất cả mười hai món đồ.",
        "Anna và Ivan đã mua tất cả bao nhiêu quả táo? Anna và Ivan đã mua tất cả mười một quả táo.",
        "ba + trứng, mười + sách ba quả trứng, mười quyển sách",
        "đèn bàn + màu trắng + mới một cái đèn bàn mới màu trắng",
        "dạng quá khứ của động từ “bán” Dạng quá khứ của động từ “bán” là “đã bán”.",
        "loại từ của danh từ “chìa khóa” Loại từ của danh từ “chìa khóa” là “chiếc”.",
        "loại từ của danh từ “dao” Loại từ của danh từ “dao” là “con”.",
    ],
    "fr": [
        "Qui a trouvé le chat noir dans le parc hier ? C'est Anna qui a trouvé le chat noir.",
        "Où est-ce qu'Ivan a acheté le vase blanc ? Ivan a acheté le vase blanc au marché.",
        "Est-ce que le vase blanc est dans le jardin ? Non, le vase blanc est dans la cuisine.",
        "De quelle couleur est le livre ? Le livre est rouge.",
        "Est-ce qu'Anna a un cheval ? Non, Anna n'a pas de cheval.",
        "Est-ce qu'Anna est chanteuse ou écrivaine ? Anna est écrivaine.",
        "Que boit Anna ? Anna boit de l'eau.",
        "À qui est-ce qu'Ivan a montré le vase blanc ? Ivan a montré le vase blanc à Anna.",
        "Combien de choses est-ce qu'Anna a achetées en tout ? Anna a acheté douze choses en tout.",
        "Combien de pommes est-ce qu'Anna et Ivan ont achetées en tout ? Anna et Ivan ont acheté onze pommes en tout.",
        "trois + œuf, dix + livre trois œufs, dix livres",
        "lampe + blanc + nouveau une nouvelle lampe blanche",
        "le participe passé du verbe « vendre » Le participe passé du verbe « vendre » est « vendu ».",
        "le féminin de l'adjectif « beau » Le féminin de l'adjectif « beau » est « belle ».",
        "le pluriel du nom « crayon » Le pluriel du nom « crayon » est « crayons ».",
    ],
}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_golden_questions_and_answers(lang):
    asked = [" ".join(asking(lang).ask(question)).replace("\u00a0", " ") for question in GOLDEN]
    assert asked == GOLDEN_TEXT[lang]


RU_FEW_MANY = {"яйцо": ("яйца", "яиц"), "книга": ("книги", "книг"), "карандаш": ("карандаша", "карандашей")}


def test_ru_counts_by_case():
    for noun, (few, many) in zip(("egg", "book", "pencil"), RU_FEW_MANY.values(), strict=True):
        for number in range(3, 21):
            assert asking("ru").counted(number, noun).split()[1] == (few if number < 5 else many)


def test_ar_numbers_go_against_gender_and_the_noun_is_singular_after_ten():
    for number in range(3, 11):  # masculine nouns take the numeral with ة
        assert asking("ar").counted(number, "book").split()[0].endswith("ة")
        assert not asking("ar").counted(number, "apple").split()[0].endswith("ة")
    for number in range(13, 20):
        unit, ten, noun = asking("ar").counted(number, "book").split()
        assert (unit[-1], ten, noun) == ("ة", "عشر", "كتابا")
        unit, ten, noun = asking("ar").counted(number, "apple").split()
        assert unit[-1] != "ة"
        assert (ten, noun) == ("عشرة", "تفاحة")


def test_ko_native_numerals_before_a_counter():
    words = ["세", "네", "다섯", "여섯", "일곱", "여덟", "아홉", "열"]
    words += [f"열{word}" for word in ("한", "두", *words[:7])] + ["스무"]
    assert [asking("ko").counted(number, "book") for number in range(3, 21)] == [f"책 {word} 권" for word in words]


def test_ko_particles_follow_the_final_consonant():
    after = {"은": True, "는": False, "이": True, "가": False, "을": True, "를": False, "과": True, "와": False}
    words = grammar("ko").words
    nouns = {form for kind in ("noun", "name") for forms in words[kind].values() for form in forms} - {"가수"}
    pattern = rf"(?:^|(?<=[ \n]))({'|'.join(sorted(nouns, key=len, reverse=True))})(은|는|이|가|을|를|과|와)(?= )"
    hits = [hit for pair in talks("ko") for text in pair for hit in re.findall(pattern, text)]
    assert len(hits) > 1000
    for noun, particle in hits:
        final = unicodedata.normalize("NFD", noun)[-1]
        assert ("\u11a8" <= final <= "\u11ff") == after[particle], noun + particle


def test_es_and_fr_phrases_agree():
    feminine = {"es": ("lámpara", "mesa", "camisa", "caja"), "fr": ("lampe", "table", "chemise", "boîte")}
    for lang, article in (("es", "una"), ("fr", "une")):
        for concept, noun in zip(("lamp", "table", "shirt", "box"), feminine[lang], strict=True):
            for colour, form in (("white", "blanc"), ("black", "neg" if lang == "es" else "noir")):
                asked, phrase = asking(lang).ask(q.Phrase(m.Thing(concept, colour, "new")))
                assert asked.startswith(f"{noun} + ")
                assert phrase.startswith(f"{article} nueva " if lang == "es" else f"{article} nouvelle "), phrase
                assert re.search(rf"{noun} {form}\w*[ae]$", phrase), phrase
