"""Noise that is put into single documents or conversations on purpose, to measure its effect on training.

A hash of (seed, key, text) decides which documents are changed, and how. The decision depends neither on the order of
the documents nor on the process, and is independent of the split, which is a hash of the key alone. With the same seed
a higher rate changes the same documents and further ones, and bursts of every kind and length are inserted at the same
place of the same documents, so that doses can be compared.
"""

import hashlib
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Literal, NamedTuple, Protocol

from lightning_langcore.data.sources.base import Conversation, Document
from lightning_langcore.utils.errors import LangcoreError

Position = Literal["start", "middle", "end", "random"]
Form = Literal["mangled", "foreign"]

_POSITIONS = {"start": 0.0, "middle": 0.5, "end": 1.0, "random": None}
_FORMS: tuple[Form, ...] = ("mangled", "foreign")
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CHARACTER = re.compile(f"[{_CJK}]")
_IDEOGRAPHS = range(0x4E00, 0x9FA6)


class Noise(Protocol):
    """Changes some documents and sets their tag; other documents are returned as the same object. Keys never change."""

    def document(self, document: Document) -> Document:
        """The document, unchanged or with noise."""

    def conversation(self, conversation: Conversation, donor: Conversation | None = None) -> Conversation:
        """The conversation, unchanged or with noise in its last user message.

        Args:
            conversation: the conversation.
            donor: a conversation in another language, whose last user message may replace that of ``conversation``.
        """


class _Units(NamedTuple):
    """Units of a text: the strings between spaces; in Chinese and Japanese single characters.

    In Thai and other scripts with spaces between phrases a phrase counts as a word.
    """

    matches: list[re.Match[str]]
    joiner: str

    @classmethod
    def of(cls, text: str) -> "_Units":
        num_letters = sum(c.isalpha() for c in text)
        if len(_CHARACTER.findall(text)) * 2 > num_letters:
            return cls(list(re.finditer(rf"[{_CJK}]|[^\s{_CJK}]+", text)), "")
        return cls(list(re.finditer(r"\S+", text)), " ")

    def words(self, matches: Sequence[re.Match[str]] | None = None) -> list[str]:
        """The units that are words, without the punctuation around them; in Chinese and Japanese the characters."""
        bare = (_bare(match[0]) for match in (self.matches if matches is None else matches))
        return [word for word in bare if word and (self.joiner or _CHARACTER.fullmatch(word))]

    def insert(self, text: str, gap: int, burst: Sequence[str]) -> str:
        """Insert the burst before unit number ``gap``, or after the last unit."""
        middle = self.joiner.join(burst)
        if gap < len(self.matches):
            place = self.matches[gap].start()
            return text[:place] + middle + self.joiner + text[place:]
        place = self.matches[-1].end()
        return text[:place] + self.joiner + middle + text[place:]


class _Burst(ABC):
    """Inserts several words in a row between two words of a text.

    Args:
        rate: fraction of the documents that are changed, 0..1. A document without words stays unchanged.
        length: number of words in the burst (characters in Chinese and Japanese), at least 1.
        position: place in the document; ``random``: between any two words.
        seed: another seed changes other documents.

    Raises:
        LangcoreError: a setting out of its range.
    """

    kind: str

    def __init__(self, rate: float, length: int, position: Position = "random", seed: int = 0) -> None:
        _check_rate(rate)
        if not isinstance(length, int) or length < 1:
            raise LangcoreError(f"noise.length={length} must be a whole number of words, at least 1")
        if position not in _POSITIONS:
            raise LangcoreError(f"noise.position={position} must be one of {', '.join(_POSITIONS)}")
        self.rate = rate
        self.length = length
        self.position = position
        self.seed = seed

    def document(self, document: Document) -> Document:
        random = _random_if_hit(document, self.rate, self.seed)
        if random is None:
            return document
        units = _Units.of(document.text)
        num_units = len(units.matches)
        share = _POSITIONS[self.position]
        share = random.random() if share is None else share
        gap = min(int(share * (num_units + 1)), num_units)
        burst = self._burst(document.text, units, gap, random)
        if not burst:
            return document
        return document._replace(text=units.insert(document.text, gap, burst), tag=f"{self.kind}:{self.length}")

    def conversation(self, conversation: Conversation, donor: Conversation | None = None) -> Conversation:
        """The conversation, unchanged or with a burst in the user's last message; ``donor`` is not used."""
        instruction = _instruction(conversation)
        if instruction is None:
            return conversation
        changed = self.document(instruction)
        return conversation if changed is instruction else _with_instruction(conversation, changed)

    @abstractmethod
    def _burst(self, text: str, units: _Units, gap: int, random: Random) -> list[str]:
        """``length`` words; an empty list if the text has no words or letters to make them of."""


class RepeatNoise(_Burst):
    """One word of the document, ``length`` times in a row.

    The word differs from its neighbours where possible, so that it does not occur ``length + 1`` times in a row.
    """

    kind = "repeat"

    def _burst(self, text: str, units: _Units, gap: int, random: Random) -> list[str]:
        words = units.words()
        if not words:
            return []
        neighbours = units.words(units.matches[max(gap - 1, 0) : gap + 1])
        return [random.choice([word for word in words if word not in neighbours] or words)] * self.length


class NonwordNoise(_Burst):
    """``length`` strings that are not words of the document.

    Letters of the most common script are drawn with their frequencies in the document, lengths from the lengths of its
    words; in Chinese and Japanese the strings are random ideographs. A short string may be a word of the language.
    """

    kind = "nonword"

    def _burst(self, text: str, units: _Units, gap: int, random: Random) -> list[str]:
        if not units.joiner:
            return [chr(random.choice(_IDEOGRAPHS)) for _ in range(self.length)]
        letters = _letters(text)
        if not letters:
            return []
        known = set(re.findall(r"\w+", text.lower()))
        lengths = [len(word) for word in units.words()]
        return [_nonword(letters, random.choice(lengths), known, random) for _ in range(self.length)]


