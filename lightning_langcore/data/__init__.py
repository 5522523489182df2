"""Text: where it comes from, how it is split, mixed, packed for training and cut into windows for scoring."""

from lightning_langcore.data.datamodule import TextDataModule
from lightning_langcore.data.sources.base import Conversation, ConversationSource, Document, Source, Splitter
from lightning_langcore.data.sources.conversations import ConversationFiles, HubConversations
from lightning_langcore.data.sources.files import FileSource
from lightning_langcore.data.sources.hub import HubSource
from lightning_langcore.data.sources.phrasebook import PhrasebookConversations, PhrasebookSource, general_text

__all__ = [
    "Conversation",
    "ConversationFiles",
    "ConversationSource",
    "Document",
    "FileSource",
    "HubConversations",
    "HubSource",
    "PhrasebookConversations",
    "PhrasebookSource",
    "Source",
    "Splitter",
    "TextDataModule",
    "general_text",
]
