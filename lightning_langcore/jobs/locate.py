"""Locate regions (core, peripheral, random and by further scores), draw where they lie, and measure their overlap."""

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_langcore.importance.scores import SCORES
from lightning_langcore.jobs.config.checks import locate_languages
from lightning_langcore.jobs.config.groups.job import LocateJob
from lightning_langcore.jobs.config.groups.region import RegionSettings
from lightning_langcore.jobs.config.region_kinds import KINDS, WITH_LANGUAGE, Request, statistics
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.jobs.steps import prepare
from lightning_langcore.jobs.steps.checkpoints import compared, work_folder
from lightning_langcore.jobs.steps.loggers import logged
from lightning_langcore.jobs.steps.regions import assemble, basis, describe
from lightning_langcore.jobs.steps.union_table import UnionTable
from lightning_langcore.plots.region_gallery import overlap_picture, where_it_lies
from lightning_langcore.regions.overlap import overlaps, write_csv
from lightning_langcore.regions.region import Region
from lightning_langcore.results.record import Results
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say


def run(settings: Settings) -> Results:
    """Locate as configured.

    Writes ``core.safetensors``, ``peripheral.safetensors``, ``random.safetensors`` and ``region.safetensors`` (the
    region of ``region.kind``); a file for each further score; folders with the regions of single languages, monolingual
    regions and families; ``union.csv``, ``overlap.csv``, and plots.

    Returns:
        The results: the located region, without perplexities.

    Raises:
        LangcoreError: invalid or unsupported settings.
    """
    started = time.monotonic()
    job, chosen, output = settings.job, settings.region, settings.output
    assert isinstance(job, LocateJob)
    on_disk = job.source == "checkpoints"
    if on_disk:
        inputs = compared(settings, job)
        requests = _requests(job, chosen, inputs.known.languages if inputs.known else [])
    else:
        this = prepare.begin(settings)
        requests = _requests(job, chosen, locate_languages(settings, this.source))
        inputs = basis(this, requests)
    languages = inputs.known.languages if inputs.known else []
    say(f"languages: {', '.join(languages) or 'none needed'}")
    cache = work_folder(settings, job, requests) if on_disk else None
    has_changes = "change" in statistics(chosen, [request.variant for request in requests])
    thresholds = job.union_thresholds if has_changes else []
    optional = [request for request in requests if request.variant not in (*KINDS, chosen.kind)]
    try:
        made, found = assemble(chosen, inputs, requests, optional, thresholds, cache)
    except LangcoreError:
        _remove(cache)
        raise
    regions = {request.variant: region for request, region in made.items()}
    if thresholds:
        union = UnionTable(thresholds, found.union, inputs.start.shapes)
        union.write(output / "union.csv")
        union.print(languages, output / "union.csv")
    file = _save(regions, chosen.kind, output)
    _overlaps(regions, output)
    results = Results(
        output,
        experiment=settings.name,
        seed=settings.seed,
        model={
            "name": job.base if on_disk else settings.model.name,
            "num_weights": sum(map(math.prod, inputs.start.shapes.values())),
        },
        region=describe(regions[chosen.kind], file),
    )
    with logged(settings, "locate", results):
        results.status = "completed"
        results.seconds = {"total": time.monotonic() - started}
        results.write()
    _remove(cache)
    return results


def _remove(cache: Path | None) -> None:
    if cache is not None:
        shutil.rmtree(cache, ignore_errors=True)


def _requests(job: LocateJob, chosen: RegionSettings, languages: Sequence[str]) -> list[Request]:
    """Requests: the three kinds, ``region.kind``, further scores and magnitude, single languages and families."""
    further = [score for score in (*job.scores, "magnitude") if score != chosen.score]
    variants = [*KINDS, chosen.kind, *further]
    if job.single_languages and chosen.score in SCORES and SCORES[chosen.score].statistic:
        variants += [f"{kind}:{language}" for kind in WITH_LANGUAGE for language in languages]
        variants += [f"family:{name}" for name in chosen.families or {}]
    return [Request(variant, chosen.fraction, chosen.seed) for variant in dict.fromkeys(variants)]


def _save(regions: Mapping[str, Region], kind: str, output: Path) -> Path:
    """Write all regions (``mono:zh`` as ``mono/zh.safetensors``), draw the main ones, and return ``kind``'s file."""
    for variant, region in regions.items():
        region.save(output / f"{variant.replace(':', '/')}.safetensors")
        if ":" not in variant:
            ties = f", {region.meta['num_ties']:,} of them chosen among ties" if region.meta["num_ties"] else ""
            say(f"{variant}: {len(region):,} weights ({region.fraction:.2%}){ties}")
            where_it_lies(region, variant, output / "plots")
    return regions[kind].save(output / "region.safetensors")


def _overlaps(regions: Mapping[str, Region], output: Path) -> None:
    """Write ``overlap.csv`` of all pairs and two heat maps, and print the overlap of core and largest weights."""
    rows = overlaps(regions)
    write_csv(rows, output / "overlap.csv")
    for name, title, members in (
        ("scores", "Overlap of regions", [v for v in regions if ":" not in v]),
        ("languages", "Overlap of the core ends by single languages", [v for v in regions if v[:9] == "language:"]),
    ):
        own = [row for row in rows if row.one in members and row.other in members]
        if own:
            overlap_picture(own, output / "plots" / f"overlap_{name}.png", title)
    for row in [row for row in rows if (row.one, row.other) == ("core", "magnitude")]:
        say(
            f"{row.share_of_one:.1%} of the core are among the largest weights (magnitude);"
            f" Jaccard {row.jaccard:.3f}, by chance {row.chance:.3f}"
        )
