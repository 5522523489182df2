"""Memory of the text that a run has read, and how much a stretch of new text differs from it.

Shapes: B rows of text, T positions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MAX_BITS = 34

_USUAL_NEW = 0.6  # share of new pairs in a stretch; more is unusual
_USUAL_COSTLY = 0.6  # share of costly tokens in a stretch; more is unusual
_NATS = 0.5  # a token is costly if it exceeds its usual cost by more than this
_PRIOR_COUNT = 3.0  # weight of the mean over first occurrences, in occurrences of the token
_MAX_COUNT = 256.0  # occurrences in a token's running mean
_DECAY = 0.98  # of the counts of earlier pairs, per step


class PairMemory:
    """The pairs of neighbouring tokens that a run has seen: a bitmap with one bit for each value of a hash.

    It works for any text, because it depends neither on words nor on spaces. A pair whose bit another pair has set
    counts as seen: with n different pairs in 2^b bits this share of the new pairs is 1 - exp(-n / 2^b), and the memory
    is of little use above a third. Memory: 2^b / 8 bytes, and as much in a checkpoint.

    Args:
        num_bits: b, the base-2 logarithm of the number of bits.
    """

    def __init__(self, num_bits: int) -> None:
        self.num_bits = num_bits
        self._bits = np.zeros(1 << (num_bits - 3), dtype=np.uint8)

    def find_new(self, ids_BT: np.ndarray, pairs_BT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the pairs of neighbours that are new.

        Args:
            ids_BT: token ids.
            pairs_BT: (B, T - 1) bool; whether a token and the next one count as a pair.

        Returns:
            Whether each pair is new, (B, T - 1) bool; and hashes of the new pairs for :meth:`add`, 1-D.
        """
        ids = ids_BT.astype(np.uint64)
        mixed = ids[:, :-1] * np.uint64(0xD6E8FEB86659FD93) + ids[:, 1:]
        hashes = (mixed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - self.num_bits)
        seen = self._bits[hashes >> np.uint64(3)] >> (hashes & np.uint64(7)).astype(np.uint8) & 1
        is_new = pairs_BT & (seen == 0)
        return is_new, hashes[is_new]

    def add(self, hashes: np.ndarray) -> None:
        """Mark pairs as seen.

        Args:
            hashes: 1-D, from :meth:`find_new`.
        """
        masks = np.left_shift(np.uint8(1), (hashes & np.uint64(7)).astype(np.uint8))
        np.bitwise_or.at(self._bits, hashes >> np.uint64(3), masks)

    def state(self) -> Tensor:
        """State for a checkpoint."""
        return torch.from_numpy(self._bits.copy())

    def load(self, state: Tensor) -> bool:
        """Restore a state from :meth:`state`; ``False``, without restoring, if the state has another size."""
        if state.shape != self._bits.shape:
            return False
        self._bits = state.numpy().copy()
        return True


def unseen(is_new_BT: np.ndarray, pairs_BT: np.ndarray) -> np.ndarray:
    """The largest excess of new pairs over 60 % of a stretch of each row, over all stretches, (B,).

    A burst of non-words is such a stretch, anywhere in the row and whatever the row holds besides. Single new pairs
    between known pairs add up to little, also early in a run, when many pairs are new. No stretch crosses a position
    that is no pair.
    """
    return worst_stretch(np.where(pairs_BT, is_new_BT - _USUAL_NEW, -float(pairs_BT.shape[1])))


def worst_stretch(marks_BT: np.ndarray) -> np.ndarray:
    """The largest sum over a contiguous stretch of each row, (B,); 0 if all values are negative."""
    sums = np.concatenate((np.zeros((len(marks_BT), 1)), marks_BT.cumsum(axis=1)), axis=1)
    return (sums - np.minimum.accumulate(sums, axis=1)).max(axis=1)


class Costs(NamedTuple):
    """Costs of the tokens of a text that are labels.

    Attributes:
        tokens: token ids, each once.
        nats: cost of each token, summed over its positions.
        counts: number of positions of each token.
        num_new: number of positions whose pair is new to the run.
    """

    tokens: np.ndarray
    nats: np.ndarray
    counts: np.ndarray
    num_new: int

    @classmethod
    def of(cls, labels: np.ndarray, nats: np.ndarray, is_new: np.ndarray) -> "Costs":
        """Sum the costs over positions with a label; all arguments are 1-D of the same length."""
        counts = np.bincount(labels)
        tokens = np.flatnonzero(counts)
        return cls(tokens, np.bincount(labels, weights=nats)[tokens], counts[tokens], int(is_new.sum()))


