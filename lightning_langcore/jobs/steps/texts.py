"""Text of a run: of the base model, of locating, and of the training itself."""

from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from lightning_langcore.data import Source, Splitter, TextDataModule
from lightning_langcore.data.options import Evaluation, Length, Loading, Mixture
from lightning_langcore.jobs.config.checks import locate_languages, needs_statistics
from lightning_langcore.jobs.config.data import base_languages, length, make_injection, make_mixture, repetition
from lightning_langcore.jobs.config.groups.job import FitJob
from lightning_langcore.jobs.config.groups.model import BaseRecipe, TrainedModel
from lightning_langcore.jobs.config.groups.recipe import Recipe
from lightning_langcore.jobs.config.settings import Settings


def make_splitter(settings: Settings) -> Splitter:
    """The configured split of the documents; if no base is trained here, the pool ``base`` is left out."""
    data, own = settings.data, trains_base(settings)
    pools = {name: weight for name, weight in data.pools.items() if name != "base" or own}
    return Splitter(**data.splits.model_dump(), pools=pools)


def make_datamodule(settings: Settings, source: Source, tokenizer: PreTrainedTokenizerBase) -> TextDataModule:
    """The configured datamodule of the run itself."""
    data = settings.data
    rows = _rows(settings, data.batch_size, settings.seed)
    return TextDataModule(
        source,
        make_splitter(settings),
        tokenizer,
        settings.artifacts / "tokens",
        mixture=make_mixture(settings),
        length=length(settings),
        injection=make_injection(settings),
        loading=replace(rows, on_the_fly=data.on_the_fly, shuffle_buffer=data.shuffle_buffer),
        evaluation=Evaluation(data.eval_languages, data.num_eval_tokens.model_dump()),
    )


def base_text(
    settings: Settings, recipe: BaseRecipe, source: Source, tokenizer: PreTrainedTokenizerBase
) -> TextDataModule:
    """The text on which the small default model is pretrained."""
    mixture = Mixture(base_languages(settings, source), pool="base")
    tokens = Length(recipe.tokens, max_epochs=recipe.max_epochs, group="model.base")
    return _plain_text(settings, source, tokenizer, mixture, tokens, recipe)


def locate_text(
    settings: Settings, source: Source, tokenizer: PreTrainedTokenizerBase, language: str
) -> TextDataModule:
    """The text of one language on which its statistics are recorded."""
    recipe = settings.region.recipe
    mixture = Mixture([language], pool="locate")
    return _plain_text(settings, source, tokenizer, mixture, Length(recipe.tokens, group="region.recipe"), recipe)


def pack(settings: Settings, source: Source, tokenizer: PreTrainedTokenizerBase) -> None:
    """Pack the text of locating and of the run, so that too little text is found before anything is trained.

    The packed text is kept, so that this costs nothing in the end.

    Raises:
        LangcoreError: too little text for the settings; the message names the setting.
    """
    texts = []
    if needs_statistics(settings):
        languages = locate_languages(settings, source)
        texts += [locate_text(settings, source, tokenizer, language) for language in languages]
    if isinstance(settings.job, FitJob):
        texts.append(make_datamodule(settings, source, tokenizer))
    for text in texts:
        text.prepare_data()
        text.setup()


def _plain_text(
    settings: Settings,
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    mixture: Mixture,
    tokens: Length,
    recipe: Recipe,
) -> TextDataModule:
    """Packed text of one pool, in the order of the recipe's seed."""
    return TextDataModule(
        source,
        make_splitter(settings),
        tokenizer,
        settings.artifacts / "tokens",
        mixture=replace(mixture, repetition=repetition(settings)),
        length=tokens,
        loading=_rows(settings, recipe.batch_size, recipe.seed),
    )


def _rows(settings: Settings, batch_size: int, seed: int) -> Loading:
    data = settings.data
    return Loading(data.block_size, batch_size, seed, data.num_workers, data.num_proc)


def trains_base(settings: Settings) -> bool:
    """Whether the base is the small default model, which this project pretrains."""
    return isinstance(settings.model, TrainedModel)
