"""Text: where it comes from, how it is split, mixed, packed for training and cut into windows for scoring."""

from lightning_langcore.data.conversations import ConversationFiles, HubConversations
from lightning_langcore.data.datamodule import TextDataModule
from lightning_langcore.data.files import FileSource
from lightning_langcore.data.hub import HubSource
from lightning_langcore.data.phrase_talks import PhrasebookConversations
from lightning_langcore.data.phrases import PhrasebookSource, general_text
from lightning_langcore.data.source import Conversation, ConversationSource, Document, Source, Splitter

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
