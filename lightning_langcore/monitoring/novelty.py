"""What a run remembers of the text it has read, and by how much a stretch of new text is unlike it.

Shapes: B rows of text, T positions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MAX_BITS = 34

_NEW = 0.6  # of a stretch's pairs; more is strange
_DEAR = 0.6  # of a stretch's tokens
_NATS = 0.5  # above what a token usually costs: dear
_FIRM = 3.0  # a token's own mean counts as much as that of new tokens after so many times
_LATEST = 256.0  # times that a token's mean looks back at
_KEPT = 0.98  # of the weight of the pairs that came before a step


class PairMemory:
    """Which pairs of neighbouring tokens a run has seen: a bitmap, one bit for each value of a hash.

    No text is too strange for it: it knows neither words nor spaces. A pair whose bit another pair has set counts as
    seen: with n different pairs in 2^b bits that is a share of 1 - exp(-n / 2^b) of the new ones, and the memory is of
    little use above a third. Memory: 2^b / 8 bytes, and as much in a checkpoint.

    Args:
        num_bits: b, the logarithm to base 2 of the number of bits.
    """

    def __init__(self, num_bits: int) -> None:
        self.num_bits = num_bits
        self._bits = np.zeros(1 << (num_bits - 3), dtype=np.uint8)

    def look(self, ids_BT: np.ndarray, pairs_BT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which pairs of neighbours are new.

        Args:
            ids_BT: token ids.
            pairs_BT: (B, T - 1) bool; whether a token and the next one count as a pair.

        Returns:
            (B, T - 1) bool, and hashes of the new pairs, 1-D, as :meth:`add` takes them.
        """
        ids = ids_BT.astype(np.uint64)
        mixed = ids[:, :-1] * np.uint64(0xD6E8FEB86659FD93) + ids[:, 1:]
        hashes = (mixed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - self.num_bits)
        seen = self._bits[hashes >> np.uint64(3)] >> (hashes & np.uint64(7)).astype(np.uint8) & 1
        is_new = pairs_BT & (seen == 0)
        return is_new, hashes[is_new]

    def add(self, hashes: np.ndarray) -> None:
        """Remember pairs."""
        masks = np.left_shift(np.uint8(1), (hashes & np.uint64(7)).astype(np.uint8))
        np.bitwise_or.at(self._bits, hashes >> np.uint64(3), masks)

    def state(self) -> Tensor:
        """For a checkpoint."""
        return torch.from_numpy(self._bits.copy())

    def load(self, state: Tensor) -> bool:
        """Go on where :meth:`state` was taken; ``False`` and empty where that memory had another size."""
        if state.shape != self._bits.shape:
            return False
        self._bits = state.numpy().copy()
        return True


def unseen(is_new_BT: np.ndarray, pairs_BT: np.ndarray) -> np.ndarray:
    """By how many the new pairs exceed 60 % of a stretch of the row, in its worst stretch, (B,).

    A burst of non-words is one such stretch, wherever it stands and whatever else the row holds; single new pairs
    between known ones add up to little, also early in a run, when many are new. No stretch goes over what is no pair.
    """
    return worst_stretch(np.where(pairs_BT, is_new_BT - _NEW, -float(pairs_BT.shape[1])))


def worst_stretch(marks_BT: np.ndarray) -> np.ndarray:
    """The largest sum over neighbours in each row, (B,); 0 where all are negative."""
    sums = np.concatenate((np.zeros((len(marks_BT), 1)), marks_BT.cumsum(axis=1)), axis=1)
    return (sums - np.minimum.accumulate(sums, axis=1)).max(axis=1)


class Costs(NamedTuple):
    """What the scored tokens of some text cost.

    Attributes:
        tokens: ids, each once.
        nats: of each, summed over its places.
        counts: its places.
        num_new: places that make a pair new to the run.
    """

    tokens: np.ndarray
    nats: np.ndarray
    counts: np.ndarray
    num_new: int

    @classmethod
    def of(cls, labels: np.ndarray, nats: np.ndarray, is_new: np.ndarray) -> "Costs":
        """Gather them from scored places, each 1-D of the same length."""
        counts = np.bincount(labels)
        tokens = np.flatnonzero(counts)
        return cls(tokens, np.bincount(labels, weights=nats)[tokens], counts[tokens], int(is_new.sum()))


