"""Windows against plain arithmetic and integrals."""

import math

import numpy as np
import pytest

from lightning_langcore.monitoring.rolling_window import Window, widened


def tail_of_t(t: float, freedom: int) -> float:
    """The integral of Student's density beyond t, by the trapezoidal rule over ln x."""
    x = t * np.exp(np.linspace(0, 30, 200_001))
    log_constant = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    log_density = log_constant - (freedom + 1) / 2 * np.log1p(x**2 / freedom)
    return float(np.trapezoid(np.exp(log_density), x))


@pytest.mark.parametrize("num_values", [16, 32, 64])
def test_a_short_window_is_passed_by_chance_as_seldom_as_a_full_one(num_values):
    full = tail_of_t(6.0 / math.sqrt(1 + 1 / 128), 127)
    short = tail_of_t(widened(6.0, num_values, 128) / math.sqrt(1 + 1 / num_values), num_values - 1)
    assert short == pytest.approx(full, rel=0.1)
    assert tail_of_t(6.0, num_values - 1) > 3 * full  # what it would be without


def test_a_full_window_has_the_threshold_itself():
    assert widened(6.0, 128, 128) == pytest.approx(6.0, rel=1e-12)
    assert widened(3.0, 20, 20) == pytest.approx(3.0, rel=1e-12)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_a_window_judges_by_its_last_values(statistic):
    values = np.random.default_rng(0).normal(5.0, 2.0, (50, 3))
    window = Window(16, 3, statistic)
    for start, stop in ((0, 1), (1, 20), (20, 23), (23, 50)):
        window.add(values[start:stop])
        last = values[max(0, stop - 16) : stop]
        assert len(window) == len(last)
        if len(last) < 2:
            continue
        center = last.mean(0) if statistic == "mean" else np.median(last, 0)
        spread = last.std(0) if statistic == "mean" else 1.4826 * np.median(np.abs(last - center), 0)
        new = np.array([[4.0, 9.0, 100.0]])
        np.testing.assert_allclose(window.center(), center)
        np.testing.assert_allclose(window.deviations(new), (new - center) / spread)


def test_sigma_has_floors():
    window = Window(8, relative_floor=0.02)
    window.add(np.full((8, 1), 5.0))
    assert window.deviations(np.array([[5.5]]))[0, 0] == pytest.approx(0.5 / 0.1)
    window = Window(8, floor=0.03)
    window.add(np.zeros((8, 1)))
    assert window.deviations(np.array([[0.3]]))[0, 0] == pytest.approx(10.0)


def test_a_capped_value_lies_no_more_than_so_many_sigmas_above_the_centre():
    window = Window(8)
    window.add(np.array([[1.0], [3.0], [1.0], [3.0]]))
    assert window.capped(np.array([[9.0], [4.5], [-7.0]]), 3.0).tolist() == [[5.0], [4.5], [-7.0]]


def test_a_window_goes_on_from_its_state_bit_for_bit():
    values = np.random.default_rng(0).normal(size=(40, 1))
    whole, first, second = (Window(16, 1, "mean") for _ in range(3))
    whole.add(values[:21])
    first.add(values[:21])
    assert second.load(first.state())
    for window in (whole, second):
        window.add(values[21:30])
    assert whole.center() == second.center()
    assert np.array_equal(whole.deviations(values[30:]), second.deviations(values[30:]))
    assert not Window(8).load(first.state())