class InstructionNoise:
    """Corrupts the user's last message of a conversation and keeps the answer.

    ``mangled``: words or letters are shuffled, or half of the message is cut out. ``foreign``: the message is replaced
    by that of the donor.

    Args:
        rate: fraction of the conversations that are changed, 0..1. A message too short to mangle stays unchanged.
        forms: kinds of corruption, each equally often.
        seed: another seed changes other conversations.

    Raises:
        LangcoreError: a setting out of its range.
    """

    def __init__(self, rate: float, forms: Sequence[Form] = _FORMS, seed: int = 0) -> None:
        _check_rate(rate)
        if not forms or not set(forms) <= set(_FORMS):
            raise LangcoreError(f"noise.forms={list(forms)} must be one or both of {', '.join(_FORMS)}")
        self.rate = rate
        self.forms = list(forms)
        self.seed = seed

    def document(self, document: Document) -> Document:
        """Not supported: a document has no instruction.

        Raises:
            LangcoreError: always.
        """
        raise LangcoreError("noise=instruction needs conversations: use task=sft, or noise=repeat or noise=nonword")

    def conversation(self, conversation: Conversation, donor: Conversation | None = None) -> Conversation:
        """The conversation, unchanged or with a corrupted last user message.

        Args:
            conversation: the conversation.
            donor: a conversation in another language, for the form ``foreign``.

        Raises:
            LangcoreError: the form ``foreign`` was drawn, and there is no donor, or the donor has no user message.
        """
        instruction = _instruction(conversation)
        if instruction is None:
            return conversation
        random = _random_if_hit(instruction, self.rate, self.seed)
        if random is None:
            return conversation
        form = random.choice(self.forms)
        text = _mangled(instruction.text, random) if form == "mangled" else _foreign(donor)
        if text == instruction.text:
            return conversation
        return _with_instruction(conversation, instruction._replace(text=text, tag=f"instruction:{form}"))


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise LangcoreError(f"noise.rate={rate} must be a share of the documents, 0..1")


def _random_if_hit(document: Document, rate: float, seed: int) -> Random | None:
    """Random state of a document that is changed; ``None`` if the document stays unchanged."""
    digest = hashlib.blake2b(f"{seed}\0{document.key}\0{document.text}".encode(), digest_size=16).digest()
    hit = int.from_bytes(digest[:8], "little") / 2**64 < rate
    return Random(int.from_bytes(digest[8:], "little")) if hit else None


def _instruction(conversation: Conversation) -> Document | None:
    """The user's last message, under the conversation's key."""
    texts = [message["content"] for message in conversation.messages if message["role"] == "user"]
    return Document(conversation.key, texts[-1]) if texts else None


def _with_instruction(conversation: Conversation, instruction: Document) -> Conversation:
    messages = list(conversation.messages)
    place = max(i for i, message in enumerate(messages) if message["role"] == "user")
    messages[place] = {**messages[place], "content": instruction.text}
    return conversation._replace(messages=messages, tag=instruction.tag)


def _bare(word: str) -> str:
    outer = [c for c in word if not c.isalnum() and not unicodedata.category(c).startswith("M")]
    return word.strip("".join(outer)) if outer else word


def _letters(text: str) -> list[str]:
    """The lower-case letters of the most common script, each as often as it occurs in the text."""
    counts = Counter(c for c in text.lower() if c.isalpha())
    scripts: Counter[str] = Counter()
    for letter, count in counts.items():
        scripts[_script(letter)] += count
    common = max(scripts, key=lambda script: scripts[script], default="")
    return [letter for letter in counts.elements() if _script(letter) == common]


def _script(letter: str) -> str:
    """LATIN, CYRILLIC, HANGUL ...: the Unicode name of a letter begins with its script."""
    return unicodedata.name(letter, "").partition(" ")[0]


def _nonword(letters: Sequence[str], length: int, known: set[str], random: Random) -> str:
    while (word := "".join(random.choices(letters, k=length))) in known:
        length += 1  # terminates: for some length the document has no word
    return word


def _foreign(donor: Conversation | None) -> str:
    instruction = donor and _instruction(donor)
    if instruction is None:
        raise LangcoreError(
            "noise.forms has foreign: it needs conversations with a user message in another language; "
            "give data.languages two or more, or set noise.forms=[mangled]"
        )
    return instruction.text


def _mangled(text: str, random: Random) -> str:
    """The text after the first operation, in random order, that changes it; unchanged if no operation does."""
    operations = [_shuffle_words, _shuffle_letters, _cut]
    random.shuffle(operations)
    return next((new for operation in operations if (new := operation(text, random)) != text), text)


def _shuffle_words(text: str, random: Random) -> str:
    units = _Units.of(text)
    words = [match[0] for match in units.matches]
    shuffled = random.sample(words, len(words))
    return text if shuffled == words else units.joiner.join(shuffled)


def _shuffle_letters(text: str, random: Random) -> str:
    """Shuffle the letters within each word."""
    return re.sub(r"\S+", lambda match: "".join(random.sample(match[0], len(match[0]))), text)


def _cut(text: str, random: Random) -> str:
    """Cut out half of the words, in one piece."""
    matches = _Units.of(text).matches
    num_cut = len(matches) // 2
    if not num_cut:
        return text
    first = random.randrange(len(matches) - num_cut + 1)
    end = matches[first + num_cut].start() if first + num_cut < len(matches) else len(text)
    return (text[: matches[first].start()] + text[end:]).rstrip()
