"""Scores and kinds of region of one's own work wherever those of the project do."""

import pytest
import torch

from lightning_langcore import Score, random_region, register_region_kind, register_score
from lightning_langcore.importance import registry
from lightning_langcore.importance.scores import SCORES, magnitude
from lightning_langcore.importance.search import Query, locate
from lightning_langcore.importance.selectors import SelectionSpec
from lightning_langcore.models.parameters import candidates, named_shapes
from tests.support.models import tiny_llama


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "REGION_KINDS", dict(registry.REGION_KINDS))
    for name in ("smallest", "first_layer"):
        monkeypatch.delitem(SCORES, name, raising=False)
    yield
    SCORES.pop("smallest", None)


def test_a_registered_score_is_located_like_any_other():
    register_score("smallest", Score("lowest", None, magnitude, None))
    model = tiny_llama()
    weights = {name: p.detach() for name, p in model.named_parameters()}
    shapes = candidates(named_shapes(model))
    found = locate(weights, None, shapes, {"mine": Query("smallest", SelectionSpec(0.1, "lowest"))}).regions["mine"]
    for name, part in found.parts.items():
        sizes = weights[name].abs().flatten()
        chosen = sizes[part.indices()]
        rest = sizes[torch.ones(len(sizes), dtype=torch.bool).index_fill(0, part.indices(), False)]
        assert len(part) == round(0.1 * len(sizes))
        assert chosen.max() <= rest.min()


@pytest.mark.parametrize("register", [register_score, register_region_kind])
def test_a_name_that_is_taken_or_none_is_refused(register):
    value = Score("lowest", None, magnitude, None) if register is register_score else random_region
    for name in ("taylor", "core", "random", "mono"):
        with pytest.raises(
            ValueError, match=f"{register.__name__}: there is a score or a kind of region named '{name}'"
        ):
            register(name, value)
    with pytest.raises(ValueError, match=f"{register.__name__}: 'a-b' is no Python name"):
        register("a-b", value)
