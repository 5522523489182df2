"""The micro-batches of an optimizer step: their text and documents, kept until the decision on the step."""

import json
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_langcore.metrics.functional import IGNORE
from lightning_langcore.monitoring.text import Tokens

Entry = dict[str, Any] | str
"""A document in a batch: ``source``, ``language``, ``document``, ``tag`` (each if it is known), or only a name."""


_HEAD = 80


@dataclass
class MicroBatch:
    """Text, documents and costs of a micro-batch.

    Attributes:
        ids: (B, T) on the CPU; from CUDA the copy is asynchronous and complete after the next synchronization.
        labels: (B, T) on the CPU, copied like the ids.
        documents: see :func:`documents_of`.
        num_masked: rows whose labels were masked.
        loss: the loss of the backward pass.
        nats: (B, T) cost of each label, copied like the ids; ``None`` if the module has no ``token_nats``.
    """

    ids: Tensor | None
    labels: Tensor | None
    documents: list[list[Entry]] | None
    num_masked: int
    loss: Tensor | None = None
    nats: Tensor | None = None

    @classmethod
    def take(cls, batch: Any, skipped: set[str]) -> "MicroBatch":
        """Keep the parts of a batch that the monitor needs, and mask its rows with skipped documents."""
        documents = documents_of(batch)
        num_masked = 0
        if skipped and documents is not None and isinstance(batch, MutableMapping):
            num_masked = mask_rows(batch, documents, skipped)
        ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
        if not isinstance(ids, Tensor) or ids.ndim != 2:
            return cls(None, None, documents, num_masked)
        labels = batch.get("shift_labels", batch.get("labels"))
        fits = isinstance(labels, Tensor) and labels.shape == ids.shape
        return cls(_to_host(ids), _to_host(labels) if fits else None, documents, num_masked)

    def add_costs(self, loss: Tensor, nats: Any) -> None:
        """Keep the loss and the costs of the labels.

        Args:
            loss: the loss of the backward pass.
            nats: see the class; ignored unless it is a tensor in the shape of the labels.
        """
        self.loss = loss.detach()
        if isinstance(nats, Tensor) and self.labels is not None and nats.shape == self.labels.shape:
            self.nats = _to_host(nats.float())

    def tokens(self) -> Tokens | None:
        """The input of :class:`TextReader`; ``None`` if the batch has no text."""
        if self.ids is None:
            return None
        labels = None if self.labels is None else self.labels.numpy()
        return Tokens(self.ids.numpy(), labels, None if self.nats is None else self.nats.numpy())

    def head(self, row: int, tokenizer: Any) -> str | list[int]:
        """The first 80 characters of a row; without a tokenizer its first token ids."""
        ids = (
            [] if self.ids is None else self.ids[row, : 4 * _HEAD].tolist()
        )  # a token can be a byte: up to four tokens per character
        return ids[: _HEAD // 4] if tokenizer is None else tokenizer.decode(ids)[:_HEAD]


def documents_and_heads(
    batches: Sequence[MicroBatch], rows: Iterable[tuple[int, int]] | None, tokenizer: Any
) -> list[tuple[list[Entry], str | list[int]]]:
    """Documents and beginning of each row.

    Args:
        batches: the micro-batches of the step.
        rows: numbers of micro-batch and row; ``None``: all rows of batches with documents.
        tokenizer: see :meth:`MicroBatch.head`.
    """
    if rows is None:
        rows = [(number, row) for number, batch in enumerate(batches) for row in range(len(batch.documents or ()))]
    found = []
    for number, row in rows:
        batch = batches[number]
        found.append((batch.documents[row] if batch.documents else [], batch.head(row, tokenizer)))
    return found


def tagged(batches: Sequence[MicroBatch]) -> list[str] | None:
    """Identities of the documents with a tag; ``None`` if no batch has documents."""
    known = [row for batch in batches if batch.documents is not None for row in batch.documents]
    if not any(batch.documents is not None for batch in batches):
        return None
    return [identity(entry) for row in known for entry in row if isinstance(entry, dict) and entry.get("tag")]


def _to_host(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", non_blocking=tensor.is_cuda)


def documents_of(batch: Any) -> list[list[Entry]] | None:
    """The documents of each row of a batch; ``None`` if the batch has no documents.

    ``batch["documents"]`` has one string per row: a JSON list of objects; any other string is the name of one document.
    """
    if not isinstance(batch, Mapping) or "documents" not in batch:
        return None
    return [_entries(row) for row in batch["documents"]]


def _entries(row: str) -> list[Entry]:
    try:
        found = json.loads(row)
    except ValueError:
        return [row]
    return found if isinstance(found, list) and all(isinstance(entry, dict) for entry in found) else [row]


def identity(entry: Entry) -> str:
    """Source, language and document; translations of one text have the same document."""
    if isinstance(entry, str):
        return entry
    return "/".join(str(entry.get(key, "")) for key in ("source", "language", "document"))


def mask_rows(batch: MutableMapping[str, Any], documents: Sequence[Sequence[Entry]], skipped: set[str]) -> int:
    """Mask rows with a skipped document: replace the labels of the batch by a copy with -100 in these rows.

    Returns:
        The number of masked rows.
    """
    rows = [i for i, row in enumerate(documents) if any(identity(entry) in skipped for entry in row)]
    keys = [key for key in ("shift_labels", "labels") if key in batch]
    if rows and not keys:
        rank_zero_warn(
            "NoiseSensitivity: batches have no shift_labels or labels, so that skipped documents can't be masked"
        )
    if not rows or not keys:
        return 0
    for key in keys:
        batch[key] = batch[key].clone()
        batch[key][rows] = IGNORE
    return len(rows)
