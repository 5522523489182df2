"""Unigram and trigram models of the same tokens: baselines that a base model must beat to be worth perturbing."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence


class Unigram:
    """Relative frequencies with add-one smoothing.

    Args:
        rows: documents as tokens.
        vocab_size: size of the vocabulary.
    """

    def __init__(self, rows: Iterable[Sequence[int]], vocab_size: int) -> None:
        self._counts = Counter(token for row in rows for token in row)
        self._total = sum(self._counts.values()) + vocab_size

    def nats(self, row: Sequence[int]) -> float:
        """Sum of -ln p over a document."""
        return sum(-math.log((self._counts[token] + 1) / self._total) for token in row)


class KneserNeyTrigram:
    """Interpolated Kneser-Ney with one discount per order, n1 / (n1 + 2 n2) (Chen & Goodman 1998, section 3).

    Args:
        rows: documents as tokens.
        vocab_size: size of the vocabulary.
        begin: begin token, put before each document.
    """

    def __init__(self, rows: Iterable[Sequence[int]], vocab_size: int, begin: int) -> None:
        trigrams: Counter[tuple[int, ...]] = Counter()
        for row in rows:
            padded = [begin, begin, *row]
            trigrams.update(zip(padded, padded[1:], padded[2:], strict=False))
        bigrams = Counter(gram[1:] for gram in trigrams)
        unigrams = Counter(gram[1:] for gram in bigrams)
        self._orders = [_Order(unigrams), _Order(bigrams), _Order(trigrams)]
        self._vocab_size = vocab_size
        self._begin = begin

    def probability(self, context: tuple[int, ...], token: int) -> float:
        """P(token | the last two tokens)."""
        p = 1.0 / self._vocab_size
        for length, order in enumerate(self._orders):
            p = order.interpolate(context[2 - length :], token, p)
        return p

    def nats(self, row: Sequence[int]) -> float:
        """Sum of -ln p over a document."""
        padded = [self._begin, self._begin, *row]
        return sum(-math.log(self.probability((padded[i], padded[i + 1]), t)) for i, t in enumerate(row))


class _Order:
    def __init__(self, counts: Counter[tuple[int, ...]]) -> None:
        ones, twos = (sum(1 for count in counts.values() if count == n) for n in (1, 2))
        self.discount = ones / (ones + 2 * twos) if ones else 0.5
        self.counts = counts
        self.total: dict[tuple[int, ...], int] = defaultdict(int)
        self.kinds: dict[tuple[int, ...], int] = defaultdict(int)
        for gram, count in counts.items():
            self.total[gram[:-1]] += count
            self.kinds[gram[:-1]] += 1

    def interpolate(self, context: tuple[int, ...], token: int, lower: float) -> float:
        total = self.total.get(context)
        if not total:
            return lower
        own = max(self.counts.get((*context, token), 0) - self.discount, 0.0)
        return (own + self.discount * self.kinds[context] * lower) / total
