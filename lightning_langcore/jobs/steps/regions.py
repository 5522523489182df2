"""Regions for a job: what is asked for is located in one reading and put together."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from lightning_langcore.data import Source
from lightning_langcore.importance.scores import SCORES
from lightning_langcore.importance.search import Query, SearchResult, locate
from lightning_langcore.importance.statistics import LanguageStatistics
from lightning_langcore.jobs.config.region_kinds import (
    OUTLIERS,
    OUTLIERS_KIND,
    Request,
    combine,
    ingredients,
    statistics,
)
from lightning_langcore.jobs.steps import prepare
from lightning_langcore.jobs.steps.outliers import region_of_base
from lightning_langcore.jobs.steps.statistics import language_statistics
from lightning_langcore.models.parameters import candidates
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.regions.region import Region
from lightning_langcore.utils.progress import say, track


class Basis(NamedTuple):
    """What regions are located from: the base's weights, what is known of the languages, the model's name, outliers."""

    start: Weights
    known: LanguageStatistics | None
    base_model: str
    outliers: Region | None = None


def region(cfg: DictConfig, source: Source, base_path: str) -> Region:
    """The region that the ``region`` node describes.

    Raises:
        ValueError: it can't be made, see :func:`build`.
    """
    request = Request(cfg.region.kind, cfg.region.fraction, cfg.region.seed)
    return build(cfg, source, base_path, [request])[request]


def build(
    cfg: DictConfig,
    source: Source,
    base_path: str,
    requests: Sequence[Request],
    outliers: Callable[[], Region] | None = None,
) -> dict[Request, Region]:
    """All the regions that are asked for, from one reading of the weights and of what is known of them.

    Args:
        cfg: the whole configuration.
        source: the text.
        base_path: folder or hub id of the base.
        requests: what to make.
        outliers: gives the outlier region, where the model is at hand; else the model is loaded if one is needed.

    Raises:
        ValueError: one is empty, or what is known of its weights is rounding or missing for this model.
    """
    located = [request for request in requests if request.variant != "file"]
    made = assemble(cfg, basis(cfg, source, base_path, located, outliers), located)[0] if located else {}
    return {r: made[r] if r in made else Region.load(cfg.region.file) for r in requests}


def basis(
    cfg: DictConfig,
    source: Source,
    base_path: str,
    requests: Sequence[Request],
    outliers: Callable[[], Region] | None = None,
) -> Basis:
    """What the requests need to be known, made if it is missing; see :func:`build`."""
    start = prepare.theta_0(base_path)
    known = language_statistics(cfg, source, base_path, statistics(cfg, [request.variant for request in requests]))
    without = None
    if any(request.variant == OUTLIERS_KIND or request.variant.endswith(OUTLIERS) for request in requests):
        without = outliers() if outliers else region_of_base(cfg, source, base_path)
    return Basis(start, known, prepare.portable(cfg, base_path), without)


def assemble(
    cfg: DictConfig,
    basis: Basis,
    requests: Sequence[Request],
    optional: Collection[Request] = (),
    thresholds: Sequence[float] = (),
    cache: Path | None = None,
) -> tuple[dict[Request, Region], SearchResult]:
    """Locate what the requests are made of and put them together.

    Args:
        cfg: its region node says how.
        basis: what is known.
        requests: what to make.
        optional: requests that are left out, which is said, where they can't be made.
        thresholds: of the union table.
        cache: see :func:`lightning_langcore.importance.search.locate`.

    Returns:
        The regions, and what else the reading has found.

    Raises:
        ValueError: see :func:`build`.
    """
    every = basis.start.shapes
    patterns = None if cfg.region.parameters is None else list(cfg.region.parameters)
    shapes = candidates(every, patterns)
    languages = basis.known.languages if basis.known else []
    plan = {r: ingredients(cfg, r.variant, r.fraction, r.seed, languages) for r in requests}
    keys = {
        query: str(number)
        for number, query in enumerate(dict.fromkeys(w for queries in plan.values() for w in queries))
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
            region = combine(cfg, request, parts, basis.start, shapes, basis.outliers)
        except ValueError as error:
            if request not in optional:
                raise
            say(f"no region {request.variant} is made: {error}")
            continue
        region.meta.update(base_model=basis.base_model, parameters=patterns)
        made[request] = region
    return made, found


def _tracked(names: Iterable[str]) -> Iterable[str]:
    return track(list(names), "locating", unit="tensors")


def refuse_rounding(query: Query, found: SearchResult, key: str) -> None:
    """Refuse a core by change where as many weights never moved as shall be chosen: it would be rounding.

    Raises:
        ValueError: so it is; the worst parameter is named.
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
        raise ValueError(
            f"{share:.1%} of the {unit}s of {name} did not move {where}, which is no less than"
            f" region.fraction={query.spec.fraction}: locate with model.dtype=float32, a larger region.recipe.lr or"
            " more region.recipe.tokens"
        )


def describe(made: Region, file: Path) -> dict[str, Any]:
    """What ``results.json`` says of a region."""
    keys = ("kind", "score", "fraction", "granularity", "scope", "num_ties", "languages")
    about = {key: made.meta.get(key) for key in keys}
    about["fraction"] = about["fraction"] or made.fraction
    about.update(file=file.name, num_candidates=made.num_candidates, num_weights=len(made))
    return {key: value for key, value in about.items() if value is not None}
