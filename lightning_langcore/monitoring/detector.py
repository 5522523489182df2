"""Decision whether an optimizer step differs from earlier steps: the same on every rank, from all ranks' features."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from lightning_langcore.monitoring.novelty import MAX_BITS
from lightning_langcore.monitoring.rolling_window import MIN_WINDOW, STATISTICS, Statistic, Window, widened
from lightning_langcore.monitoring.text import NO_TEXT, Text, TextReader
from lightning_langcore.utils.errors import LangcoreError

Signal = Literal[
    "loss", "grad_norm", "core_share", "adam_ratio", "grad_norm_worst", "repetition", "unseen_pairs", "surprise"
]
SIGNALS: tuple[Signal, ...] = get_args(Signal)
_OF_ROWS = ("unseen_pairs", "surprise")
_OF_STEPS = ("loss", "grad_norm", "core_share", "adam_ratio")
NOT_FINITE = "not finite"

_RELATIVE_FLOOR = 0.02  # sigma is at least this share of a signal's centre
_TOKEN_FLOOR = 1.0  # least sigma of signals that count tokens or pairs
_MAX_SIGMAS = 3.0  # limit on a surprise in the window: otherwise undetected noise would mask the noise after it


@dataclass(frozen=True)
class NoiseRules:
    """When a step is flagged.

    Args:
        signals: the signals that flag a step; all others are only logged.
        statistic: ``mean`` and standard deviation, or ``median`` and 1.4826 times the median absolute deviation.
        threshold: sigmas above the centre.
        window: length of the rolling windows, in accepted values.
        min_window: accepted values before a signal can flag.
        max_repeats: consecutive copies that flag a step.
        max_period: longest repeated span, in tokens.
        max_consecutive: number of consecutive flagged steps after which their level counts as usual: the windows of the
            signals that flagged them restart, and ``max_repeats`` is raised above their repetition.
        pair_bits: base-2 logarithm of the bits of memory for pairs; 22 suffice for some million different pairs.

    Example:
        >>> from lightning_langcore import NoiseRules
        >>> NoiseRules(statistic="median").threshold
        6.0
    """

    signals: Sequence[Signal] = ("loss", "grad_norm", "repetition", "unseen_pairs", "surprise")
    statistic: Statistic = "mean"
    threshold: float = 6.0
    window: int = 128
    min_window: int = 16
    max_repeats: int = 32
    max_period: int = 13
    max_consecutive: int = 32
    pair_bits: int = 22

    def check(self) -> None:
        """Refuse settings out of their range.

        Raises:
            LangcoreError: a setting out of its range; the message has the setting, its value and the range.
        """
        unknown = set(self.signals) - set(SIGNALS)
        if isinstance(self.signals, str) or unknown:
            raise LangcoreError(f"NoiseSensitivity: signals={self.signals} must be a list of {', '.join(SIGNALS)}")
        if self.statistic not in STATISTICS:
            raise LangcoreError(f"NoiseSensitivity: statistic={self.statistic!r} must be mean or median")
        if not self.threshold > 0:
            raise LangcoreError(f"NoiseSensitivity: threshold={self.threshold} sigmas must be above 0")
        least = {"min_window": MIN_WINDOW, "window": self.min_window, "max_repeats": 2, "max_period": 1}
        for name, value in (least | {"max_consecutive": 1, "pair_bits": 3}).items():
            if getattr(self, name) < value:
                raise LangcoreError(f"NoiseSensitivity: {name}={getattr(self, name)} must be at least {value}")
        if self.pair_bits > MAX_BITS:
            raise LangcoreError(
                f"NoiseSensitivity: pair_bits={self.pair_bits} must be at most {MAX_BITS}: 2 GB of bits"
            )


class Gradients(NamedTuple):
    """Statistics of the step's gradients; ``None`` if not requested, not due at this step, or not available."""

    norms: list[float]
    core_share: float | None
    adam_ratio: float | None


class StepFeatures(NamedTuple):
    """Features of a step on one rank.

    Attributes:
        loss: sum of the losses of the micro-batches with a label.
        num_losses: number of micro-batches with a label.
        num_masked: rows whose labels were masked because their documents are skipped.
        text: features of the text; ``None`` if batches have no ``input_ids``.
        gradients: statistics of the gradients, on rank 0 only; they are the same on all ranks.
        tagged: identities of documents with a tag; ``None`` if batches have no ``documents``.
    """

    loss: float
    num_losses: int
    num_masked: int
    text: Text | None
    gradients: Gradients | None
    tagged: list[str] | None