class CostMemory:
    r"""What each token usually costs a run, in nats, and how much dearer tokens come in a stretch of text.

    In text that means something a token is easier to guess than one that stands by itself; among non-words, in any
    language, most cost more than these tokens usually do, and most make a pair that is new. Each scored token counts

    .. math:: m = [c > u + 0.5] - 0.6 + [\text{its pair is new}] - \sqrt{p}

    with c its cost, u its usual one (the mean of its last 256 times or so, and of three times at the mean of tokens
    that were met first), and p the share of new pairs in the text that was accepted of late. As p is 1 at the start of
    a run, and 0 where all pairs are known, pairs say much only where they can. The reference is the run's own text:
    what language it is in and how well the model knows that one don't matter. Memory: 16 bytes a token of the
    vocabulary.
    """

    def __init__(self) -> None:
        self._table = np.zeros((2, 1))  # nats and times: of tokens that were met first, then of each token by its id
        self._pairs = np.zeros(2)  # of late: the new ones, all

    def surprise(self, labels_BT: np.ndarray, nats_BT: np.ndarray, is_new_BT: np.ndarray) -> np.ndarray | None:
        """The largest sum of m over a stretch of each row, (B,); ``None`` before anything was remembered.

        Args:
            labels_BT: ids of the tokens that are guessed; a negative one is not scored and counts 0.
            nats_BT: what each costs.
            is_new_BT: bool; whether it and the token before it are a new pair.
        """
        if not self._table[1, 0]:
            return None
        nats, times = self._covering(labels_BT.max(initial=0))[:, labels_BT.clip(min=-1) + 1]
        first_nats, first_times = self._table[:, 0]
        usual = (nats + _FIRM * first_nats / first_times) / (times + _FIRM)
        share = self._pairs[0] / self._pairs[1]
        marks = (nats_BT > usual + _NATS) - _DEAR + is_new_BT - math.sqrt(share)
        return worst_stretch(np.where(labels_BT >= 0, marks, 0.0))

    def add(self, costs: Sequence[Costs]) -> None:
        """Remember the text of a step, of all ranks together."""
        if not any(len(each.tokens) for each in costs):
            return
        tokens, nats, counts = (np.concatenate(parts) for parts in list(zip(*costs, strict=True))[:3])
        self._table = self._covering(tokens.max())
        is_first = self._table[1, tokens + 1] == 0
        for row, values in zip(self._table, (nats, counts), strict=True):
            np.add.at(row, tokens + 1, values)
            row[0] += values[is_first].sum()
        self._table /= np.maximum(self._table[1] / _LATEST, 1)
        self._pairs = _KEPT * self._pairs + (sum(c.num_new for c in costs), counts.sum())

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {"table": torch.from_numpy(self._table.copy()), "pairs": torch.from_numpy(self._pairs.copy())}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state` was taken."""
        self._table, self._pairs = state["table"].numpy().copy(), state["pairs"].numpy().copy()

    def _covering(self, token: int) -> np.ndarray:
        """The table, wide enough for this token."""
        missing = token + 2 - self._table.shape[1]
        return np.pad(self._table, ((0, 0), (0, missing))) if missing > 0 else self._table


def text_places(ids_BT: np.ndarray, is_scored_BT: np.ndarray) -> np.ndarray:
    """Where a row has text, bool (B, T): all but a run of one token, at its start or end, that no label scores.

    Args:
        ids_BT: token ids.
        is_scored_BT: bool; whether a place has a label.
    """
    length = ids_BT.shape[1]
    padding = np.zeros_like(is_scored_BT)
    for edge, order in ((ids_BT[:, :1], slice(None)), (ids_BT[:, -1:], slice(None, None, -1))):
        other = ((ids_BT != edge) | is_scored_BT)[:, order]
        first = np.where(other.any(axis=1), other.argmax(axis=1), length)
        run = (np.arange(length) < first[:, None]) & (first > 1)[:, None]
        padding |= run[:, order]
    return ~padding
