"""Text and base model of a run; a base model that is trained here is trained once and cached."""

from itertools import chain, islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_langcore.data import Source, Splitter, TextDataModule
from lightning_langcore.data.packing.documents import Repetition
from lightning_langcore.jobs.config.checks import check
from lightning_langcore.jobs.config.data import base_languages, make_available_sources, make_source
from lightning_langcore.jobs.config.devices import is_sharded
from lightning_langcore.jobs.config.memory import check_fits
from lightning_langcore.jobs.config.validators import make
from lightning_langcore.jobs.process.lifecycle import refuse_ranks
from lightning_langcore.jobs.steps.trainer import pretrain_once
from lightning_langcore.models import from_scratch, fsdp2, loading
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.utils import artifact_cache
from lightning_langcore.utils.progress import say

_NOT_IN_RECIPE = ("path", "dtype", "attention", "activation_checkpointing")  # settings of the run, not of its base
FORMAT = 1
"""Incremented when the code makes a different artifact from the same recipe."""


def begin(cfg: DictConfig) -> tuple[Path, Source, str]:
    """Start a job: check the configuration, seed the random generators, and find or train the base model.

    Returns:
        The run folder, the source of text, and the base's folder or hub id.

    Raises:
        LangcoreError: invalid or unsupported settings.
    """
    refuse_ranks(cfg)
    source = make_source(cfg)
    check(cfg, source)
    check_fits(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    return Path(cfg.paths.output), source, base(cfg, source)


def make_splitter(cfg: DictConfig) -> Splitter:
    """The configured split of the documents; if no base is trained here, the pool ``base`` is left out."""
    pools = {name: weight for name, weight in cfg.data.pools.items() if name != "base" or trains_base(cfg)}
    return Splitter(**cfg.data.splits, pools=pools)


def make_datamodule(cfg: DictConfig, source: Source, tokenizer: PreTrainedTokenizerBase) -> TextDataModule:
    """The configured datamodule of the run itself."""
    data: Any = OmegaConf.to_container(cfg.data, resolve=True)
    names = ("num_tokens", "batch_size", "max_epochs", "mix", "mix_unit", "template", "num_documents", "epochs")
    options = {name: data[name] for name in (*names, "on_the_fly", "shuffle_buffer")} | make_available_sources(
        cfg, source
    )._asdict()
    if cfg.noise.inject is not None:
        options["noise"] = make(cfg.noise.inject)
        options["window"] = tuple(cfg.noise.window)
    return make_text(cfg, options.pop("text"), tokenizer, seed=cfg.seed, **options)


def make_text(cfg: DictConfig, source: Source, tokenizer: PreTrainedTokenizerBase, **more: Any) -> TextDataModule:
    """The datamodule of one training, made of the settings of ``data`` that all pools share, and ``more``."""
    names = ("eval_languages", "block_size", "num_workers", "num_proc")
    options: dict[str, Any] = {name: cfg.data[name] for name in names}
    options["num_eval_tokens"] = OmegaConf.to_container(cfg.data.num_eval_tokens)
    options["repetition"] = None if cfg.data.repetition is None else Repetition(**cfg.data.repetition)
    folder = Path(cfg.paths.artifacts) / "tokens"
    return TextDataModule(source, make_splitter(cfg), tokenizer, folder, **options, **more)


def base(cfg: DictConfig, source: Source) -> str:
    """Folder or hub id of the base model; the small default model is pretrained if it is missing."""
    if not trains_base(cfg):
        loading.check_folder(cfg.model.path)
        return str(cfg.model.path)
    recipe = base_recipe(cfg, source)
    root = Path(cfg.paths.artifacts)
    if artifact_cache.find(root, "base", recipe) is None:
        say(
            f"no base model of this recipe in {root} yet: pretraining one on {cfg.model.base.tokens:,} tokens of"
            f" {', '.join(base_languages(cfg, source))}, once"
        )
    return str(artifact_cache.get(root, "base", recipe, lambda folder: _build_base(cfg, source, folder)))


def load(cfg: DictConfig, base_path: str) -> PreTrainedModel:
    """The base model, ready to be trained; for FSDP2 without weights, because each rank reads its own shards later.

    Raises:
        LangcoreError: see :func:`lightning_langcore.models.loading.load_model`.
    """
    if is_sharded(cfg):
        model = fsdp2.empty_model(loading.local_folder(base_path), cfg.model.dtype, cfg.model.attention)
    else:
        model = loading.load_model(base_path, cfg.model.dtype, cfg.model.attention)
    if cfg.model.activation_checkpointing:
        loading.checkpoint_activations(model)
    return model


def theta_0(base_path: str) -> Weights:
    """The base's weights by name, read from its files one at a time."""
    return Weights(loading.local_folder(base_path))


def trains_base(cfg: DictConfig) -> bool:
    """Whether the base is the small default model, which this project pretrains."""
    return "tokens" in cfg.model.base


def portable(cfg: DictConfig, base_path: str) -> str:
    """The base's name for a region's header; for the small default its name, not its path on this machine."""
    return str(cfg.model.name) if trains_base(cfg) else base_path


def data_recipe(cfg: DictConfig, source: Source) -> dict[str, Any]:
    """The settings of the text that determine an artifact's content."""
    data = OmegaConf.to_container(cfg.data, resolve=True)
    assert isinstance(data, dict)
    nodes = {name: data[name] for name in ("splits", "pools", "repetition")}
    return {**nodes, "block_size": cfg.data.block_size, "text": source.digest()}


def base_recipe(cfg: DictConfig, source: Source) -> dict[str, Any]:
    """The settings that determine the weights of the small default model."""
    model = OmegaConf.to_container(cfg.model, resolve=True)
    assert isinstance(model, dict)
    model = {k: v for k, v in model.items() if k not in _NOT_IN_RECIPE}
    model["base"] = {k: v for k, v in model["base"].items() if k != "languages"}
    languages = base_languages(cfg, source)
    return {"format": FORMAT, "model": model, "data": data_recipe(cfg, source), "languages": languages}


def identity(base_path: str) -> Any:
    """The path or hub id, with the sizes and times of local weight files, so that a replaced model is not mistaken."""
    path = Path(base_path)
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    return [base_path, *([f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files)]


def _build_base(cfg: DictConfig, source: Source, folder: Path) -> None:
    recipe = cfg.model.base
    splitter = make_splitter(cfg)
    languages = base_languages(cfg, source)
    texts = (islice(splitter.texts(source, lang, "base"), recipe.tokenizer_documents) for lang in languages)
    tokenizer = from_scratch.train_tokenizer(chain.from_iterable(texts), cfg.model.vocab_size)
    model = from_scratch.new_llama(OmegaConf.to_container(cfg.model.config, resolve=True), tokenizer, recipe.seed)  # type: ignore[arg-type]
    datamodule = make_text(
        cfg, source, tokenizer, languages=languages, pool="base", num_tokens=recipe.tokens,
        batch_size=recipe.batch_size, max_epochs=recipe.max_epochs, seed=recipe.seed,
    )  # fmt: skip
    pretrain_once(cfg, model, datamodule, recipe, folder, "pretraining the base model")
    loading.save(model, tokenizer, folder)
