"""A source of text for tests."""

from collections.abc import Iterator

from lightning_langcore.data.sources.base import Document


class ListSource:
    """Numbered documents of several lengths, the same keys in every language."""

    def __init__(self, count: int = 400, languages: tuple[str, ...] = ("ar", "ru", "zh")) -> None:
        self.languages = list(languages)
        self.count = count

    def documents(self, language: str) -> Iterator[Document]:
        texts = (f"{language} document {i} " + "word " * (i % 7) for i in range(self.count))
        return (Document(f"key {i}", text) for i, text in enumerate(texts))

    def digest(self) -> str:
        return f"{self.count}"
