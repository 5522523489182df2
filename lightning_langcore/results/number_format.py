"""Numbers as text, the same in the terminal, the report and the plots."""

import math
from collections.abc import Callable

from lightning_langcore.results.conditions import Spread


def number(value: float | None) -> str:
    """Three significant digits, whole numbers with commas from 1,000 on; an en dash for ``None``.

    ``5.92``, ``360``, ``200,279``, ``1.2e+12``, ``∞``.
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "∞"
    if abs(value) >= 1e9:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".rstrip(".")


def exp(nats: float) -> float:
    """Perplexity of nats per token; infinite where a float can't hold it."""
    return math.exp(nats) if nats < 700 else math.inf


def times(nats: float) -> str:
    """How many times a perplexity is another, from the difference in nats: three decimals near 1, where they matter."""
    ratio = exp(nats)
    return f"{ratio:.3f}" if 0.5 <= ratio < 2 else number(ratio)


def spread_text(value: Spread | None, gap: str = " ") -> str:
    """``5.92 (5.80–6.04)``; the bracket only where seeds differ."""
    if value is None:
        return number(None)
    text, low, high = (number(exp(end)) for end in value[:3])
    return f"{text}{gap}({low}–{high})" if low != high else text


def share(value: float) -> str:
    """0.0123 -> 1.23 %."""
    return f"{100 * value:.3g} %"


def range_text(value: Spread | None, text: Callable[[float], str]) -> str:
    """``1.2 % (1.1 %–1.3 %)``, the bracket only where seeds differ; empty without a value."""
    if value is None:
        return ""
    mean, low, high = (text(end) if math.isfinite(end) else "∞" for end in value[:3])
    return f"{mean} ({low}–{high})" if low != high else mean
