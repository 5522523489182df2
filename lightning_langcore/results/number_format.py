"""Numbers as text: the same value is the same text in the terminal, the report and the plots."""

import math
from collections.abc import Callable

from lightning_langcore.results.conditions import Spread

ABSENT = "–"
INFINITE = "∞"


def number(value: float | None) -> str:
    """Three significant digits, whole numbers with commas from 1,000 on; an en dash for ``None``.

    ``5.92``, ``360``, ``200,279``, ``1.2e+12``, ``∞`` for what is not finite.
    """
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return INFINITE
    if abs(value) >= 1e9:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".rstrip(".")


def count(value: float | None) -> str:
    """Something that is counted, rounded to a whole number: ``39,321``; an en dash for ``None``."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if math.isfinite(value) else INFINITE


def mean_count(values: list[int]) -> str:
    """The mean of counts, four significant digits: ``12``, ``12.5``, ``1,235``."""
    return f"{math.fsum(values) / len(values):,.4g}"


def exp(nats: float) -> float:
    """Perplexity of nats per token; infinite where a float can't hold it."""
    return math.exp(nats) if nats < 700 else math.inf


def difference(nats: float) -> str:
    """A difference in nats per token, with its sign: ``+2.996``."""
    return f"{nats:+.3f}" if math.isfinite(nats) else INFINITE


def times(nats: float) -> str:
    """How many times a perplexity is another, from the difference in nats: three decimals near 1, where they matter."""
    ratio = exp(nats)
    return f"{ratio:.3f}" if 0.5 <= ratio < 2 else number(ratio)


def range_of(low: float, high: float) -> str:
    """Both ends of a range in nats per token, as perplexities or ratios of perplexities: ``5.80–6.04``."""
    return f"{number(exp(low))}–{number(exp(high))}"


def spread_text(value: Spread | None) -> str:
    """A perplexity from nats per token: ``5.92 (5.80–6.04)``; the bracket only where seeds differ."""
    if value is None:
        return ABSENT
    mean, low, high = (number(exp(end)) for end in value[:3])
    return f"{mean} ({low}–{high})" if low != high else mean


def share(value: float) -> str:
    """A share 0..1 in per cent, three significant digits: 0.0123 -> ``1.23 %``."""
    return f"{100 * value:.3g} %"


def range_text(value: Spread | None, text: Callable[[float], str]) -> str:
    """``1.2 % (1.1 %–1.3 %)``, the bracket only where seeds differ; empty without a value."""
    if value is None:
        return ""
    mean, low, high = (text(end) if math.isfinite(end) else INFINITE for end in value[:3])
    return f"{mean} ({low}–{high})" if low != high else mean
