"""Text: where it comes from, how it is split, packed for training and cut into windows for scoring."""

from lightning_langcore.data.datamodule import TextDataModule
from lightning_langcore.data.files import FileSource
from lightning_langcore.data.phrases import PhrasebookSource
from lightning_langcore.data.source import Source, Splitter

__all__ = ["FileSource", "PhrasebookSource", "Source", "Splitter", "TextDataModule"]
