"""Pages hold pictures that are not looked at here: tests/unit/plots does that."""

import pytest
from matplotlib.figure import Figure

from tests.support.pictures import write_pixel


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr(Figure, "savefig", write_pixel)
