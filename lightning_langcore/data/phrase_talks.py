"""The phrasebook's instructions and answers as a source of conversations: unlimited, parallel, needs no download."""

from collections.abc import Iterator
from itertools import count

from lightning_langcore.data import phrasebook
from lightning_langcore.data.phrasebook.instructions import conversation
from lightning_langcore.data.phrases import code_digest
from lightning_langcore.data.source import Conversation


class PhrasebookConversations:
    """Questions about small scenes, translation, inflection and counting, in the phrasebook's eight languages.

    The key is the talk in English: the same in every language, and a talk that comes again stays in its split.

    Args:
        seed: another seed is another corpus.
    """

    endless = True

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @property
    def languages(self) -> list[str]:
        """The eight languages of the phrasebook."""
        return list(phrasebook.LANGUAGES)

    def conversations(self, language: str) -> Iterator[Conversation]:
        """Endless; one question and its answer each."""
        for index in count():
            english = conversation("en", index, self.seed)
            talk = english if language == "en" else conversation(language, index, self.seed)
            yield Conversation("\n".join(message["content"] for message in english), talk)

    def digest(self) -> str:
        """Of the seed and the phrasebook's own code, grammars included."""
        return code_digest(self.seed)
