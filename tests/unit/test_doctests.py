"""Every public name has an example, which runs as it stands."""

import doctest
import importlib

import pytest
import torch

import lightning_langcore
from lightning_langcore import callbacks, data, plots
from lightning_langcore.importance.registry import REGION_KINDS
from lightning_langcore.importance.scores import SCORES

PACKAGES = (lightning_langcore, callbacks, data, plots)
NAMES = {name: getattr(package, name) for package in PACKAGES for name in package.__all__ if name != "COLOURS"}


@pytest.fixture(autouse=True)
def unregistered():
    """What an example registers is forgotten."""
    before = dict(SCORES), dict(REGION_KINDS)
    yield
    for registry, entries in zip((SCORES, REGION_KINDS), before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thing = NAMES[name]
    [test] = doctest.DocTestFinder(recurse=False).find(
        thing, f"{thing.__module__}.{name}", module=importlib.import_module(thing.__module__), globs={}
    )
    assert test.examples, f"{name} has no example"
    torch.manual_seed(0)
    found = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
    assert found.failed == 0
    assert found.attempted == len(test.examples)
