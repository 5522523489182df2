"""Per-language statistics of the weights, recorded once and cached: changes in training, and passes over text."""

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning_langcore.callbacks import WeightDiff
from lightning_langcore.importance import recording
from lightning_langcore.importance.scores import SCORES
from lightning_langcore.importance.statistics import RecordedStatistics
from lightning_langcore.jobs.config.checks import locate_languages
from lightning_langcore.jobs.config.groups.job import LocateJob
from lightning_langcore.jobs.config.memory import check_locates
from lightning_langcore.jobs.config.settings import Run, Settings
from lightning_langcore.jobs.steps import prepare, texts
from lightning_langcore.jobs.steps.evaluation import make_fabric
from lightning_langcore.jobs.steps.trainer import pretrain_once
from lightning_langcore.models import loading
from lightning_langcore.models.parameters import candidates, named_shapes
from lightning_langcore.utils import artifact_cache
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say

FORMAT = 2
"""Incremented when the code makes a different artifact from the same recipe."""


def language_statistics(run: Run, statistics: Sequence[str]) -> RecordedStatistics | None:
    """The per-language statistics; what is missing is recorded, for the small default model or in the job ``locate``.

    Args:
        run: the run with its text and base.
        statistics: names of statistics; ``change`` is recorded by training, the others by passes at fixed weights.

    Returns:
        The statistics; ``None`` if ``statistics`` is empty.

    Raises:
        LangcoreError: a statistic is missing for a model other than the small default; the message holds the command
            that records it.
    """
    if not statistics:
        return None
    folders = {}
    if "change" in statistics:
        _refuse_missing(run, "change")
        recipe, root = _recipe(run, "change"), run.settings.artifacts
        folders["change"] = artifact_cache.get(root, "changes", recipe, lambda folder: _train(run, folder))
    folders.update(_passes(run, [s for s in statistics if s != "change"]))
    return RecordedStatistics(folders, locate_languages(run.settings, run.source))


def _passes(run: Run, statistics: Sequence[str]) -> dict[str, Path]:
    """The folder of each statistic. Missing ones are recorded in the same passes, and their files are hard links."""
    root = run.settings.artifacts
    recipes = {statistic: _recipe(run, statistic) for statistic in statistics}
    missing = [s for s in statistics if artifact_cache.find(root, s, recipes[s]) is None]
    folders: dict[str, Path] = {}
    own: dict[str, Path] = {}  # recorded by this process; files of another process may hold fewer statistics

    def build(statistic: str, folder: Path) -> None:
        for file in [file for made in own.values() for file in made.glob("*.safetensors")]:
            _link(file, folder / file.name)
        if not own:
            _record(run, missing, folder)
            own[statistic] = artifact_cache.place(root, statistic, recipes[statistic])

    for statistic in statistics:
        _refuse_missing(run, statistic)
        folders[statistic] = artifact_cache.get(root, statistic, recipes[statistic], partial(build, statistic))
    return folders


def _refuse_missing(run: Run, statistic: str) -> None:
    settings, base_path = run.settings, run.base_path
    root = settings.artifacts
    name = "changes" if statistic == "change" else statistic
    if artifact_cache.find(root, name, _recipe(run, statistic)) is not None:
        return
    if not texts.trains_base(settings) and not isinstance(settings.job, LocateJob):
        data = f"files data.root={settings.data.root}" if settings.data.root is not None else "phrasebook"
        scores = ",".join(name for name, score in SCORES.items() if score.statistic == statistic)
        arguments = ["+experiment=locate_core", "model=hub", f"model.path={base_path}", f"data={data}"]
        arguments += [f"job.scores=[{scores}]", *_relevant_overrides(settings)]
        raise LangcoreError(
            f"no located core of {base_path} with this recipe in {root} yet: make it with `python train.py"
            f" {' '.join(arguments)}`, or name a region file with region=file region.file=FILE"
        )


