"""Scores and kinds of region that users add to those the project knows.

What is registered is taken by its name: by ``region.score``, ``job.scores``, ``region.kind`` and ``job.variants``. A
run that is started from the command line first imports the modules that the setting ``imports`` names.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from lightning_langcore.importance.scores import SCORES, Score
from lightning_langcore.regions.region import Region

MakeRegion = Callable[[Mapping[str, Tensor], Mapping[str, Sequence[int]], float, int], Region]
"""The base's weights by name (read one at a time), name and shape of each candidate, fraction, seed -> region."""

REGION_KINDS: dict[str, MakeRegion] = {}
"""Those that users have registered."""

RESERVED = ("core", "peripheral", "random", "matched", "outliers", "file", "language", "mono", "family")
"""Kinds of region that the project makes itself, besides the core end of each score."""


def register_score(name: str, score: Score) -> None:
    """Add a score.

    Args:
        name: a Python name that no score and no kind of region has.
        score: its formula.

    Raises:
        ValueError: the name is taken or no Python name.

    Example::

        register_score("snip_squared", Score("highest", "gradient_sum", magnitude, lambda sizes, g: sizes * g * sizes))
    """
    _check(name, "register_score")
    SCORES[name] = score


def register_region_kind(name: str, make: MakeRegion) -> None:
    """Add a kind of region.

    Args:
        name: a Python name that no score and no kind of region has.
        make: called with the base's weights, the candidates' shapes, ``region.fraction`` (0..1] and ``region.seed``.

    Raises:
        ValueError: the name is taken or no Python name.

    Example::

        def first_layer(theta_0, shapes, fraction, seed):
            own = {name: shape for name, shape in shapes.items() if ".layers.0." in name}
            return random_region(own, fraction, seed)


        register_region_kind("first_layer", first_layer)
    """
    _check(name, "register_region_kind")
    REGION_KINDS[name] = make


def _check(name: str, function: str) -> None:
    if not name.isidentifier():
        raise ValueError(f"{function}: {name!r} is no Python name")
    if name in RESERVED or name in SCORES or name in REGION_KINDS:
        raise ValueError(f"{function}: there is a score or a kind of region named {name!r} already")
