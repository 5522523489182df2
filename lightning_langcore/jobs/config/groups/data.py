"""The groups ``data`` and ``noise``: the text of a run, how it is mixed, split and packed, and noise put into it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, ValidationInfo

from lightning_langcore.jobs.config.component import Component
from lightning_langcore.jobs.config.groups.base import (
    Count,
    CountOrNull,
    CountOrZero,
    Expected,
    Flag,
    Group,
    Languages,
    Made,
    MadeOrNull,
    Number,
    Positive,
    TextOrNull,
    Whole,
    component,
    setting_of,
)


def _components(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: component(f"{setting_of(info)}.{name}", node) for name, node in value.items()}


def _ascending(window: list[Any]) -> list[Any]:
    if len(window) != 2 or not 0 <= window[0] < window[1] <= 1:
        raise ValueError("no window")
    return window


class EvalTokens(Group):
    """Tokens to evaluate per language, in whole documents."""

    validation: CountOrNull = Field(description="tokens of the validation split per language; null: all")
    test: CountOrNull = Field(description="tokens of the test split per language; null: all")


class Splits(Group):
    """Shares of the documents; the rest is for training."""

    test: Annotated[Number, Expected("a share of the documents in 0..1")] = Field(description="share for the test")
    validation: Annotated[Number, Expected("a share of the documents in 0..1")] = Field(
        description="share for the validation"
    )


class Repetition(Group):
    """Training documents in which a short span occurs many times in a row are left out, counted and listed."""

    max_period: Count = Field(description="longest repeated span, in tokens")
    max_repeats: Annotated[
        int,
        Field(strict=True, ge=2),
        Expected("a whole number of at least 2: a span that occurs once is no repetition"),
    ] = Field(description="consecutive copies of a span from which a document is left out")


class Data(Group):
    """Text of any source; the settings from ``root`` on belong to single choices of the group."""

    languages: Languages = Field(description="languages to train on, with equal shares; null: all")
    mix: Annotated[dict[str, Any] | None, Expected("null, or the tokens of each entry, as {target: 1, general: 5}")] = (
        Field(
            description="training mix as ratios of tokens; names are `target` (the languages above), languages of the"
            " data, `general`, `conversations`, or names of `data.sources`; weights are 0 or more"
        )
    )
    mix_unit: CountOrNull = Field(
        description="tokens per unit of weight in the mix; null: `data.num_tokens` are divided by the weights"
    )
    general: Languages = Field(
        description="languages of `general` in the mix, with equal shares; null: all that the mix does not name"
    )
    sources: Annotated[dict[str, Component], BeforeValidator(_components), Expected("sources by name")] = Field(
        description="further sources for the mix by name, each a class in _target_ with its arguments"
    )
    conversations: MadeOrNull = Field(description="conversations for task=sft; null: none")
    template: Literal["plain", "tokenizer"] = Field(
        description="format of conversations: plain, or tokenizer (the tokenizer's chat template)"
    )
    answers: Literal["all", "last", "rendered"] = Field(
        description="answers of a conversation that are learnt: all; last: the last one alone; rendered: all, and those"
        " that the chat template renders otherwise than a last one (Qwen3) as they are rendered",
    )
    add_end_token: Flag = Field(
        description="true: add the tokenizer's end token to each answer that the chat template closes with no special"
        " token (GLM-4); false: the model does not learn to stop there, and a line says so",
    )
    eval_languages: Languages = Field(description="languages to evaluate; null: all")
    num_tokens: Count = Field(description="number of training tokens over all languages; rounded down to whole blocks")
    max_epochs: Positive = Field(
        description="maximum number of times the text may be repeated to reach `data.num_tokens`"
    )
    num_documents: CountOrNull = Field(
        description="maximum number of documents over all parts; null: as many as `data.num_tokens` need"
    )
    epochs: CountOrNull = Field(
        description="passes over these documents, instead of `data.num_tokens`; null: `data.num_tokens` sets the length"
    )
    block_size: Count = Field(description="tokens per block; also the context length in evaluation")
    batch_size: Count = Field(description="blocks per batch and device")
    num_eval_tokens: EvalTokens
    splits: Splits
    pools: Annotated[dict[str, Number], Expected("weights, as {base: 5, locate: 2, run: 3}")] = Field(
        description="relative weights by which the training documents are divided: base model, locating, the run itself"
    )
    repetition: Annotated[Repetition | None, Expected("null, or a group with max_period and max_repeats")]
    on_the_fly: Flag = Field(
        description="true: read and tokenize while training, without a packed copy on disk, for text larger than the"
        " disk; plain text only"
    )
    shuffle_buffer: Annotated[int, Field(strict=True, ge=0), Expected("a number of documents, 0 or more")] = Field(
        description="documents of a part that are shuffled at a time, on the fly and in a streamed hub dataset; 0: no"
        " shuffling"
    )
    num_workers: CountOrZero = Field(description="worker processes that load batches; 0: the main process loads them")
    num_proc: Count = Field(
        description="processes that tokenize text for packing (not conversations, not on the fly); 1: the main process,"
        " in threads"
    )
    source: Made = Field(description="the source of text")
    root: TextOrNull = Field(None, description="files, sft_files: the folder of the text")
    sample_by: TextOrNull = Field(
        None, description="files: unit of a document in .txt: line, paragraph (blank lines between) or document"
    )
    column: TextOrNull = Field(None, description="files, hub: column of the text")
    text: TextOrNull = Field(
        None,
        description="conversations: folder of general text in the format of data=files, for the base model, evaluation"
        " and `general` in the mix; null: the phrasebook",
    )
    path: TextOrNull = Field(None, description="hub: id on the hub, or a folder with the same layout")
    configs: Annotated[dict[str, StrictStr | None] | None, Expected("null, or a config by language, as {zh: zh}")] = (
        Field(None, description="hub: config of the dataset by language; null: the default config of the dataset")
    )
    split: TextOrNull = Field(None, description="hub: split of the dataset; it is divided again by `data.splits`")
    revision: TextOrNull = Field(None, description="hub: branch, tag or commit; null: the main branch")
    streaming: Flag | None = Field(
        None, description="hub: true: read over the network as needed; false: download the whole split first"
    )
    codes: Annotated[dict[str, StrictStr] | None, Expected("null, or a value by language, as {zh: zho}")] = Field(
        None, description="aya: value of the dataset's column of languages by language code"
    )
    inputs: TextOrNull = Field(None, description="conversations: column of the question")
    targets: TextOrNull = Field(None, description="conversations: column of the answer")
    language_column: TextOrNull = Field(None, description="aya: column of the language")


class Noise(Group):
    """Noise that is put into some documents of the training text."""

    kind: Literal["none", "repeat", "nonword", "instruction"] = Field(
        description="none; repeat: a burst of one repeated word; nonword: a burst of non-words; instruction: a"
        " corrupted instruction"
    )
    inject: MadeOrNull = Field(description="the noise; null: none")
    rate: Number | None = Field(None, description="fraction of the documents that are changed, 0..1")
    length: Whole | None = Field(
        None, description="number of words in the burst (characters in Chinese and Japanese), 1 or more"
    )
    position: TextOrNull = Field(
        None, description="place in the document: start, middle, end or random, between two words"
    )
    forms: Annotated[list[StrictStr] | None, Expected("null, or a list of mangled and foreign")] = Field(
        None,
        description="instruction: mangled (words or letters shuffled, a piece cut out) and foreign (an instruction in"
        " another language), equally often",
    )
    seed: Whole | None = Field(None, description="another seed changes other documents")
    window: Annotated[
        list[Number], AfterValidator(_ascending), Expected("two ascending shares of the run, as [0.25, 0.5]")
    ] = Field(
        [0.0, 1.0], description="interval of the run in which documents may be changed, as fractions of its tokens"
    )
