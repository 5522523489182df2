"""A source of text for tests."""

from collections.abc import Iterator


class ListSource:
    """Numbered documents of several lengths, the same keys in every language."""

    def __init__(self, count: int = 400, languages: tuple[str, ...] = ("ar", "ru", "zh")) -> None:
        self.languages = list(languages)
        self.count = count

    def documents(self, language: str) -> Iterator[tuple[str, str]]:
        return ((f"key {i}", f"{language} document {i} " + "word " * (i % 7)) for i in range(self.count))

    def digest(self) -> str:
        return f"{self.count}"
