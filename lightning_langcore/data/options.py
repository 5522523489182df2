"""Options of :class:`lightning_langcore.data.TextDataModule`, grouped by what they determine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lightning_langcore.data.answer_spans import Answers
from lightning_langcore.data.noise import Noise
from lightning_langcore.data.packing.documents import Repetition
from lightning_langcore.data.sources.base import ConversationSource, Source
from lightning_langcore.utils.errors import LangcoreError

Template = Literal["plain", "tokenizer"]
WHOLE = (0.0, 1.0)


@dataclass(frozen=True)
class Mixture:
    """What is trained on.

    Args:
        languages: languages to train on, with equal shares; ``None``: all.
        mix: entry -> relative weight in tokens, see :func:`lightning_langcore.data.mixing.make_parts`; ``None``:
            ``conversations`` if there are any, otherwise the ``languages``.
        general: languages of ``general`` in ``mix``; ``None``: all languages that ``mix`` does not name.
        sources: further sources by name, for ``mix``.
        conversations: conversations for fine-tuning. Batches then have ``position_ids``, which restart at 0 in each
            conversation.
        template: format of conversations, see :func:`lightning_langcore.data.chat_encoding.encode_conversation`; so
            are ``answers`` and ``add_end_token``.
        pool: pool of the training split: ``base``, ``locate`` or ``run``.
        repetition: limits beyond which a training document is left out; ``None``: no document is.

    Example:
        >>> from lightning_langcore.data import Mixture
        >>> Mixture(languages=["zh"], mix={"target": 1, "general": 5}).pool
        'run'
    """

    languages: Sequence[str] | None = None
    mix: Mapping[str, float] | None = None
    general: Sequence[str] | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)
    conversations: ConversationSource | None = None
    template: Template = "plain"
    answers: Answers = "all"
    add_end_token: bool = False
    pool: str = "run"
    repetition: Repetition | None = None


@dataclass(frozen=True)
class Length:
    """How much is trained on.

    That is ``num_tokens`` in total; or, with ``mix_unit``, that many tokens per unit of weight in ``mix``; or
    ``epochs`` passes over the documents.

    Args:
        num_tokens: number of training tokens over all parts; rounded down to whole rows.
        mix_unit: tokens per unit of weight in ``mix``; ``None``: ``num_tokens`` are divided by the weights.
        num_documents: maximum number of documents over all parts; ``None``: as many as needed.
        epochs: passes over the documents, instead of ``num_tokens``.
        max_epochs: maximum number of times the text may be repeated to reach ``num_tokens``.
        group: group of settings that messages name: ``data``, ``model.base`` or ``region.recipe``.

    Example:
        >>> from lightning_langcore.data import Length
        >>> Length(mix_unit=1000).total({"target": 1, "general": 5})
        6000
    """

    num_tokens: int = 100_000
    mix_unit: int | None = None
    num_documents: int | None = None
    epochs: int | None = None
    max_epochs: float = 1
    group: str = "data"

    @property
    def setting(self) -> str:
        """Full name of the setting of ``num_tokens``."""
        return "data.num_tokens" if self.group == "data" else f"{self.group}.tokens"

    def total(self, mix: Mapping[str, float] | None) -> int:
        """Number of training tokens of a mix."""
        if mix is None or self.mix_unit is None:
            return self.num_tokens
        return round(self.mix_unit * sum(mix.values()))


@dataclass(frozen=True)
class Injection:
    """Noise that is put into some of the training documents.

    Args:
        noise: the noise; ``None``: none.
        window: interval of the run in which ``noise`` may change documents, as fractions 0..1 of its tokens.

    Example:
        >>> from lightning_langcore.data import Injection
        >>> Injection().window
        (0.0, 1.0)
    """

    noise: Noise | None = None
    window: tuple[float, float] = WHOLE


@dataclass(frozen=True)
class Loading:
    """How rows are cut, batched and read.

    Args:
        block_size: tokens per row; also the context length in evaluation.
        batch_size: rows per batch and device.
        seed: seed of the order of the rows.
        num_workers: number of worker processes of the loader.
        num_proc: number of processes that tokenize.
        on_the_fly: read and tokenize while training, without a packed copy on disk; plain text only, without noise.
        shuffle_buffer: number of documents of a part that are shuffled at a time, if read on the fly.

    Example:
        >>> from lightning_langcore.data import Loading
        >>> Loading(batch_size=4).block_size
        128
    """

    block_size: int = 128
    batch_size: int = 8
    seed: int = 0
    num_workers: int = 0
    num_proc: int = 1
    on_the_fly: bool = False
    shuffle_buffer: int = 10_000


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated.

    Args:
        eval_languages: languages to evaluate; ``None``: all.
        num_eval_tokens: split -> number of tokens to evaluate per language, in whole documents; ``None``, or a split
            that is left out: all.

    Example:
        >>> from lightning_langcore.data import Evaluation
        >>> Evaluation(num_eval_tokens={"validation": 300, "test": None}).eval_languages is None
        True
    """

    eval_languages: Sequence[str] | None = None
    num_eval_tokens: Mapping[str, int | None] = field(default_factory=dict)


def check_languages(setting: str, requested: Sequence[str] | None, source: Source | ConversationSource) -> list[str]:
    """The requested languages.

    Args:
        setting: name of the setting, for error messages.
        requested: language codes; ``None``: all languages of the source.
        source: the source that must have them.

    Raises:
        LangcoreError: an unknown or repeated language, or an empty list; the message names ``setting``.
    """
    if requested is None:
        return source.languages
    if isinstance(requested, str):
        raise LangcoreError(f"{setting}={requested} must be a list, as in {setting}=[{requested}]")
    for language in requested:
        if language not in source.languages:
            raise LangcoreError(
                f"{setting}: the language {language!r} is not in the data ({', '.join(source.languages)})"
            )
    if not requested or len(set(requested)) != len(requested):
        raise LangcoreError(f"{setting}={list(requested)} must name each language once, and at least one")
    return list(requested)


def check_length(mixture: Mixture, length: Length, injection: Injection) -> None:
    """Check that the options that define the length of a run don't contradict each other.

    Raises:
        LangcoreError: two of the options exclude each other.
    """
    mix, epochs = mixture.mix, length.epochs
    if length.mix_unit is not None and mix is None:
        raise LangcoreError(f"data.mix_unit={length.mix_unit} scales data.mix, but there is none: set data.mix")
    if epochs is not None and mix is not None:
        raise LangcoreError(
            f"data.epochs={epochs} counts passes over one text: with data.mix set the length by data.num_tokens or"
            " data.mix_unit, and data.max_epochs"
        )
    if epochs is not None and tuple(injection.window) != WHOLE:
        raise LangcoreError(f"noise.window={list(injection.window)} needs data.num_tokens, not data.epochs={epochs}")


def check_on_the_fly(mixture: Mixture, length: Length, injection: Injection) -> None:
    """Check that no option is used that text read on the fly does not support.

    Raises:
        LangcoreError: there is noise, conversations, ``epochs`` or ``num_documents``.
    """
    settings = {
        "noise": injection.noise,
        "data.conversations": mixture.conversations,
        "data.epochs": length.epochs,
        "data.num_documents": length.num_documents,
    }
    unsupported = [name for name, value in settings.items() if value is not None]
    if unsupported:
        raise LangcoreError(
            f"data.on_the_fly=true streams plain text and does not support {', '.join(unsupported)}: remove that"
            " setting, or set data.on_the_fly=false"
        )
