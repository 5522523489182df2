"""Text of a run: packed training rows of the parts of the mix, evaluation windows of all languages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DistributedSampler
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_langcore.data.answer_spans import Answers
from lightning_langcore.data.evaluation_batches import EvalLoader, answer_batches, eval_batches
from lightning_langcore.data.mixing import AvailableSources, make_parts
from lightning_langcore.data.noise import Noise
from lightning_langcore.data.packing.dataset import PackedRows, ResumableLoader
from lightning_langcore.data.packing.documents import Repetition
from lightning_langcore.data.sources.base import ConversationSource, Source, Splitter, is_endless
from lightning_langcore.data.streaming.blocks import StreamedLoader
from lightning_langcore.data.training_text import WHOLE, TrainingText
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import track

EVAL_SPLITS = ("validation", "test")


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


def check_length(
    mix: Mapping[str, float] | None, mix_unit: int | None, epochs: int | None, window: Sequence[float]
) -> None:
    """Check that the settings that define the length of a run don't contradict each other.

    Raises:
        LangcoreError: two of the settings exclude each other.
    """
    if mix_unit is not None and mix is None:
        raise LangcoreError(f"data.mix_unit={mix_unit} scales data.mix, but there is none: set data.mix")
    if epochs is not None and mix is not None:
        raise LangcoreError(
            f"data.epochs={epochs} counts passes over one text: with data.mix set the length by data.num_tokens or"
            " data.mix_unit, and data.max_epochs"
        )
    if epochs is not None and tuple(window) != WHOLE:
        raise LangcoreError(f"noise.window={list(window)} needs data.num_tokens, not data.epochs={epochs}")


def check_on_the_fly(noise: Any, conversations: Any, epochs: int | None, num_documents: int | None) -> None:
    """Check that no setting is used that text read on the fly does not support.

    Raises:
        LangcoreError: one of the arguments is not ``None``.
    """
    settings = {
        "noise": noise,
        "data.conversations": conversations,
        "data.epochs": epochs,
        "data.num_documents": num_documents,
    }
    unsupported = [name for name, value in settings.items() if value is not None]
    if unsupported:
        raise LangcoreError(
            f"data.on_the_fly=true streams plain text and does not support {', '.join(unsupported)}: remove that"
            " setting, or set data.on_the_fly=false"
        )


class TextDataModule(pl.LightningDataModule):
    """Packed training rows in a seeded order, and evaluation windows per split and language.

    The length of a run is ``num_tokens`` in total; or, with ``mix_unit``, that many tokens per unit of weight in
    ``mix``; or ``epochs`` passes over the documents.

    Args:
        source: source of the text.
        splitter: assigns the documents to splits and pools.
        tokenizer: tokenizer of the model.
        folder: folder of the packed tokens, which later runs with the same settings reuse.
        languages: languages to train on, with equal shares; ``None``: all.
        eval_languages: languages to evaluate; ``None``: all.
        pool: pool of the training split: ``base``, ``locate`` or ``run``.
        num_tokens: number of training tokens over all parts; rounded down to whole rows.
        block_size: tokens per row; also the context length in evaluation.
        batch_size: rows per batch and device.
        max_epochs: maximum number of times the text may be repeated to reach ``num_tokens``.
        num_eval_tokens: split -> number of tokens to evaluate per language, in whole documents; ``None``: all.
        seed: seed of the order of the rows.
        num_workers: number of worker processes of the loader.
        num_proc: number of processes that tokenize.
        mix: see :func:`lightning_langcore.data.mixing.make_parts`.
        mix_unit: tokens per unit of weight in ``mix``; ``None``: ``num_tokens`` are divided by the weights.
        sources: further sources by name, for ``mix``.
        general: languages of ``general`` in ``mix``; ``None``: all languages that ``mix`` does not name.
        conversations: conversations for fine-tuning; without a ``mix`` the run trains on them alone. Batches then have
            ``position_ids``, which restart at 0 in each conversation.
        template: format of conversations, see :func:`lightning_langcore.data.chat_encoding.encode_conversation`; so
            are ``answers`` and ``add_end_token``.
        num_documents: maximum number of documents over all parts; ``None``: as many as needed.
        epochs: passes over the documents, instead of ``num_tokens``.
        repetition: limits beyond which a training document is left out.
        noise: noise that is put into some of the training documents.
        window: interval of the run in which ``noise`` may change documents, as fractions 0..1 of its tokens.
        on_the_fly: read and tokenize while training, without a packed copy on disk; plain text only, without noise.
        shuffle_buffer: number of documents of a part that are shuffled at a time, if read on the fly.

    Raises:
        LangcoreError: an unknown language or source, too little text for a row, or more tokens than ``max_epochs``
            allows.

    Example:
        >>> from itertools import islice
        >>> from pathlib import Path
        >>> from lightning_langcore import PhrasebookSource, Splitter, TextDataModule
        >>> from lightning_langcore.models.from_scratch import train_tokenizer
        >>> source, splitter = PhrasebookSource(), Splitter(test=0.1, validation=0.1, pools={"run": 1})
        >>> tokenizer = train_tokenizer(islice(splitter.texts(source, "en", "run"), 20), 300)
        >>> data = TextDataModule(source, splitter, tokenizer, Path("tokens"), languages=["en"], num_tokens=2_000)
        >>> data.prepare_data()
        >>> data.setup()
        >>> next(iter(data.train_dataloader()))["input_ids"].shape
        torch.Size([8, 128])
    """

    def __init__(
        self,
        source: Source,
        splitter: Splitter,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        languages: Sequence[str] | None = None,
        eval_languages: Sequence[str] | None = None,
        pool: str = "run",
        num_tokens: int = 100_000,
        block_size: int = 128,
        batch_size: int = 8,
        max_epochs: float = 1,
        num_eval_tokens: Mapping[str, int | None] | None = None,
        seed: int = 0,
        num_workers: int = 0,
        num_proc: int = 1,
        mix: Mapping[str, float] | None = None,
        mix_unit: int | None = None,
        sources: Mapping[str, Source] | None = None,
        general: Sequence[str] | None = None,
        conversations: ConversationSource | None = None,
        template: str = "plain",
        answers: Answers = "all",
        add_end_token: bool = False,
        num_documents: int | None = None,
        epochs: int | None = None,
        repetition: Repetition | None = None,
        noise: Noise | None = None,
        window: tuple[float, float] = WHOLE,
        on_the_fly: bool = False,
        shuffle_buffer: int = 10_000,
    ) -> None:
        super().__init__()
        check_length(mix, mix_unit, epochs, window)
        if on_the_fly:
            check_on_the_fly(noise, conversations, epochs, num_documents)
        self.source = source
        self.conversations = conversations
        self.tokenizer = tokenizer
        self.splitter = splitter
        self.languages = check_languages("data.languages", languages, conversations or source)
        self.eval_languages = check_languages("data.eval_languages", eval_languages, source)
        self.block_size = block_size
        self.batch_size = batch_size
        self.num_eval_tokens = dict(num_eval_tokens or {})
        self.num_workers = num_workers
        if mix is not None and mix_unit is not None:
            num_tokens = round(mix_unit * sum(mix.values()))
        parts = make_parts(mix, AvailableSources(source, languages, conversations, general, sources))
        self.text = TrainingText(
            parts, splitter, tokenizer, folder, pool, num_tokens, num_documents, epochs, block_size, max_epochs, seed,
            num_proc, repetition, noise, window, template, answers, add_end_token,
        )  # fmt: skip
        self.on_the_fly = on_the_fly
        self.shuffle_buffer = shuffle_buffer
        self._rows: PackedRows | None = None
        self._stream: StreamedLoader | None = None
        self._eval: dict[str, dict[str, list[dict[str, Any]]]] | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows of the whole training; the text is packed first if necessary."""
        if self.on_the_fly:
            return self.text.num_tokens // self.block_size
        self.setup()
        assert self._rows is not None
        return len(self._rows)

    @override
    def prepare_data(self) -> None:
        if self.on_the_fly or (self.trainer is not None and self.trainer.state.fn == "validate"):
            return
        for number in track(range(len(self.text.parts)), "packing text", unit="parts"):
            self.text.pack(number)

    @override
    def setup(self, stage: str | None = None) -> None:
        if self._rows is None and not self.on_the_fly and stage != "validate":
            self._rows = self.text.rows(positions=self.conversations is not None)
            if len(self._rows) < self.batch_size:
                raise LangcoreError(
                    f"data.num_tokens={self.text.num_tokens} makes {len(self._rows)} rows of {self.block_size} tokens,"
                    f" less than one batch of data.batch_size={self.batch_size}: raise data.num_tokens or lower"
                    " data.batch_size"
                )

    @override
    def train_dataloader(self) -> ResumableLoader | StreamedLoader:
        rank, world_size = self._ranks()
        if self.on_the_fly:
            stream = self.text.stream(self.batch_size, rank, world_size, self.shuffle_buffer)
            self._stream = StreamedLoader(stream, self.num_workers)
            return self._stream
        assert self._rows is not None
        sampler: DistributedSampler[dict[str, Any]] | None = None
        if world_size > 1:  # Lightning's own sampler would shuffle the rows again
            ranks = {"num_replicas": world_size, "rank": rank}
            sampler = DistributedSampler(self._rows, **ranks, shuffle=False, drop_last=True)
        return ResumableLoader(
            self._rows, self.batch_size, sampler=sampler, drop_last=True, num_workers=self.num_workers
        )

    @override
    def val_dataloader(self) -> EvalLoader | list[EvalLoader]:
        """The validation split of all evaluated languages, or with ``conversations`` the held-out answers.

        A fit on a source without end is not validated where ``num_eval_tokens`` sets no number.
        """
        endless = is_endless(self.source) and any(self._num_tokens(split) is None for split in EVAL_SPLITS)
        if endless and self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            return []
        split = "validation" if self.conversations is None else "validation_answers"
        batches = [batch for own in self.eval_loaders()[split].values() for batch in own]
        return EvalLoader(batches, *self._ranks())

    def _ranks(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    @property
    def left_out(self) -> dict[str, int]:
        """``num_filtered``: training documents left out for repetitions; ``num_cut``: shortened conversations."""
        if self._stream is not None:
            return {"num_filtered": sum(part["filtered"] for part in self._stream.used()), "num_cut": 0}
        packed = [] if self._rows is None else self._rows.packed
        names = ("num_filtered", "num_cut")
        return {name: sum(getattr(rows, name) for rows in packed) for name in names}

    @property
    def stop_tokens(self) -> list[int]:
        """Ids of the tokens that end an answer in the conversations of the run; empty without conversations."""
        return [] if self._rows is None else self.text.stop_tokens(self._rows)

    def used(self, num_batches: int, world_size: int = 1) -> list[dict[str, Any]]:
        """How much of each part is read.

        Args:
            num_batches: number of batches per rank. On the fly the result counts what was read so far instead.
            world_size: number of ranks.

        Returns:
            Dicts of ``source``, ``language``, ``kind``, ``tokens``, ``epochs`` and ``documents``.
        """
        if self._stream is not None:
            return self._stream.used()
        assert self._rows is not None
        order = self._rows.order[: num_batches * self.batch_size * world_size]
        return self.text.used(self._rows, order)

    def eval_loaders(self) -> Mapping[str, Mapping[str, list[dict[str, Any]]]]:
        """Evaluation batches for :class:`MultilingualPerplexity`: made once and kept in memory.

        Returns:
            Split -> language -> batches. With ``conversations``, the additional splits ``validation_answers`` and
            ``test_answers`` hold the answers of held-out conversations.

        Raises:
            LangcoreError: a language has no text in a split, or all text of an endless source is requested.
        """
        if self._eval is None:
            self._eval = {}
            for split in EVAL_SPLITS:
                languages = track(self.eval_languages, f"cutting {split} text", unit="languages")
                self._eval[split] = {language: self._eval_text(split, language) for language in languages}
                if self.conversations is not None:
                    self._eval[f"{split}_answers"] = {lang: self._eval_answers(split, lang) for lang in self.languages}
        return self._eval

    def _eval_text(self, split: str, language: str) -> list[dict[str, Any]]:
        self._check_finite(split, self.source)
        texts = self.splitter.texts(self.source, language, split)
        batches = eval_batches(texts, self.tokenizer, self.block_size, self._num_tokens(split))
        return self._not_empty(batches, split, language)

    def _eval_answers(self, split: str, language: str) -> list[dict[str, Any]]:
        assert self.conversations is not None
        self._check_finite(split, self.conversations)
        held_out = self.splitter.choose(self.conversations.conversations(language), split)
        return self._not_empty(answer_batches(held_out, self.text.encode, self._num_tokens(split)), split, language)

    def _num_tokens(self, split: str) -> int | None:
        return self.num_eval_tokens.get(split)

    def _check_finite(self, split: str, source: Source | ConversationSource) -> None:
        if self._num_tokens(split) is None and is_endless(source):
            raise LangcoreError(
                f"data.num_eval_tokens.{split}=null evaluates all the text, but this source has no end: set a number"
            )

    @staticmethod
    def _not_empty(batches: list[dict[str, Any]], split: str, language: str) -> list[dict[str, Any]]:
        if not batches:
            raise LangcoreError(
                f"data: no {split} documents of {language!r}: provide more text, or raise the share in data.splits"
            )
        return batches
