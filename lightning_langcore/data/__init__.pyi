"""Public names of the package for type checkers; at run time each name is imported on first access."""

from .datamodule import TextDataModule
from .options import Evaluation, Injection, Length, Loading, Mixture
from .sources.base import Conversation, ConversationSource, Document, Source, Splitter
from .sources.conversations import ConversationFiles, HubConversations
from .sources.files import FileSource
from .sources.hub import HubSource
from .sources.phrasebook import PhrasebookConversations, PhrasebookSource, general_text

__all__ = [
    "Conversation",
    "ConversationFiles",
    "ConversationSource",
    "Document",
    "Evaluation",
    "FileSource",
    "HubConversations",
    "HubSource",
    "Injection",
    "Length",
    "Loading",
    "Mixture",
    "PhrasebookConversations",
    "PhrasebookSource",
    "Source",
    "Splitter",
    "TextDataModule",
    "general_text",
]
