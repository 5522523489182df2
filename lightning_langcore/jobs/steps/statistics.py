"""Per-language statistics of the weights, recorded once and cached: changes in training, and passes over text."""

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedTokenizerBase

from lightning_langcore.callbacks import WeightDiff
from lightning_langcore.data import Source, TextDataModule
from lightning_langcore.importance import recording
from lightning_langcore.importance.scores import SCORES
from lightning_langcore.importance.statistics import RecordedStatistics
from lightning_langcore.jobs.config.checks import locate_languages
from lightning_langcore.jobs.config.memory import check_locates
from lightning_langcore.jobs.steps import prepare
from lightning_langcore.jobs.steps.evaluation import make_fabric
from lightning_langcore.jobs.steps.trainer import pretrain_once
from lightning_langcore.models import loading
from lightning_langcore.models.parameters import candidates, named_shapes
from lightning_langcore.utils import artifact_cache
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say

FORMAT = 2
"""Incremented when the code makes a different artifact from the same recipe."""


def language_statistics(
    cfg: DictConfig, source: Source, base_path: str, statistics: Sequence[str]
) -> RecordedStatistics | None:
    """The per-language statistics; what is missing is recorded, for the small default model or in the job ``locate``.

    Args:
        cfg: the whole configuration.
        source: the text.
        base_path: folder or hub id of the base.
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
        _refuse_missing(cfg, source, base_path, "change")
        recipe = _recipe(cfg, source, base_path, "change")
        root = Path(cfg.paths.artifacts)
        folders["change"] = artifact_cache.get(root, "changes", recipe, lambda f: _train(cfg, source, base_path, f))
    folders.update(_passes(cfg, source, base_path, [s for s in statistics if s != "change"]))
    return RecordedStatistics(folders, locate_languages(cfg, source))


def _passes(cfg: DictConfig, source: Source, base_path: str, statistics: Sequence[str]) -> dict[str, Path]:
    """The folder of each statistic. Missing ones are recorded in the same passes, and their files are hard links."""
    root = Path(cfg.paths.artifacts)
    recipes = {statistic: _recipe(cfg, source, base_path, statistic) for statistic in statistics}
    missing = [s for s in statistics if artifact_cache.find(root, s, recipes[s]) is None]
    folders: dict[str, Path] = {}
    own: dict[str, Path] = {}  # recorded by this process; files of another process may hold fewer statistics

    def build(statistic: str, folder: Path) -> None:
        for file in [file for made in own.values() for file in made.glob("*.safetensors")]:
            _link(file, folder / file.name)
        if not own:
            _record(cfg, source, base_path, missing, folder)
            own[statistic] = artifact_cache.place(root, statistic, recipes[statistic])

    for statistic in statistics:
        _refuse_missing(cfg, source, base_path, statistic)
        folders[statistic] = artifact_cache.get(root, statistic, recipes[statistic], partial(build, statistic))
    return folders


def _refuse_missing(cfg: DictConfig, source: Source, base_path: str, statistic: str) -> None:
    root = Path(cfg.paths.artifacts)
    name = "changes" if statistic == "change" else statistic
    if artifact_cache.find(root, name, _recipe(cfg, source, base_path, statistic)) is not None:
        return
    if not prepare.trains_base(cfg) and cfg.job.name != "locate":
        data = f"files data.root={cfg.data.root}" if "root" in cfg.data else "phrasebook"
        scores = ",".join(name for name, score in SCORES.items() if score.statistic == statistic)
        arguments = ["+experiment=locate_core", "model=hub", f"model.path={base_path}", f"data={data}"]
        arguments += [f"job.scores=[{scores}]", *_relevant_overrides()]
        raise LangcoreError(
            f"no located core of {base_path} with this recipe in {root} yet: make it with `python train.py"
            f" {' '.join(arguments)}`, or name a region file with region=file region.file=FILE"
        )


def _relevant_overrides() -> list[str]:
    """The overrides of this command that determine what is recorded."""
    if not HydraConfig.initialized():
        return []
    prefixes = ("region.recipe.", "region.parameters=", "data.block_size=", "data.source", "model.dtype=", "trainer")
    return [override for override in HydraConfig.get().overrides.task if override.startswith(prefixes)]


def _recipe(cfg: DictConfig, source: Source, base_path: str, statistic: str) -> dict[str, Any]:
    recipe = OmegaConf.to_container(cfg.region.recipe, resolve=True)
    assert isinstance(recipe, dict)
    about = {
        "format": FORMAT,
        "base": prepare.base_recipe(cfg, source) if prepare.trains_base(cfg) else prepare.identity(base_path),
        "dtype": cfg.model.dtype,
        "data": prepare.data_recipe(cfg, source),
        "languages": locate_languages(cfg, source),
    }
    if not prepare.trains_base(cfg):
        about["precision"] = _precision(cfg)
    if statistic == "change":
        return {**about, "recipe": recipe}
    used = {key: recipe[key] for key in ("tokens", "batch_size", "seed")}
    patterns = None if cfg.region.parameters is None else list(cfg.region.parameters)
    return {**about, "statistic": statistic, "recipe": used, "parameters": patterns}


def _precision(cfg: DictConfig) -> str:
    """The precision of recording; float32 for the small default, because runs of any precision share its cache."""
    mixed = not prepare.trains_base(cfg) and str(cfg.trainer.precision).endswith("mixed")
    return str(cfg.trainer.precision) if mixed else "32-true"


def _text(cfg: DictConfig, source: Source, tokenizer: PreTrainedTokenizerBase, language: str) -> TextDataModule:
    recipe = cfg.region.recipe
    return prepare.make_text(
        cfg, source, tokenizer, languages=[language], pool="locate", num_tokens=recipe.tokens,
        batch_size=recipe.batch_size, seed=recipe.seed,
    )  # fmt: skip


def _train(cfg: DictConfig, source: Source, base_path: str, folder: Path) -> None:
    """Continue pretraining the base on each language; ``<language>.safetensors`` holds how far each weight moved."""
    languages = locate_languages(cfg, source)
    check_locates(cfg, mixed=_precision(cfg) != "32-true")
    say(
        f"no located weight changes of this recipe in {cfg.paths.artifacts} yet: training on"
        f" {cfg.region.recipe.tokens:,} tokens of each of {', '.join(languages)}, once; 4 bytes per weight and language"
    )
    tokenizer = loading.load_tokenizer(base_path)
    reference = loading.local_folder(base_path)
    for language in languages:
        model = loading.load_model(base_path, cfg.model.dtype, cfg.model.attention)
        diff = WeightDiff(0, reference, collect=folder / f"{language}.safetensors")
        datamodule = _text(cfg, source, tokenizer, language)
        precision = _precision(cfg)
        pretrain_once(cfg, model, datamodule, cfg.region.recipe, folder, f"locating, {language}", [diff], precision)


def _record(cfg: DictConfig, source: Source, base_path: str, statistics: Sequence[str], folder: Path) -> None:
    """Record statistics in passes over each language's text at fixed weights, in ``<language>.safetensors``."""
    fabric = make_fabric(cfg, _precision(cfg))
    tokenizer = loading.load_tokenizer(base_path)
    model = loading.load_model(base_path, cfg.model.dtype, cfg.model.attention).to(fabric.device)  # type: ignore[arg-type]
    patterns = None if cfg.region.parameters is None else list(cfg.region.parameters)
    shapes = candidates(named_shapes(model), patterns)
    languages = locate_languages(cfg, source)
    groups = recording.groups(shapes, statistics, cfg.region.memory)
    num_bytes = recording.num_bytes(shapes, statistics)
    say(
        f"scoring at fixed weights by {', '.join(statistics)} on {cfg.region.recipe.tokens:,} tokens of each of"
        f" {', '.join(languages)}, once: {num_bytes / 1e9:,.3f} GB of accumulators in {len(groups)} group(s) of"
        f" parameters (region.memory={cfg.region.memory:,} bytes), one pass over the text per group"
    )
    for language in languages:
        datamodule = _text(cfg, source, tokenizer, language)
        datamodule.prepare_data()
        datamodule.setup()
        recording.record(
            model,
            datamodule.train_dataloader(),
            shapes,
            statistics,
            folder / f"{language}.safetensors",
            limit=cfg.region.memory,
            autocast=fabric.autocast,
        )


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # a file system without links
        shutil.copyfile(file, target)
