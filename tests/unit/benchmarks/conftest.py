"""Access to the scripts in ``benchmarks/``, which import one another by their plain names."""

import importlib
import sys

import pytest

from tests.support.paths import ROOT


@pytest.fixture
def benchmark_modules(monkeypatch):
    """Imports a script by name; its folder comes last on the path, so that it hides no package."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "benchmarks")])
    return importlib.import_module
