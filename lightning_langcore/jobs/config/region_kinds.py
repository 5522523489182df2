"""The regions that a configuration can name, and how each is built from located regions.

The outliers of a model are its massive-activation dimensions (hidden dimensions whose values are orders of magnitude
above the median) and its super weights (single weights of a down projection that cause them).

core, peripheral      the core end of region.score, and the opposite end
random                random weights: the control
matched               the magnitude-matched control: random weights of each matrix, with magnitudes like the core's
taylor, magnitude ... the core end of that score
language:zh           the core end by the statistics of Chinese alone
mono:zh               language:zh without the weights of any other language's core end
family:NAME           weights in the core end of every language of region.families.NAME and of no other language
outliers              the weights that read and write the massive-activation dimensions, and the super weights
X-outliers            X without the weights of ``outliers``
file                  region.file
a registered name     see :func:`~lightning_langcore.register_region_kind`
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

from torch import Tensor

from lightning_langcore.importance.registry import REGION_KINDS
from lightning_langcore.importance.scores import SCORES
from lightning_langcore.importance.search import Query
from lightning_langcore.importance.selection import matched_region
from lightning_langcore.importance.selectors import SelectionSpec
from lightning_langcore.importance.top_k import End
from lightning_langcore.jobs.config.groups.region import RegionSettings
from lightning_langcore.regions.region import Region
from lightning_langcore.utils.errors import LangcoreError

KINDS = ("core", "peripheral", "random")
MATCHED = "matched"
OUTLIERS_KIND = "outliers"
WITHOUT_FRACTION = ("file", OUTLIERS_KIND)
"""Kinds whose size does not depend on ``fraction``."""
WITH_LANGUAGE = ("language", "mono")
OUTLIERS = "-outliers"


class Request(NamedTuple):
    """A requested region: its name (see the module's docstring), its share of the candidates (0..1), and a seed."""

    variant: str
    fraction: float
    seed: int


def score_names() -> tuple[str, ...]:
    """The choices of ``region.score``, registered scores included."""
    return (*SCORES, "random")


def check_variant(setting: str, variant: str, settings: RegionSettings, languages: Sequence[str] | None) -> None:
    """Check the name of one region.

    Args:
        setting: name of the setting, for the message.
        variant: see the module's docstring; any name but ``file``.
        settings: score, granularity and families.
        languages: the languages of the recipe; ``None``: not known yet.

    Raises:
        LangcoreError: the name is unknown, or the region can't be made with the other settings.
    """
    kind, _, argument = variant.removesuffix(OUTLIERS).partition(":")
    if kind in WITH_LANGUAGE and argument:
        if languages is not None and argument not in languages:
            raise LangcoreError(f"{setting}={variant}: {argument} is none of the located {', '.join(languages)}")
        if SCORES.get(settings.score) is None or SCORES[settings.score].statistic is None:
            raise LangcoreError(f"{setting}={variant}: region.score={settings.score} has no per-language statistics")
    elif kind == "family" and argument:
        members = (settings.families or {}).get(argument)
        if not members:
            raise LangcoreError(f"{setting}={variant}: region.families has no list of languages named {argument}")
        for member in members:
            check_variant(f"region.families.{argument}", f"language:{member}", settings, languages)
    elif kind == MATCHED and not argument and settings.granularity != "element":
        raise LangcoreError(f"{setting}={variant} needs region.granularity=element, not {settings.granularity}")
    elif argument or kind not in (*KINDS, MATCHED, OUTLIERS_KIND, *SCORES, *REGION_KINDS):
        file = ["file"] if setting == "region.kind" else []
        known = ", ".join(
            [
                *KINDS, *file, MATCHED, OUTLIERS_KIND, *(f"{k}:LANG" for k in WITH_LANGUAGE), "family:NAME", *SCORES,
                *REGION_KINDS,
            ]
        )  # fmt: skip
        raise LangcoreError(f"{setting}={variant} is none of {known}, nor one of these followed by {OUTLIERS}")


def statistics(settings: RegionSettings, variants: Iterable[str]) -> list[str]:
    """The per-language statistics that these variants need, in a fixed order."""
    names = {
        _score(settings, variant)
        for variant in variants
        if variant not in WITHOUT_FRACTION and _kind(variant) not in REGION_KINDS
    }
    found = {SCORES[name].statistic for name in names if name in SCORES}
    return [s for s in dict.fromkeys(score.statistic for score in SCORES.values()) if s and s in found]


def ingredients(
    settings: RegionSettings, variant: str, fraction: float, seed: int, languages: Sequence[str]
) -> list[Query]:
    """The queries whose results :func:`combine` makes a variant from.

    Args:
        settings: score, granularity and scope.
        variant: see the module's docstring.
        fraction: share of the candidates, 0..1.
        seed: seed for breaking ties and for a random region.
        languages: all languages with statistics.
    """
    score = _score(settings, variant)
    kind, _, argument = variant.removesuffix(OUTLIERS).partition(":")
    end: End = SCORES[score].core_end if score in SCORES else "lowest"
    if kind == "peripheral":
        end = "highest" if end == "lowest" else "lowest"
    if kind == OUTLIERS_KIND or kind in REGION_KINDS:
        return []
    spec = SelectionSpec(fraction, end, settings.granularity, settings.scope, seed)
    if kind == "language":
        return [Query(score, spec, argument)]
    if kind in ("mono", "family"):
        inside = _members(settings, kind, argument)
        ordered = [*inside, *(language for language in languages if language not in inside)]
        return [Query(score, spec, language) for language in ordered]
    return [Query(score, spec)]


def combine(
    settings: RegionSettings,
    request: Request,
    found: Sequence[Region],
    theta_0: Mapping[str, Tensor],
    shapes: Mapping[str, Sequence[int]],
    outliers: Region | None,
) -> Region:
    """Build the requested region.

    Args:
        settings: the families.
        request: the requested region.
        found: the located regions, in the order of the queries of :func:`ingredients`.
        theta_0: the base's weights by name.
        shapes: name and shape of each candidate.
        outliers: the outlier region, required by ``outliers`` and ``X-outliers``.

    Raises:
        LangcoreError: the region is empty, or a registered kind returned a region with other parameters or shapes.
    """
    variant = request.variant
    kind, _, argument = variant.removesuffix(OUTLIERS).partition(":")
    if kind in REGION_KINDS:
        found = [_registered(kind, request, theta_0, shapes)]
    if kind == OUTLIERS_KIND:
        assert outliers is not None
        if len(outliers) == 0:
            raise LangcoreError(
                "region.kind=outliers is empty: the model has no massive activation and no super weight"
            )
        return Region(outliers.shapes, outliers.parts, {"kind": OUTLIERS_KIND, "num_ties": 0})
    made = found[0]
    if kind == MATCHED:
        made = matched_region(made, theta_0, request.seed)
    if kind in ("mono", "family"):
        count = len(_members(settings, kind, argument))
        made = reduce(Region.__and__, found[:count])
        made = reduce(Region.__sub__, found[count:], made)
    if variant.endswith(OUTLIERS):
        assert outliers is not None
        made = made - outliers
    if len(made) == 0:
        raise LangcoreError(
            f"{variant} is empty at region.fraction={found[0].meta['fraction']}: take a larger fraction"
        )
    about = {**found[0].meta, "kind": variant, "num_ties": sum(part.meta["num_ties"] for part in found)}
    if kind in ("random", MATCHED):
        about.update(order="random", num_ties=0)
    if kind == "random":
        about.update(score="random")
    return Region(made.shapes, made.parts, about)


def _registered(
    kind: str, request: Request, theta_0: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]
) -> Region:
    made = REGION_KINDS[kind](theta_0, shapes, request.fraction, request.seed)
    foreign = [name for name, part in made.parts.items() if name not in shapes or part.shape != tuple(shapes[name])]
    if foreign:
        raise LangcoreError(f"region.kind={kind}: the registered function returned {foreign[0]}, which is no candidate")
    about = {"fraction": request.fraction, "seed": request.seed, "num_ties": 0}
    return Region(shapes, made.parts, {**about, **made.meta})


def _members(settings: RegionSettings, kind: str, argument: str) -> list[str]:
    return [argument] if kind == "mono" else list((settings.families or {})[argument])


def _score(settings: RegionSettings, variant: str) -> str:
    kind = _kind(variant)
    if kind in score_names():
        return kind
    return str(settings.score)


def _kind(variant: str) -> str:
    """``mono`` of ``mono:zh-outliers``."""
    return variant.removesuffix(OUTLIERS).partition(":")[0]