class CostMemory:
    r"""The usual cost of each token in a run, in nats, and how far the tokens of a stretch of text exceed it.

    In meaningful text a token is easier to predict than without context; among non-words, in any language, most tokens
    cost more than they usually do, and most pairs are new. Each token with a label contributes

    .. math:: m = [c > u + 0.5] - 0.6 + [\text{its pair is new}] - \sqrt{p}

    with c the cost of the token, u its usual cost (the mean over about its last 256 occurrences and three occurrences
    at the mean cost of first occurrences), and p the share of new pairs in the recently accepted text. As p is 1 at the
    start of a run, and 0 once all pairs are known, pairs contribute only when they are informative. The reference is
    the run's own text, so neither its language nor how well the model knows this language matters. Memory: 16 bytes per
    token of the vocabulary.
    """

    def __init__(self) -> None:
        self._table = np.zeros((2, 1))  # nats and counts: of first occurrences, then of each token by its id
        self._pairs = np.zeros(2)  # decaying counts: new pairs, all pairs

    def surprise(self, labels_BT: np.ndarray, nats_BT: np.ndarray, is_new_BT: np.ndarray) -> np.ndarray | None:
        """The largest sum of m over a stretch of each row, (B,); ``None`` if the memory is empty.

        Args:
            labels_BT: ids of the predicted tokens; negative without a label, which contributes 0.
            nats_BT: cost of each label.
            is_new_BT: bool; whether the label and the token before it are a new pair.
        """
        if not self._table[1, 0]:
            return None
        nats, counts = self._covering(labels_BT.max(initial=0))[:, labels_BT.clip(min=-1) + 1]
        first_nats, first_counts = self._table[:, 0]
        usual = (nats + _PRIOR_COUNT * first_nats / first_counts) / (counts + _PRIOR_COUNT)
        share = self._pairs[0] / self._pairs[1]
        marks = (nats_BT > usual + _NATS) - _USUAL_COSTLY + is_new_BT - math.sqrt(share)
        return worst_stretch(np.where(labels_BT >= 0, marks, 0.0))

    def add(self, costs: Sequence[Costs]) -> None:
        """Add the costs of a step, over all ranks."""
        if not any(len(each.tokens) for each in costs):
            return
        tokens, nats, counts = (np.concatenate(parts) for parts in list(zip(*costs, strict=True))[:3])
        self._table = self._covering(tokens.max())
        is_first = self._table[1, tokens + 1] == 0
        for row, values in zip(self._table, (nats, counts), strict=True):
            np.add.at(row, tokens + 1, values)
            row[0] += values[is_first].sum()
        self._table /= np.maximum(self._table[1] / _MAX_COUNT, 1)
        self._pairs = _DECAY * self._pairs + (sum(c.num_new for c in costs), counts.sum())

    def state(self) -> dict[str, Tensor]:
        """State for a checkpoint."""
        return {"table": torch.from_numpy(self._table.copy()), "pairs": torch.from_numpy(self._pairs.copy())}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state from :meth:`state`."""
        self._table, self._pairs = state["table"].numpy().copy(), state["pairs"].numpy().copy()

    def _covering(self, token: int) -> np.ndarray:
        """The table, extended with zeros to include this token."""
        missing = token + 2 - self._table.shape[1]
        return np.pad(self._table, ((0, 0), (0, missing))) if missing > 0 else self._table


def text_places(ids_BT: np.ndarray, is_scored_BT: np.ndarray) -> np.ndarray:
    """Positions with text, bool (B, T): all but padding, a run of one token without labels at either end of a row.

    Args:
        ids_BT: token ids.
        is_scored_BT: bool; whether a position has a label.
    """
    length = ids_BT.shape[1]
    padding = np.zeros_like(is_scored_BT)
    for edge, order in ((ids_BT[:, :1], slice(None)), (ids_BT[:, -1:], slice(None, None, -1))):
        other = ((ids_BT != edge) | is_scored_BT)[:, order]
        first = np.where(other.any(axis=1), other.argmax(axis=1), length)
        run = (np.arange(length) < first[:, None]) & (first > 1)[:, None]
        padding |= run[:, order]
    return ~padding
