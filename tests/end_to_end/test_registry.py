"""A module of one's own, named by ``imports``, brings scores and kinds of region to the command line."""

import json
import sys

import pytest

from lightning_langcore import Region
from lightning_langcore.importance.registry import REGION_KINDS
from lightning_langcore.importance.scores import SCORES
from tests.support.commands import run

MODULE = """
from lightning_langcore import Score, random_region, register_region_kind, register_score
from lightning_langcore.importance.scores import magnitude


def first_layer(theta_0, shapes, fraction, seed):
    own = {name: shape for name, shape in shapes.items() if ".layers.0." in name}
    return random_region(own, fraction, seed)


register_score("smallest", Score("lowest", None, magnitude, None))
register_region_kind("first_layer", first_layer)
"""


@pytest.fixture
def work(work, monkeypatch):
    (work / "my_regions.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield work
    SCORES.pop("smallest", None)
    REGION_KINDS.pop("first_layer", None)
    sys.modules.pop("my_regions", None)


def test_own_scores_and_kinds_are_perturbed_and_guarded(work):
    own = ["imports=[my_regions]", "job.variants=[first_layer,smallest]", "job.fractions=[0.1]"]
    run(work, "+experiment=perturb_core", *own, "hydra.run.dir=perturbed")
    rows = json.loads((work / "perturbed/results.json").read_text())["perplexity"]
    assert {row.get("variant") for row in rows} == {None, "first_layer", "smallest"}
    run(work, "+experiment=recovery_frozen", "imports=[my_regions]", "region.kind=first_layer", "hydra.run.dir=guarded")
    region = Region.load(work / "guarded/region.safetensors")
    assert {name.split(".")[2] for name in region.parts} == {"0"}
    assert {name.split(".")[2] for name in region.shapes} == {"0", "1"}
    assert json.loads((work / "guarded/results.json").read_text())["guard"]["max_abs_drift"] == 0.0


def test_a_module_that_is_not_there_is_refused_by_name(work):
    error = run(work, "+experiment=perturb_core", "imports=[my_regions,nowhere]", expect=1).stderr
    assert "error: imports=nowhere: can't be imported (No module named 'nowhere')" in error