def _relevant_overrides(settings: Settings) -> list[str]:
    """The overrides of this command that determine what is recorded."""
    prefixes = ("region.recipe.", "region.parameters=", "data.block_size=", "data.source", "model.dtype=", "trainer")
    return [override for override in settings.invocation.overrides if override.startswith(prefixes)]


def _recipe(run: Run, statistic: str) -> dict[str, Any]:
    settings, source, own = run.settings, run.source, texts.trains_base(run.settings)
    recipe = settings.composed["region"]["recipe"]
    about = {
        "format": FORMAT,
        "base": prepare.base_recipe(settings, source) if own else prepare.identity(run.base_path),
        "dtype": settings.model.dtype,
        "data": prepare.data_recipe(settings, source),
        "languages": locate_languages(settings, source),
    }
    if not own:
        about["precision"] = _precision(settings)
    if statistic == "change":
        return {**about, "recipe": recipe}
    used = {key: recipe[key] for key in ("tokens", "batch_size", "seed")}
    return {**about, "statistic": statistic, "recipe": used, "parameters": settings.region.parameters}


def _precision(settings: Settings) -> str:
    """The precision of recording; float32 for the small default, because runs of any precision share its cache."""
    precision = str(settings.trainer.precision)
    return precision if not texts.trains_base(settings) and precision.endswith("mixed") else "32-true"


def _train(run: Run, folder: Path) -> None:
    """Continue pretraining the base on each language; ``<language>.safetensors`` holds how far each weight moved."""
    settings, base_path = run.settings, run.base_path
    recipe, precision = settings.region.recipe, _precision(settings)
    languages = locate_languages(settings, run.source)
    check_locates(settings, mixed=precision != "32-true")
    say(
        f"no located weight changes of this recipe in {settings.artifacts} yet: training on"
        f" {recipe.tokens:,} tokens of each of {', '.join(languages)}, once; 4 bytes per weight and language"
    )
    tokenizer = loading.load_tokenizer(base_path)
    reference = loading.local_folder(base_path)
    texts.pack(settings, run.source, tokenizer)
    for language in languages:
        model = loading.load_model(base_path, settings.model.dtype, settings.model.attention)
        diff = WeightDiff(0, reference, collect=folder / f"{language}.safetensors")
        datamodule = texts.locate_text(settings, run.source, tokenizer, language)
        pretrain_once(settings, model, datamodule, recipe, folder, f"locating, {language}", [diff], precision)


def _record(run: Run, statistics: Sequence[str], folder: Path) -> None:
    """Record statistics in passes over each language's text at fixed weights, in ``<language>.safetensors``."""
    settings, region = run.settings, run.settings.region
    fabric = make_fabric(settings.trainer, _precision(settings))
    tokenizer = loading.load_tokenizer(run.base_path)
    texts.pack(settings, run.source, tokenizer)
    model = loading.load_model(run.base_path, settings.model.dtype, settings.model.attention)
    model.to(fabric.device)  # type: ignore[arg-type]
    shapes = candidates(named_shapes(model), region.parameters)
    languages = locate_languages(settings, run.source)
    groups = recording.groups(shapes, statistics, region.memory)
    num_bytes = recording.num_bytes(shapes, statistics)
    say(
        f"scoring at fixed weights by {', '.join(statistics)} on {region.recipe.tokens:,} tokens of each of"
        f" {', '.join(languages)}, once: {num_bytes / 1e9:,.3f} GB of accumulators in {len(groups)} group(s) of"
        f" parameters (region.memory={region.memory:,} bytes), one pass over the text per group"
    )
    for language in languages:
        datamodule = texts.locate_text(settings, run.source, tokenizer, language)
        datamodule.prepare_data()
        datamodule.setup()
        recording.record(
            model,
            datamodule.train_dataloader(),
            shapes,
            statistics,
            folder / f"{language}.safetensors",
            limit=region.memory,
            autocast=fabric.autocast,
        )


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # a file system without links
        shutil.copyfile(file, target)
