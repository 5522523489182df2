"""Registry of importance scores and kinds of region that users add.

A registered score or kind is used by its name, in ``region.score``, ``job.scores``, ``region.kind`` and
``job.variants``. A run from the command line first imports the modules listed in the setting ``imports``.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from lightning_langcore.importance.scores import SCORES, Score
from lightning_langcore.regions.region import Region
from lightning_langcore.utils.errors import LangcoreError

MakeRegion = Callable[[Mapping[str, Tensor], Mapping[str, Sequence[int]], float, int], Region]
"""(base weights by name, read one at a time; name and shape of each candidate; fraction; seed) -> region."""

REGION_KINDS: dict[str, MakeRegion] = {}
"""Kinds of region that users have registered."""

RESERVED = ("core", "peripheral", "random", "matched", "outliers", "file", "language", "mono", "family")
"""Kinds of region of this package, besides the core end of each score."""


def register_score(name: str, score: Score) -> None:
    """Add a score.

    Args:
        name: a Python identifier that is not the name of a score or a kind of region.
        score: the formula of the score.

    Raises:
        LangcoreError: a name that is in use or is no Python identifier.

    Example:
        >>> from lightning_langcore import Score, register_score
        >>> register_score("gradient", Score("highest", "gradient_sum", None, lambda _, gradient_sum: gradient_sum))
    """
    _check(name, "register_score")
    SCORES[name] = score


def register_region_kind(name: str, make: MakeRegion) -> None:
    """Add a kind of region.

    Args:
        name: a Python identifier that is not the name of a score or a kind of region.
        make: a function of the base's weights, the candidates' shapes, ``region.fraction`` (0, 1] and ``region.seed``.

    Raises:
        LangcoreError: a name that is in use or is no Python identifier.

    Example:
        >>> from lightning_langcore import random_region, register_region_kind
        >>> def first_layer(theta_0, shapes, fraction, seed):
        ...     own = {name: shape for name, shape in shapes.items() if ".layers.0." in name}
        ...     return random_region(own, fraction, seed)
        >>> register_region_kind("first_layer", first_layer)
    """
    _check(name, "register_region_kind")
    REGION_KINDS[name] = make


def _check(name: str, function: str) -> None:
    if not name.isidentifier():
        raise LangcoreError(f"{function}: {name!r} is no Python name")
    if name in RESERVED or name in SCORES or name in REGION_KINDS:
        raise LangcoreError(f"{function}: there is a score or a kind of region named {name!r} already")
