"""The text of an optimizer step: features of each row, from the row itself and from text that the run has read."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lightning_langcore.metrics.functional import IGNORE
from lightning_langcore.metrics.repetition import repeat_counts
from lightning_langcore.monitoring.novelty import CostMemory, Costs, PairMemory, text_places, unseen


class Tokens(NamedTuple):
    """A micro-batch on the CPU, each (B, T).

    Attributes:
        ids: token ids.
        labels: -100 at positions without a label; ``None``: every position has a label.
        nats: cost of each label; ``None`` if unknown.
    """

    ids: np.ndarray
    labels: np.ndarray | None
    nats: np.ndarray | None

    @property
    def is_scored(self) -> np.ndarray:
        """Whether a position has a label, bool (B, T)."""
        return np.ones(self.ids.shape, dtype=bool) if self.labels is None else self.labels != IGNORE


class Text(NamedTuple):
    """Features of R rows of some micro-batches; rows without a label are left out.

    Attributes:
        rows: number of the micro-batch in the step, and of the row in the micro-batch.
        repeats: (R,) largest number of consecutive copies of a span.
        unseen: (R,) see :func:`~lightning_langcore.monitoring.novelty.unseen`.
        surprise: (R,) see :meth:`CostMemory.surprise`; ``None`` if not available.
        new_pairs: hashes of the pairs that are new to the run, 1-D.
        costs: costs of the tokens of each micro-batch with known costs.
    """

    rows: list[tuple[int, int]]
    repeats: np.ndarray
    unseen: np.ndarray
    surprise: np.ndarray | None
    new_pairs: np.ndarray
    costs: list[Costs]


NO_TEXT = Text([], np.zeros(0, np.int64), np.zeros(0), None, np.zeros(0, np.uint64), [])


class TextReader:
    """Compute features of text, and keep a memory of the accepted text.

    Args:
        max_period: longest repeated span, in tokens.
        pair_bits: see :class:`PairMemory`.
    """

    def __init__(self, max_period: int, pair_bits: int) -> None:
        self._max_period = max_period
        self._pairs = PairMemory(pair_bits)
        self._costs = CostMemory()

    def read(self, batches: Sequence[Tokens]) -> Text:
        """Features of micro-batches, at least one; the memory is unchanged."""
        texts = [self._read(number, batch) for number, batch in enumerate(batches)]
        surprises = [text.surprise for text in texts if text.surprise is not None]
        return Text(
            [place for text in texts for place in text.rows],
            np.concatenate([text.repeats for text in texts]),
            np.concatenate([text.unseen for text in texts]),
            np.concatenate(surprises) if len(surprises) == len(texts) else None,
            np.concatenate([text.new_pairs for text in texts]),
            [each for text in texts for each in text.costs],
        )

    def learn(self, texts: Sequence[Text]) -> None:
        """Add the text of a step to the memory.

        Args:
            texts: features of the text on all ranks.
        """
        for text in texts:
            self._pairs.add(text.new_pairs)
        self._costs.add([each for text in texts for each in text.costs])

    def state(self) -> dict[str, Any]:
        """State for a checkpoint: tensors, and a dict of tensors."""
        return {"pairs": self._pairs.state(), "costs": self._costs.state()}

    def load(self, state: Mapping[str, Any]) -> bool:
        """Restore a state from :meth:`state`; ``False`` if the pairs, in another number of bits, start empty."""
        self._costs.load(state["costs"])
        return self._pairs.load(state["pairs"])

    def _read(self, number: int, batch: Tokens) -> Text:
        rows = np.flatnonzero(batch.is_scored.any(axis=1))
        ids, is_scored = batch.ids[rows], batch.is_scored[rows]
        is_text = text_places(ids, is_scored)
        distinct = np.where(is_text, ids, -1 - np.arange(ids.shape[1]))  # padding must not count as repetition
        pairs = is_text[:, :-1] & is_text[:, 1:]
        is_new, new_pairs = self._pairs.find_new(ids, pairs)
        surprise, costs = None, []
        if batch.labels is not None and batch.nats is not None:
            labels, nats, scored = batch.labels[rows, :-1], batch.nats[rows, :-1], is_scored[:, :-1]
            surprise = self._costs.surprise(labels, nats, is_new)
            costs = [Costs.of(labels[scored], nats[scored], is_new[scored])]
        repeats = repeat_counts(distinct, self._max_period)
        return Text([(number, int(r)) for r in rows], repeats, unseen(is_new, pairs), surprise, new_pairs, costs)
