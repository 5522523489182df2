"""Regions of a job: all requested regions are located in one pass over the weights."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_langcore.importance.scores import SCORES
from lightning_langcore.importance.search import Query, SearchResult, locate
from lightning_langcore.importance.statistics import LanguageStatistics
from lightning_langcore.jobs.config.groups.region import RegionSettings
from lightning_langcore.jobs.config.region_kinds import (
    OUTLIERS,
    OUTLIERS_KIND,
    Request,
    combine,
    ingredients,
    statistics,
)
from lightning_langcore.jobs.config.settings import Run
from lightning_langcore.jobs.steps import prepare
from lightning_langcore.jobs.steps.outliers import region_of_base
from lightning_langcore.jobs.steps.statistics import language_statistics
from lightning_langcore.models.parameters import candidates
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.regions.region import Region
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say, track


class Basis(NamedTuple):
    """The inputs of locating.

    Attributes:
        start: the base's weights.
        known: the per-language statistics; ``None``: none is needed.
        base_model: the base's name for the region's header.
        outliers: the outlier region; ``None``: none is needed.
    """

    start: Weights
    known: LanguageStatistics | None
    base_model: str
    outliers: Region | None = None


def region(run: Run) -> Region:
    """The region that the group ``region`` describes.

    Raises:
        LangcoreError: see :func:`build`.
    """
    chosen = run.settings.region
    request = Request(chosen.kind, chosen.fraction, chosen.seed)
    return build(run, [request])[request]


def build(run: Run, requests: Sequence[Request], outliers: Callable[[], Region] | None = None) -> dict[Request, Region]:
    """All requested regions, located in one pass over the weights and their statistics.

    Args:
        run: the run with its text and base.
        requests: the regions to make.
        outliers: returns the outlier region of a loaded model; ``None``: the base is loaded if the region is needed.

    Raises:
        LangcoreError: a region is empty, or its statistics are missing for this model or are only rounding.
    """
    located = [request for request in requests if request.variant != "file"]
    chosen = run.settings.region
    made = assemble(chosen, basis(run, located, outliers), located)[0] if located else {}
    return {r: made[r] if r in made else Region.load(str(chosen.file)) for r in requests}


def basis(run: Run, requests: Sequence[Request], outliers: Callable[[], Region] | None = None) -> Basis:
    """The inputs of locating that the requests need; what is missing is made. See :func:`build`."""
    start = prepare.theta_0(run.base_path)
    known = language_statistics(run, statistics(run.settings.region, [request.variant for request in requests]))
    without = None
    if any(request.variant == OUTLIERS_KIND or request.variant.endswith(OUTLIERS) for request in requests):
        without = outliers() if outliers else region_of_base(run)
    return Basis(start, known, prepare.portable(run), without)


def assemble(
    settings: RegionSettings,
    basis: Basis,
    requests: Sequence[Request],
    optional: Collection[Request] = (),
    thresholds: Sequence[float] = (),
    cache: Path | None = None,
) -> tuple[dict[Request, Region], SearchResult]:
    """Locate the queries of the requests and build the requested regions from the results.

    Args:
        settings: score, granularity, scope and candidates.
        basis: the inputs of locating.
        requests: the regions to make.
        optional: requests that are skipped with a message where they can't be made.
        thresholds: relative changes for the union table.
        cache: see :func:`lightning_langcore.importance.search.locate`.

    Returns:
        The regions, and the whole result of the search.

    Raises:
        LangcoreError: see :func:`build`.
    """
    every = basis.start.shapes
    shapes = candidates(every, settings.parameters)
    languages = basis.known.languages if basis.known else []
    plan = {r: ingredients(settings, r.variant, r.fraction, r.seed, languages) for r in requests}
    keys = {
        query: str(number)
        for number, query in enumerate(dict.fromkeys(q for queries in plan.values() for q in queries))
    }
    names = {key: query for query, key in keys.items()}
    known = basis.known
    others = [name for name in every if name not in shapes and known is not None and known.has(name, "change")]
    found = locate(basis.start, basis.known, shapes, names, thresholds, others, cache, _tracked)
    made = {}
    for request, queries in plan.items():
        try:
            for query in queries:
                refuse_rounding(query, found, keys[query])
            parts = [found.regions[keys[query]] for query in queries]
            region = combine(settings, request, parts, basis.start, shapes, basis.outliers)
        except LangcoreError as error:
            if request not in optional:
                raise
            say(f"no region {request.variant} is made: {error}")
            continue
        region.meta.update(base_model=basis.base_model, parameters=settings.parameters)
        made[request] = region
    return made, found


def _tracked(names: Iterable[str]) -> Iterable[str]:
    return track(list(names), "locating", unit="tensors")


def refuse_rounding(query: Query, found: SearchResult, key: str) -> None:
    """Refuse a core by change if at least as many weights are unmoved as are selected: rounding would decide.

    Raises:
        LangcoreError: the share of unmoved weights reaches the fraction; the message names the worst parameter.
    """
    unchanged = found.unchanged.get(key)
    if not unchanged or query.spec.end != SCORES[query.score].core_end:
        return
    name, share = max(unchanged.items(), key=lambda item: item[1])
    if query.spec.scope == "model":
        sizes = {n: math.prod(found.regions[key].shapes[n]) for n in unchanged}
        name, share = "the candidates", sum(unchanged[n] * sizes[n] for n in unchanged) / sum(sizes.values())
    if share >= query.spec.fraction:
        unit = "weight" if query.spec.granularity == "element" else query.spec.granularity
        where = f"in {query.language}" if query.language else "in any language"
        raise LangcoreError(
            f"{share:.1%} of the {unit}s of {name} did not move {where}, which is no less than"
            f" region.fraction={query.spec.fraction}: locate with model.dtype=float32, a larger region.recipe.lr or"
            " more region.recipe.tokens"
        )


def describe(made: Region, file: Path) -> dict[str, Any]:
    """The entry ``region`` of ``results.json``."""
    keys = ("kind", "score", "fraction", "granularity", "scope", "num_ties", "languages")
    about = {key: made.meta.get(key) for key in keys}
    about["fraction"] = about["fraction"] or made.fraction
    about.update(file=file.name, num_candidates=made.num_candidates, num_weights=len(made))
    return {key: value for key, value in about.items() if value is not None}