class Decision(NamedTuple):
    """The decision on a step.

    Attributes:
        signals: name -> value.
        reasons: signal -> sigmas above its centre, or its value if the rule is absolute. Empty: the step is accepted.
        worst_tensor: number of the tensor whose norm is furthest above its own centre; ``None`` if windows are short.
        suspicious: for each rank, the flagged rows of its :class:`Text`.
        restarted: whether the step is the last of ``max_consecutive`` flagged steps, after which windows restart.
    """

    signals: dict[str, float]
    reasons: dict[str, float | str]
    worst_tensor: int | None
    suspicious: list[list[int]]
    restarted: bool


class Detector:
    """Rolling windows of the accepted steps, and the decision on the next step.

    Args:
        rules: the settings.
        num_tensors: number of tensors whose gradient norms are monitored individually.
    """

    def __init__(self, rules: NoiseRules, num_tensors: int) -> None:
        self.rules = rules
        self.text = TextReader(rules.max_period, rules.pair_bits)
        self.max_repeats = rules.max_repeats
        self._streak: list[float] = []  # the repetition of each consecutive flagged step
        self._streak_reasons: set[str] = set()
        self._windows = {name: Window(rules.window, 1, rules.statistic, _RELATIVE_FLOOR) for name in _OF_STEPS}
        self._windows["tensors"] = Window(rules.window, num_tensors, rules.statistic, _RELATIVE_FLOOR)
        self._windows |= {n: Window(rules.window, 1, rules.statistic, floor=_TOKEN_FLOOR) for n in _OF_ROWS}

    @property
    def usual_norm(self) -> float | None:
        """Centre of the gradient norms of the accepted steps; ``None`` before the first."""
        window = self._windows["grad_norm"]
        return float(window.center()[0]) if len(window) else None

    def decide(self, features: Sequence[StepFeatures], overflow_is_usual: bool = False) -> Decision:
        """Decide on a step; an accepted step enters the windows.

        Args:
            features: features of the step, one entry per rank.
            overflow_is_usual: whether gradients that are not finite are expected, as with a GradScaler; they are then
                neither flagged nor kept.
        """
        gradients = features[0].gradients
        assert gradients is not None
        texts = [each.text or NO_TEXT for each in features]
        signals = self._values(features, gradients, texts)
        finite = all(math.isfinite(signals.get(name, 0.0)) for name in ("loss", "grad_norm"))
        z, worst = self._deviations(signals, gradients) if finite else ({}, None)
        if worst is not None:
            signals["grad_norm_worst"] = z["grad_norm_worst"][0]
        reasons: dict[str, float | str] = {
            name: value for name, (value, limit) in z.items() if value > limit and name in self.rules.signals
        }
        if not finite and not overflow_is_usual:
            reasons |= {n: NOT_FINITE for n in ("loss", "grad_norm") if not math.isfinite(signals.get(n, 0.0))}
        suspicious, text_reasons = self._check_rows(texts)
        reasons |= text_reasons
        if finite and not reasons:
            self._accept(signals, gradients, texts)
        restarted = self._count(signals, reasons)
        return Decision(signals, reasons, worst, suspicious, restarted)

    def state(self) -> dict[str, Any]:
        """State for a checkpoint: numbers, strings, lists, dicts and tensors."""
        return {
            "windows": {name: window.state() for name, window in self._windows.items()},
            "text": self.text.state(),
            "max_repeats": self.max_repeats,
            "streak": list(self._streak),
            "streak_reasons": sorted(self._streak_reasons),
        }

    def load(self, state: Mapping[str, Any]) -> list[str]:
        """Restore a state from :meth:`state`.

        Returns:
            Names of the windows and memories that start empty, because the state has other settings.
        """
        self.max_repeats = max(self.rules.max_repeats, state["max_repeats"])
        self._streak, self._streak_reasons = list(state["streak"]), set(state["streak_reasons"])
        reset = [name for name, window in self._windows.items() if not window.load(state["windows"][name])]
        return reset if self.text.load(state["text"]) else [*reset, "pairs"]

    def _values(
        self, features: Sequence[StepFeatures], gradients: Gradients, texts: Sequence[Text]
    ) -> dict[str, float]:
        num_losses = sum(each.num_losses for each in features)
        signals = {"grad_norm": math.sqrt(sum(norm * norm for norm in gradients.norms))}
        if num_losses:
            signals["loss"] = sum(each.loss for each in features) / num_losses
        if gradients.core_share is not None:
            signals["core_share"] = gradients.core_share
        if gradients.adam_ratio is not None:
            signals["adam_ratio"] = gradients.adam_ratio
        if any(text.rows for text in texts):
            signals["repetition"] = float(max(text.repeats.max(initial=1) for text in texts))
            signals["unseen_pairs"] = float(max(text.unseen.max(initial=0) for text in texts))
        surprises = [text.surprise for text in texts if text.surprise is not None]
        if any(len(values) for values in surprises):
            signals["surprise"] = float(max(values.max(initial=0) for values in surprises))
        return signals

    def _deviations(
        self, signals: Mapping[str, float], gradients: Gradients
    ) -> tuple[dict[str, tuple[float, float]], int | None]:
        """Signal -> (sigmas above its centre, limit) for signals with enough values in the window; worst tensor."""
        z = {}
        for name in _OF_STEPS:
            limit = self._limit(self._windows[name])
            if name in signals and limit is not None:
                z[name] = (float(self._windows[name].deviations(np.array([[signals[name]]]))[0, 0]), limit)
        limit = self._limit(self._windows["tensors"])
        if limit is None:
            return z, None
        of_tensors = self._windows["tensors"].deviations(np.array([gradients.norms]))[0]
        worst = int(of_tensors.argmax())
        return z | {"grad_norm_worst": (float(of_tensors[worst]), limit)}, worst

    def _check_rows(self, texts: Sequence[Text]) -> tuple[list[list[int]], dict[str, float | str]]:
        suspicious = []
        reasons: dict[str, float | str] = {}
        for text in texts:
            bad = np.zeros(len(text.rows), dtype=bool)
            for name, values, limit in self._figures(text):
                bad |= values > limit
                if (values > limit).any():
                    reasons[name] = max(float(values.max()), float(reasons.get(name, 0.0)))
            suspicious.append(np.flatnonzero(bad).tolist())
        return suspicious, reasons

    def _figures(self, text: Text) -> Iterator[tuple[str, np.ndarray, float]]:
        """Signals that flag rows: name, a value for each row (sigmas, or copies) and its limit."""
        if "repetition" in self.rules.signals:
            yield "repetition", text.repeats, self.max_repeats - 1
        for name, values in zip(_OF_ROWS, (text.unseen, text.surprise), strict=True):
            limit = self._limit(self._windows[name])
            if name in self.rules.signals and values is not None and limit is not None:
                yield name, self._windows[name].deviations(values[:, None])[:, 0], limit

    def _limit(self, window: Window) -> float | None:
        if len(window) < self.rules.min_window:
            return None
        return widened(self.rules.threshold, len(window), window.size)

    def _accept(self, signals: Mapping[str, float], gradients: Gradients, texts: Sequence[Text]) -> None:
        for name, window in self._windows.items():
            if not math.isfinite(signals.get(name, math.nan)) or name == "unseen_pairs":
                continue
            value = np.array([[signals[name]]])
            if name == "surprise" and len(window) >= self.rules.min_window:
                value = window.capped(value, _MAX_SIGMAS)
            window.add(value)
        self._windows["tensors"].add(np.array([gradients.norms]))
        for text in texts:
            self._windows["unseen_pairs"].add(text.unseen[:, None])
        self.text.learn(texts)

    def _count(self, signals: Mapping[str, float], reasons: Mapping[str, float | str]) -> bool:
        """Whether ``max_consecutive`` steps in a row were flagged, so that their level counts as usual from now on."""
        if not reasons:
            self._streak, self._streak_reasons = [], set()
            return False
        self._streak.append(signals.get("repetition", 0.0))
        self._streak_reasons |= reasons.keys()
        if len(self._streak) < self.rules.max_consecutive:
            return False
        if min(self._streak) >= self.max_repeats:
            self.max_repeats = int(max(self._streak)) + 1
        for name in self._streak_reasons - {"repetition"}:
            self._windows["tensors" if name == "grad_norm_worst" else name].clear()
        self._streak, self._streak_reasons = [], set()
        return True
