"""Checks of the model against the settings, from its config and tokenizer alone, before any work."""

from torch import nn
from transformers import LlamaConfig, PreTrainedConfig, PreTrainedModel

from lightning_langcore.jobs.config.groups.job import LocateJob, PerturbJob
from lightning_langcore.jobs.config.groups.model import TrainedModel
from lightning_langcore.jobs.config.region_kinds import statistics
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.jobs.config.together import raise_together
from lightning_langcore.models import limits, loading
from lightning_langcore.models.parameters import candidates, named_shapes, saved_parameters
from lightning_langcore.utils.errors import LangcoreError


def config_of(settings: Settings) -> PreTrainedConfig:
    """The config of the configured model; no weights are read.

    Raises:
        LangcoreError: the config is missing or can't be read.
    """
    chosen = settings.model
    if chosen.path is not None:
        return loading.load_config(chosen.path)
    assert isinstance(chosen, TrainedModel)
    return LlamaConfig(**chosen.config, vocab_size=chosen.vocab_size)


def check_model(settings: Settings, uses_region: bool, planned: bool = False) -> None:
    """Check that the model can be made, takes the text's length and tokens, and has what the region needs.

    Args:
        settings: the settings of the run.
        uses_region: whether the run locates, perturbs or guards a region.
        planned: whether the run is only planned, so that its weights and tokenizer may be missing.

    Raises:
        LangcoreError: one line for each setting that does not fit the model.
    """
    attention, path = settings.model.attention, settings.model.path
    if path is not None and not planned:
        loading.check_folder(path)
    needs_package = attention.startswith(("flash_attention", "flex_attention"))  # checked with the machine
    model = loading.model_without_weights(config_of(settings), attention="eager" if needs_package else attention)
    raise_together(
        [
            lambda: _positions(settings, model),
            lambda: _tokens(settings, model, planned),
            lambda: _region(settings, model) if uses_region else None,
        ]
    )


def _positions(settings: Settings, model: PreTrainedModel) -> None:
    size, found = settings.data.block_size, limits.positions(model)
    if found is None or size <= found.length or (settings.model.extrapolate and not found.is_table):
        return
    if isinstance(settings.model, TrainedModel) and settings.model.path is None:
        way = f"set data.block_size={found.length} or less, or model.config.max_position_embeddings={size}"
    elif found.is_table:
        way = f"set data.block_size={found.length} or less"
    else:
        way = (
            f"set data.block_size={found.length} or less, scale its rotary positions in its config.json, or set"
            " model.extrapolate=true to go beyond them all the same"
        )
    raise LangcoreError(
        f"data.block_size={size} is more than the {found.length} positions (max_position_embeddings) of"
        f" {type(model).__name__}: {way}"
    )


def _tokens(settings: Settings, model: PreTrainedModel, planned: bool) -> None:
    path = settings.model.path
    if path is None:
        return  # its tokenizer is made with the model
    try:
        tokenizer = loading.load_tokenizer(path)
    except LangcoreError:
        if planned:
            return
        raise
    rows, (number, token) = limits.vocabulary_rows(model), limits.largest_token(tokenizer)
    if number >= rows:
        raise LangcoreError(
            f"model.path={path}: its tokenizer has the token {token!r} with number {number}, but the model has"
            f" embeddings for {rows} tokens only: call model.resize_token_embeddings({number + 1}) and save the model,"
            " or give the tokenizer that the model was trained with"
        )


def _region(settings: Settings, model: PreTrainedModel) -> None:
    region, shapes = settings.region, named_shapes(model)
    if region.kind == "file":
        return
    chosen = candidates(shapes, region.parameters)
    stacks = [name for name, shape in chosen.items() if len(shape) != 2]
    if region.granularity != "element" and stacks:
        raise LangcoreError(
            f"region.granularity={region.granularity} needs matrices, but {stacks[0]} has shape"
            f" {chosen[stacks[0]]}: leave it out with region.parameters, or set region.granularity=element"
        )
    if "input_norm" in statistics(region, _variants(settings)):
        linear = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
        weights = saved_parameters(model)
        others = [name for name in chosen if id(weights[name]) not in linear]
        if others:
            raise LangcoreError(
                f"the score wanda needs the inputs of linear layers, and {others[0]} of {type(model).__name__} is the"
                " weight of none: choose region.score=taylor or another score, or name the linear layers, as"
                " region.parameters=[*.self_attn.*.weight]"
            )


def _variants(settings: Settings) -> list[str]:
    job, kind = settings.job, settings.region.kind
    if isinstance(job, PerturbJob):
        return list(job.variants)
    return ["core", kind, *job.scores] if isinstance(job, LocateJob) else [kind]
