"""What a run stands on: text, base model, located changes, region; made once and found again."""

from collections.abc import Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightning_langcore import artifacts, models
from lightning_langcore.callbacks import WeightDiff
from lightning_langcore.data import Source, Splitter, TextDataModule
from lightning_langcore.jobs.check import check, locate_languages
from lightning_langcore.jobs.training import pretrain_once
from lightning_langcore.params import candidates, saved_parameters
from lightning_langcore.progress import say
from lightning_langcore.region import Region
from lightning_langcore.scores import CHANGE_SCORES, CORE_END, Changes, End, Weights
from lightning_langcore.select import random_region, select

FORMAT = 1
"""Raised when the code makes something else from the same recipe."""


def begin(cfg: DictConfig) -> tuple[Path, Source, str]:
    """What every job does first: look at the configuration, seed, and find or make the base model.

    Returns:
        The run folder, the text, and folder or hub id of the base.

    Raises:
        ValueError: something in the configuration can't be honoured.
    """
    source = make_source(cfg)
    check(cfg, source)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    return Path(cfg.paths.output), source, base(cfg, source)


def make_source(cfg: DictConfig) -> Source:
    """The configured text."""
    return instantiate(cfg.data.source)


def make_splitter(cfg: DictConfig) -> Splitter:
    """The configured division of documents; without a base to train no document is kept back for it."""
    pools = {name: weight for name, weight in cfg.data.pools.items() if name != "base" or _trains_base(cfg)}
    return Splitter(**cfg.data.splits, pools=pools)


def make_datamodule(cfg: DictConfig, source: Source, tokenizer: PreTrainedTokenizerBase, **more: Any) -> TextDataModule:
    """The configured datamodule; ``more`` overrides what the ``data`` node says."""
    names = ("languages", "eval_languages", "num_tokens", "block_size", "batch_size", "max_epochs", "num_workers")
    options: dict[str, Any] = {name: OmegaConf.select(cfg.data, name) for name in names}
    options["num_eval_tokens"] = OmegaConf.to_container(cfg.data.num_eval_tokens)
    options.update({"seed": cfg.seed, **more})
    return TextDataModule(source, make_splitter(cfg), tokenizer, Path(cfg.paths.artifacts) / "tokens", **options)


def base(cfg: DictConfig, source: Source) -> str:
    """Folder or hub id of the base model; the small default is pretrained if it is missing."""
    if not _trains_base(cfg):
        models.check_folder(cfg.model.path)
        return str(cfg.model.path)
    recipe = _base_recipe(cfg, source)
    root = Path(cfg.paths.artifacts)
    if artifacts.find(root, "base", recipe) is None:
        say(
            f"no base model of this recipe in {root} yet: pretraining one on {cfg.model.base.tokens:,} tokens of"
            f" {', '.join(source.languages)}, once"
        )
    return str(artifacts.get(root, "base", recipe, lambda folder: _build_base(cfg, source, folder)))


def changes(cfg: DictConfig, source: Source, base_path: str) -> Changes:
    """The located weight changes; for the small default, or where locating is the job, made if they are missing.

    Raises:
        ValueError: they are missing for another model; the message holds the command that makes them.
    """
    root = Path(cfg.paths.artifacts)
    recipe = _changes_recipe(cfg, source, base_path)
    if artifacts.find(root, "changes", recipe) is None:
        if not _trains_base(cfg) and cfg.job.name != "locate":
            data = f"files data.root={cfg.data.root}" if "root" in cfg.data else "phrasebook"
            raise ValueError(
                f"no located core of {base_path} with this recipe in {root} yet: make it with `python train.py"
                f" +experiment=locate_core model=hub model.path={base_path} data={data}`, or name a region file with"
                " region=file region.file=FILE"
            )
        say(
            f"no located weight changes of this recipe in {root} yet: training on {cfg.region.recipe.tokens:,} tokens"
            f" of each of {', '.join(recipe['languages'])}, once"
        )
    folder = artifacts.get(root, "changes", recipe, lambda f: _build_changes(cfg, source, base_path, f))
    return Changes(folder / "changes.safetensors")


def theta_0(base_path: str) -> Mapping[str, Tensor]:
    """The base's weights by name: from its folder, one at a time, or in memory if it comes from the hub."""
    if Path(base_path).is_dir():
        return Weights(base_path)
    return {name: p.detach() for name, p in saved_parameters(models.load_model(base_path)).items()}


