"""The text of an optimizer step: figures of each row, from the row itself and from what the run has read before."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lightning_langcore.metrics.functional import IGNORE
from lightning_langcore.metrics.repetition import repeat_counts
from lightning_langcore.monitoring.novelty import CostMemory, Costs, PairMemory, text_places, unseen


class Tokens(NamedTuple):
    """A micro-batch on the CPU, each (B, T).

    Attributes:
        ids: of the tokens.
        labels: -100 where nothing is scored; ``None``: everything is.
        nats: what each label costs; ``None``: not known.
    """

    ids: np.ndarray
    labels: np.ndarray | None
    nats: np.ndarray | None

    @property
    def is_scored(self) -> np.ndarray:
        """Whether a place has a label, bool (B, T)."""
        return np.ones(self.ids.shape, dtype=bool) if self.labels is None else self.labels != IGNORE


class Text(NamedTuple):
    """What the rows of some micro-batches look like; rows without a label are left out.

    Attributes:
        rows: number of the micro-batch in the step, and of the row in it.
        repeats: (R,) most copies of a span in a row.
        unseen: (R,) see :func:`~lightning_langcore.monitoring.novelty.unseen`.
        surprise: (R,) see :meth:`CostMemory.surprise`; ``None`` where it isn't to be had.
        new_pairs: hashes of the pairs that are new to the run.
        costs: of each micro-batch's tokens, where they are known.
    """

    rows: list[tuple[int, int]]
    repeats: np.ndarray
    unseen: np.ndarray
    surprise: np.ndarray | None
    new_pairs: np.ndarray
    costs: list[Costs]


NO_TEXT = Text([], np.zeros(0, np.int64), np.zeros(0), None, np.zeros(0, np.uint64), [])


class TextReader:
    """Looks at text, and remembers what it is told to.

    Args:
        max_period: tokens of the longest span that counts as repeated.
        pair_bits: see :class:`PairMemory`.
    """

    def __init__(self, max_period: int, pair_bits: int) -> None:
        self._max_period = max_period
        self._pairs = PairMemory(pair_bits)
        self._costs = CostMemory()

    def read(self, batches: Sequence[Tokens]) -> Text:
        """Look at micro-batches, at least one."""
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
        """Remember the text of a step, as all ranks have read it."""
        for text in texts:
            self._pairs.add(text.new_pairs)
        self._costs.add([each for text in texts for each in text.costs])

    def state(self) -> dict[str, Any]:
        """For a checkpoint: tensors, and a dict of tensors."""
        return {"pairs": self._pairs.state(), "costs": self._costs.state()}

    def load(self, state: Mapping[str, Any]) -> bool:
        """Go on where :meth:`state` was taken; ``False`` where pairs were kept in other bits, and so start afresh."""
        self._costs.load(state["costs"])
        return self._pairs.load(state["pairs"])

    def _read(self, number: int, batch: Tokens) -> Text:
        rows = np.flatnonzero(batch.is_scored.any(axis=1))
        ids, is_scored = batch.ids[rows], batch.is_scored[rows]
        is_text = text_places(ids, is_scored)
        apart = np.where(is_text, ids, -1 - np.arange(ids.shape[1]))  # no two of these are equal
        pairs = is_text[:, :-1] & is_text[:, 1:]
        is_new, new_pairs = self._pairs.look(ids, pairs)
        surprise, costs = None, []
        if batch.labels is not None and batch.nats is not None:
            labels, nats, scored = batch.labels[rows, :-1], batch.nats[rows, :-1], is_scored[:, :-1]
            surprise = self._costs.surprise(labels, nats, is_new)
            costs = [Costs.of(labels[scored], nats[scored], is_new[scored])]
        repeats = repeat_counts(apart, self._max_period)
        return Text([(number, int(r)) for r in rows], repeats, unseen(is_new, pairs), surprise, new_pairs, costs)
