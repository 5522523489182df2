"""The training text of a run, made and checked from the settings."""

from itertools import islice

from lightning_langcore.data import HubConversations, Source
from lightning_langcore.data.chat_encoding import encode_conversation
from lightning_langcore.data.mixing import CONVERSATIONS, GENERAL, make_parts
from lightning_langcore.data.noise import InstructionNoise
from lightning_langcore.data.options import (
    Injection,
    Length,
    Mixture,
    check_languages,
    check_length,
    check_on_the_fly,
)
from lightning_langcore.data.packing.documents import Repetition
from lightning_langcore.jobs.config.groups.job import FitJob
from lightning_langcore.jobs.config.groups.model import TrainedModel
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.jobs.config.together import raise_together
from lightning_langcore.models.loading import load_tokenizer
from lightning_langcore.utils.errors import LangcoreError

_NUM_CHECKED = 100
"""Number of conversations of each language that are encoded before any work."""


def make_source(settings: Settings) -> Source:
    """The configured source of text."""
    source: Source = settings.data.source.make()
    return source


def repetition(settings: Settings) -> Repetition | None:
    """The configured filter of training documents."""
    limits = settings.data.repetition
    return None if limits is None else Repetition(limits.max_period, limits.max_repeats)


def make_mixture(settings: Settings) -> Mixture:
    """What the run is trained on: its languages, the further sources, and the conversations."""
    data = settings.data
    return Mixture(
        data.languages,
        data.mix,
        data.general,
        {name: node.make() for name, node in data.sources.items()},
        None if data.conversations is None else data.conversations.make(),
        data.template,
        data.answers,
        data.add_end_token,
        repetition=repetition(settings),
    )


def length(settings: Settings) -> Length:
    """How much the run is trained on."""
    data = settings.data
    return Length(data.num_tokens, data.mix_unit, data.num_documents, data.epochs, data.max_epochs)


def make_injection(settings: Settings) -> Injection:
    """The noise of the run, with the interval of the run in which it may change documents."""
    if settings.noise.inject is None:
        return Injection()
    start, end = settings.noise.window
    return Injection(settings.noise.inject.make(), (start, end))


def base_languages(settings: Settings, source: Source) -> list[str]:
    """The languages of the small default base model; for any other model, all languages of the data.

    Raises:
        LangcoreError: the data lacks one of them.
    """
    model = settings.model
    languages = model.base.languages if isinstance(model, TrainedModel) else None
    return check_languages("model.base.languages", languages, source)


def check_text(settings: Settings, source: Source) -> None:
    """Check the groups ``data``, ``task`` and ``noise`` together and against the source.

    Raises:
        LangcoreError: one line for each invalid or unsupported setting.
    """
    data = settings.data
    raise_together(
        [
            lambda: check_languages("data.eval_languages", data.eval_languages, source),
            lambda: check_languages("data.general", data.general, source),
            lambda: base_languages(settings, source),
            lambda: _parts(settings, source),
            lambda: _task(settings),
            lambda: _chat_template(settings),
            lambda: _noise(settings),
            lambda: _lengths(settings),
        ]
    )


def _parts(settings: Settings, source: Source) -> None:
    data = settings.data
    if data.general is not None and GENERAL not in (data.mix or {}):
        raise LangcoreError(f"data.general={data.general} has no meaning without `general` in data.mix")
    mixture = make_mixture(settings)
    check_languages("data.languages", mixture.languages, mixture.conversations or source)
    make_parts(source, mixture)


def _lengths(settings: Settings) -> None:
    options = make_mixture(settings), length(settings), make_injection(settings)
    check_length(*options)
    if settings.data.on_the_fly:
        check_on_the_fly(*options)


def _task(settings: Settings) -> None:
    data, is_sft = settings.data, settings.task.is_sft
    if is_sft and data.conversations is None:
        raise LangcoreError("task=sft needs conversations: choose data=phrasebook_sft, data=sft_files or data=aya")
    if is_sft and data.mix is not None and not data.mix.get(CONVERSATIONS):
        raise LangcoreError(f"task=sft learns from conversations, but data.mix={data.mix} has none: add conversations")
    if data.conversations is not None and not is_sft and isinstance(settings.job, FitJob):
        raise LangcoreError(
            "data.conversations are trained on by task=sft: add it, or choose data without conversations"
        )


def _chat_template(settings: Settings) -> None:
    """Encode the first conversations of each language, so that a template that rejects them does so before any work."""
    data, model = settings.data, settings.model
    if data.conversations is None or data.template != "tokenizer":
        return
    if isinstance(model, TrainedModel):
        raise LangcoreError(
            "data.template=tokenizer: the tokenizer that is trained for model=tiny has no chat template: choose"
            " data.template=plain, or a model whose tokenizer has one"
        )
    tokenizer = load_tokenizer(str(model.path))
    source = data.conversations.make()
    languages = check_languages("data.languages", data.languages, source)
    reads_all = isinstance(source, HubConversations)  # to find those of one language
    for language in languages[:1] if reads_all else languages:
        for conversation in islice(source.conversations(language), 1 if reads_all else _NUM_CHECKED):
            encode_conversation(
                conversation, tokenizer, data.template, max(2, data.block_size), data.answers, data.add_end_token
            )


def _noise(settings: Settings) -> None:
    noise = make_injection(settings).noise
    if isinstance(noise, InstructionNoise) and settings.data.conversations is None:
        raise LangcoreError("noise=instruction changes the instructions of conversations: add task=sft and its data")
