"""Text and base model of a run; a base model that is trained here is trained once and cached."""

from itertools import chain, islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_langcore.data import Source, Splitter, TextDataModule
from lightning_langcore.data.packing.documents import Repetition
from lightning_langcore.jobs.config.checks import check, needs_region
from lightning_langcore.jobs.config.data import base_languages, make_available_sources, make_source, window
from lightning_langcore.jobs.config.groups.job import PerturbJob
from lightning_langcore.jobs.config.groups.model import TrainedModel
from lightning_langcore.jobs.config.memory import check_fits
from lightning_langcore.jobs.config.model import check_model
from lightning_langcore.jobs.config.settings import Run, Settings
from lightning_langcore.jobs.config.together import raise_together
from lightning_langcore.jobs.process.lifecycle import refuse_ranks
from lightning_langcore.jobs.steps.trainer import pretrain_once
from lightning_langcore.models import from_scratch, fsdp2, loading
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.utils import artifact_cache
from lightning_langcore.utils.progress import say

_NOT_IN_RECIPE = (
    "path",
    "dtype",
    "attention",
    "activation_checkpointing",
    "extrapolate",
)  # settings of the run, not of its base
FORMAT = 1
"""Incremented when the code makes a different artifact from the same recipe."""


def begin(settings: Settings) -> Run:
    """Start a job: check the settings together, seed the random generators, and find or train the base model.

    Raises:
        LangcoreError: invalid or unsupported settings.
    """
    refuse_ranks(settings)
    source = make_source(settings)
    uses_region = needs_region(settings) or isinstance(settings.job, PerturbJob)
    raise_together([lambda: check(settings, source), lambda: check_model(settings, uses_region)])
    check_fits(settings)
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    return Run(settings, source, base(settings, source))


def make_splitter(settings: Settings) -> Splitter:
    """The configured split of the documents; if no base is trained here, the pool ``base`` is left out."""
    data, own = settings.data, trains_base(settings)
    pools = {name: weight for name, weight in data.pools.items() if name != "base" or own}
    return Splitter(**data.splits.model_dump(), pools=pools)


def make_datamodule(run: Run, tokenizer: PreTrainedTokenizerBase) -> TextDataModule:
    """The configured datamodule of the run itself."""
    settings = run.settings
    names = ("num_tokens", "batch_size", "max_epochs", "mix", "mix_unit", "template", "num_documents", "epochs")
    options = {name: getattr(settings.data, name) for name in (*names, "on_the_fly", "shuffle_buffer")}
    options |= make_available_sources(settings, run.source)._asdict()
    if settings.noise.inject is not None:
        options.update(noise=settings.noise.inject.make(), window=window(settings))
    return make_text(settings, options.pop("text"), tokenizer, seed=settings.seed, **options)


def make_text(settings: Settings, source: Source, tokenizer: PreTrainedTokenizerBase, **more: Any) -> TextDataModule:
    """The datamodule of one training, made of the settings of ``data`` that all pools share, and ``more``."""
    data = settings.data
    names = ("eval_languages", "block_size", "num_workers", "num_proc")
    options: dict[str, Any] = {name: getattr(data, name) for name in names}
    options["num_eval_tokens"] = data.num_eval_tokens.model_dump()
    options["repetition"] = None if data.repetition is None else Repetition(**data.repetition.model_dump())
    return TextDataModule(source, make_splitter(settings), tokenizer, settings.artifacts / "tokens", **options, **more)


def base(settings: Settings, source: Source) -> str:
    """Folder or hub id of the base model; the small default model is pretrained if it is missing."""
    model = settings.model
    if not isinstance(model, TrainedModel):
        loading.check_folder(str(model.path))
        return str(model.path)
    recipe = base_recipe(settings, source)
    root = settings.artifacts
    if artifact_cache.find(root, "base", recipe) is None:
        say(
            f"no base model of this recipe in {root} yet: pretraining one on {model.base.tokens:,} tokens of"
            f" {', '.join(base_languages(settings, source))}, once"
        )
    return str(artifact_cache.get(root, "base", recipe, lambda folder: _build_base(settings, model, source, folder)))


def load(run: Run) -> PreTrainedModel:
    """The base model, ready to be trained; for FSDP2 without weights, because each rank reads its own shards later.

    Raises:
        LangcoreError: see :func:`lightning_langcore.models.loading.load_model`.
    """
    chosen = run.settings.model
    if run.settings.trainer.is_sharded:
        model = fsdp2.empty_model(loading.local_folder(run.base_path), chosen.dtype, chosen.attention)
    else:
        model = loading.load_model(run.base_path, chosen.dtype, chosen.attention)
    if chosen.activation_checkpointing:
        loading.checkpoint_activations(model)
    return model


def theta_0(base_path: str) -> Weights:
    """The base's weights by name, read from its files one at a time."""
    return loading.load_weights(base_path)


def trains_base(settings: Settings) -> bool:
    """Whether the base is the small default model, which this project pretrains."""
    return isinstance(settings.model, TrainedModel)


def portable(run: Run) -> str:
    """The base's name for a region's header; for the small default its name, not its path on this machine."""
    return run.settings.model.name if trains_base(run.settings) else run.base_path


def data_recipe(settings: Settings, source: Source) -> dict[str, Any]:
    """The settings of the text that determine an artifact's content."""
    names = ("splits", "pools", "repetition", "block_size")
    return {**{name: settings.composed["data"][name] for name in names}, "text": source.digest()}


def base_recipe(settings: Settings, source: Source) -> dict[str, Any]:
    """The settings that determine the weights of the small default model."""
    model = {k: v for k, v in settings.composed["model"].items() if k not in _NOT_IN_RECIPE}
    model["base"] = {k: v for k, v in model["base"].items() if k != "languages"}
    languages = base_languages(settings, source)
    return {"format": FORMAT, "model": model, "data": data_recipe(settings, source), "languages": languages}


def identity(base_path: str) -> Any:
    """The path or hub id, with the sizes and times of local weight files, so that a replaced model is not mistaken."""
    path = Path(base_path)
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    return [base_path, *([f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files)]


def _build_base(settings: Settings, chosen: TrainedModel, source: Source, folder: Path) -> None:
    recipe = chosen.base
    splitter = make_splitter(settings)
    languages = base_languages(settings, source)
    texts = (islice(splitter.texts(source, lang, "base"), recipe.tokenizer_documents) for lang in languages)
    tokenizer = from_scratch.train_tokenizer(chain.from_iterable(texts), chosen.vocab_size)
    model = from_scratch.new_llama(chosen.config, tokenizer, recipe.seed)
    datamodule = make_text(
        settings, source, tokenizer, languages=languages, pool="base", num_tokens=recipe.tokens,
        batch_size=recipe.batch_size, max_epochs=recipe.max_epochs, seed=recipe.seed,
    )  # fmt: skip
    pretrain_once(settings, model, datamodule, recipe, folder, "pretraining the base model")
    loading.save(model, tokenizer, folder)