def region(cfg: DictConfig, source: Source, base_path: str) -> Region:
    """The region that the ``region`` node describes.

    Raises:
        ValueError: it can't be made, see :func:`changes` and :func:`lightning_langcore.select.select`.
    """
    node = cfg.region
    if node.kind == "file":
        return Region.load(node.file)
    start = theta_0(base_path)
    patterns = None if node.parameters is None else list(node.parameters)
    shapes = candidates({name: tuple(start[name].shape) for name in start}, patterns)
    about = {"kind": node.kind, "base_model": _portable(cfg, base_path), "parameters": patterns}
    if node.kind == "random":
        return random_region(shapes, node.fraction, node.seed, about)
    found = changes(cfg, source, base_path)
    about.update(score=node.score, languages=found.languages)
    core_end = CORE_END[node.score]
    opposite: End = "highest" if core_end == "lowest" else "lowest"
    score = CHANGE_SCORES[node.score]
    scores = ((name, score(start[name], summed)) for name, summed in found.summed() if name in shapes)
    if node.kind == "core":
        scores = ((name, _moved(name, values, node.fraction)) for name, values in scores)
    return select(scores, node.fraction, core_end if node.kind == "core" else opposite, node.seed, about)


def describe(made: Region, file: Path) -> dict[str, Any]:
    """What ``results.json`` says of a region."""
    about = {key: made.meta.get(key) for key in ("kind", "score", "fraction", "num_ties", "languages")}
    about["fraction"] = about["fraction"] or made.fraction
    about.update(file=file.name, num_candidates=made.num_candidates, num_weights=len(made))
    return {key: value for key, value in about.items() if value is not None}


def _moved(name: str, score: Tensor, fraction: float) -> Tensor:
    """Refuse a tensor in which as many weights never moved as shall be chosen: the core would be rounding."""
    still = float((score == 0).double().mean())
    if still >= fraction:
        raise ValueError(
            f"{still:.1%} of {name} did not move in any language, which is no less than region.fraction={fraction}:"
            " locate with model.dtype=float32, a larger region.recipe.lr or more region.recipe.tokens"
        )
    return score


def _trains_base(cfg: DictConfig) -> bool:
    return "tokens" in cfg.model.base


def _portable(cfg: DictConfig, base_path: str) -> str:
    return str(cfg.model.name) if _trains_base(cfg) else base_path


def _data_recipe(cfg: DictConfig, source: Source) -> dict[str, Any]:
    nodes = {name: OmegaConf.to_container(cfg.data[name], resolve=True) for name in ("splits", "pools")}
    return {**nodes, "block_size": cfg.data.block_size, "text": source.digest()}


def _base_recipe(cfg: DictConfig, source: Source) -> dict[str, Any]:
    model = OmegaConf.to_container(cfg.model, resolve=True)
    assert isinstance(model, dict)
    model = {k: v for k, v in model.items() if k not in ("path", "dtype", "attention")}
    return {"format": FORMAT, "model": model, "data": _data_recipe(cfg, source), "languages": source.languages}


def _changes_recipe(cfg: DictConfig, source: Source, base_path: str) -> dict[str, Any]:
    recipe = OmegaConf.to_container(cfg.region.recipe, resolve=True)
    return {
        "format": FORMAT,
        "base": _base_recipe(cfg, source) if _trains_base(cfg) else _identity(base_path),
        "dtype": cfg.model.dtype,
        "data": _data_recipe(cfg, source),
        "recipe": recipe,
        "languages": locate_languages(cfg, source),
    }


def _identity(base_path: str) -> Any:
    """A hub id, or a folder with the sizes and times of its weights: another model in the same folder is another."""
    files = sorted(Path(base_path).glob("*.safetensors"))
    return [base_path, *([f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files)]


def _build_base(cfg: DictConfig, source: Source, folder: Path) -> None:
    recipe = cfg.model.base
    splitter = make_splitter(cfg)
    texts = (islice(splitter.texts(source, lang, "base"), recipe.tokenizer_documents) for lang in source.languages)
    tokenizer = models.train_tokenizer(chain.from_iterable(texts), cfg.model.vocab_size)
    model = models.new_llama(OmegaConf.to_container(cfg.model.config, resolve=True), tokenizer, recipe.seed)  # type: ignore[arg-type]
    datamodule = make_datamodule(
        cfg, source, tokenizer, languages=None, pool="base", num_tokens=recipe.tokens,
        batch_size=recipe.batch_size, max_epochs=recipe.max_epochs, seed=recipe.seed,
    )  # fmt: skip
    pretrain_once(cfg, model, datamodule, recipe, folder, "pretraining the base model")
    models.save(model, tokenizer, folder)


def _build_changes(cfg: DictConfig, source: Source, base_path: str, folder: Path) -> None:
    recipe = cfg.region.recipe
    tokenizer = models.load_tokenizer(base_path)
    reference = base_path if Path(base_path).is_dir() else None
    for language in locate_languages(cfg, source):
        model = models.load_model(base_path, cfg.model.dtype, cfg.model.attention)
        datamodule = make_datamodule(
            cfg, source, tokenizer, languages=[language], pool="locate", num_tokens=recipe.tokens,
            batch_size=recipe.batch_size, seed=recipe.seed,
        )  # fmt: skip
        diff = WeightDiff(0, reference, collect=folder / "changes.safetensors", language=language)
        mixed = not _trains_base(cfg) and str(cfg.trainer.precision).endswith("mixed")
        precision = cfg.trainer.precision if mixed else "32-true"
        pretrain_once(cfg, model, datamodule, recipe, folder, f"locating, {language}", [diff], precision)
