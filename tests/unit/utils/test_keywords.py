"""Fields of small dataclasses as keywords."""

import inspect
from dataclasses import dataclass, field

import pytest

from lightning_langcore.callbacks import NoiseSensitivity
from lightning_langcore.data import Length, TextDataModule
from lightning_langcore.jobs.config.component import Component
from lightning_langcore.utils.keywords import accepts_fields


@dataclass(frozen=True)
class Size:
    width: int = 1
    names: list = field(default_factory=list)


@dataclass(frozen=True)
class Colour:
    red: float = 0.0


@accepts_fields(size=Size, colour=Colour)
def paint(where, *, size=None, colour=None):
    return where, size, colour


def test_a_field_stands_for_its_object():
    assert paint(1) == (1, None, None)
    assert paint(1, width=3, red=0.5) == paint(1, size=Size(3), colour=Colour(0.5)) == (1, Size(3), Colour(0.5))


def test_a_field_beside_its_object_replaces_one_field():
    assert paint(1, size=Size(3, ["a"]), width=4) == (1, Size(4, ["a"]), None)


def test_the_signature_lists_the_fields_and_other_keywords_are_refused():
    assert list(inspect.signature(paint).parameters) == ["where", "size", "colour", "width", "names", "red"]
    assert inspect.signature(paint).parameters["names"].default == []
    with pytest.raises(TypeError, match="unexpected keyword argument 'hight'"):
        paint(1, hight=3)


def test_public_classes_list_them_too():
    assert inspect.signature(TextDataModule).parameters["num_tokens"].default == Length().num_tokens
    node = {"_target_": "lightning_langcore.NoiseSensitivity", "treshold": 3}
    with pytest.raises(ValueError, match=r"callbacks\.noise\.treshold: .* did you mean threshold"):
        Component("callbacks.noise", node).check_arguments()
    assert NoiseSensitivity(threshold=5.0, window=64).rules.window == 64
