"""Rolling windows of the last values of a signal, and the deviation of new values from them.

Shapes: K values at once.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch

Statistic = Literal["mean", "median"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
MIN_WINDOW = 4

_MAD_TO_SIGMA = 1.4826  # of a normal distribution


def widened(threshold: float, num_values: int, window: int) -> float:
    r"""The threshold for a window that is not full, with the false alarm rate of ``threshold`` in a full window.

    The distance of a new normal value from the mean of ``n`` values, in their sigmas, is :math:`\sqrt{1 + 1/n}` times
    Student's t with n - 1 degrees of freedom. Wallace (1959) converts t to the normal quantile of equal probability:
    :math:`z = \frac{8\nu + 1}{8\nu + 3} \sqrt{\nu \ln(1 + t^2/\nu)}`.

    With 6 and 128: 11.1 sigmas at 16 values, 7.6 at 32, 6 at 128; from 16 values on the false alarm rate is
    accurate to a tenth.

    Args:
        threshold: sigmas, for ``window`` values.
        num_values: number of values in the window, at least 2.
        window: number of values of a full window.
    """
    full, now = window - 1, num_values - 1
    t = threshold / math.sqrt(1 + 1 / window)
    z = (8 * full + 1) / (8 * full + 3) * math.sqrt(full * math.log1p(t * t / full))
    t = math.sqrt(now * math.expm1((z * (8 * now + 3) / (8 * now + 1)) ** 2 / now))
    return t * math.sqrt(1 + 1 / num_values)


class Window:
    """The last values of one or more signals, and the deviation of other values from them.

    Args:
        size: number of values to keep.
        width: number of signals, each compared with its own values.
        statistic: ``mean`` (and standard deviation), or ``median`` (and 1.4826 times the median absolute deviation).
        relative_floor: sigma is at least this share of the centre.
        floor: sigma is at least this value.
    """

    def __init__(
        self, size: int, width: int = 1, statistic: str = "mean", relative_floor: float = 0.0, floor: float = 1e-30
    ) -> None:
        self.statistic = statistic
        self.relative_floor = relative_floor
        self.floor = floor
        self.count = 0  # values added since the start or the last clear()
        self._ring = np.zeros((size, width))

    def __len__(self) -> int:
        return min(self.count, len(self._ring))

    @property
    def size(self) -> int:
        """Values of a full window."""
        return len(self._ring)

    def add(self, values_KW: np.ndarray) -> None:
        """Add values, (K, width), the latest last."""
        latest = values_KW[-self.size :]
        self.count += len(values_KW) - len(latest)
        self._ring[(self.count + np.arange(len(latest))) % self.size] = latest
        self.count += len(latest)

    def clear(self) -> None:
        """Remove all values."""
        self.count = 0

    def center(self) -> np.ndarray:
        """Mean or median of the values in the window, (width,)."""
        return self._statistics()[0]

    def deviations(self, values_KW: np.ndarray) -> np.ndarray:
        """Sigmas by which values (K, width) exceed the centre; the window must not be empty."""
        center, sigma = self._statistics()
        return (values_KW - center) / sigma

    def capped(self, values_KW: np.ndarray, sigmas: float) -> np.ndarray:
        """Values (K, width), limited to ``sigmas`` above the centre; the window must not be empty."""
        center, sigma = self._statistics()
        return np.minimum(values_KW, center + sigmas * sigma)

    def state(self) -> dict[str, Any]:
        """State for a checkpoint: an int and a tensor."""
        return {"count": self.count, "values": torch.from_numpy(self._ring.copy())}

    def load(self, state: Mapping[str, Any]) -> bool:
        """Restore a state from :meth:`state`; ``False``, without restoring, if the state has another size."""
        values = state["values"].numpy()
        if values.shape != self._ring.shape:
            return False
        self.count, self._ring = state["count"], values.copy()
        return True

    def _statistics(self) -> tuple[np.ndarray, np.ndarray]:
        values = self._ring[: len(self)]
        if self.statistic == "mean":
            center = values.mean(axis=0)
            sigma = np.sqrt(np.square(values - center).mean(axis=0))
        else:
            center = np.median(values, axis=0)
            sigma = _MAD_TO_SIGMA * np.median(np.abs(values - center), axis=0)
        return center, np.maximum(np.maximum(sigma, self.relative_floor * np.abs(center)), self.floor)
