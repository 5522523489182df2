"""Text and base model of a run; a base model that is trained here is trained once and cached."""

from itertools import chain, islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from transformers import PreTrainedModel

from lightning_langcore.data import Source
from lightning_langcore.jobs.config.checks import check, needs_region
from lightning_langcore.jobs.config.data import base_languages, make_source
from lightning_langcore.jobs.config.groups.job import PerturbJob
from lightning_langcore.jobs.config.groups.model import TrainedModel
from lightning_langcore.jobs.config.memory import check_fits
from lightning_langcore.jobs.config.model import check_model
from lightning_langcore.jobs.config.settings import Run, Settings
from lightning_langcore.jobs.config.together import raise_together
from lightning_langcore.jobs.process.lifecycle import refuse_ranks
from lightning_langcore.jobs.steps import texts
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


def portable(run: Run) -> str:
    """The base's name for a region's header; for the small default its name, not its path on this machine."""
    return run.settings.model.name if texts.trains_base(run.settings) else run.base_path


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
    splitter = texts.make_splitter(settings)
    languages = base_languages(settings, source)
    documents = (islice(splitter.texts(source, lang, "base"), recipe.tokenizer_documents) for lang in languages)
    tokenizer = from_scratch.train_tokenizer(chain.from_iterable(documents), chosen.vocab_size)
    texts.pack(settings, source, tokenizer)
    model = from_scratch.new_llama(chosen.config, tokenizer, recipe.seed)
    datamodule = texts.base_text(settings, recipe, source, tokenizer)
    pretrain_once(settings, model, datamodule, recipe, folder, "pretraining the base model")
    loading.save(model, tokenizer, folder)
