"""How numbers are written."""

import math

import pytest

from lightning_langcore.results import number_format


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.919, "5.92"), (5.9, "5.90"), (359.7, "360"), (13.94, "13.9"), (999.4, "999"), (999.6, "1,000"),
        (200278.6, "200,279"), (376079936.0, "376,079,936"), (1.23e12, "1.2e+12"), (0.01234, "0.0123"),
        (math.inf, "∞"), (math.nan, "∞"), (None, "–"),
    ],
)  # fmt: skip
def test_number(value, text):
    assert number_format.number(value) == text
