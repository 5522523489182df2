"""Text for a run: packed training rows of some parts, test windows of all languages."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch.utils.data import DistributedSampler
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_langcore.data.chat_encoding import encode_conversation
from lightning_langcore.data.evaluation_batches import answer_batches, eval_batches
from lightning_langcore.data.mixing import AvailableSources, make_parts
from lightning_langcore.data.noise import Noise
from lightning_langcore.data.packing.dataset import PackedRows, ResumableLoader
from lightning_langcore.data.packing.documents import Repetition
from lightning_langcore.data.sources.base import ConversationSource, Source, Splitter, is_endless
from lightning_langcore.data.streaming.blocks import StreamedLoader
from lightning_langcore.data.training_text import WHOLE, TrainingText
from lightning_langcore.utils.progress import track

EVAL_SPLITS = ("validation", "test")


def check_languages(setting: str, wanted: Sequence[str] | None, source: Source | ConversationSource) -> list[str]:
    """The wanted languages, or all that the source has.

    Raises:
        ValueError: an unknown or repeated one, or none at all; ``setting`` is named.
    """
    if wanted is None:
        return source.languages
    if isinstance(wanted, str):
        raise ValueError(f"{setting}={wanted} must be a list, as in {setting}=[{wanted}]")
    for language in wanted:
        if language not in source.languages:
            raise ValueError(f"{setting}: the language {language!r} is not in the data ({', '.join(source.languages)})")
    if not wanted or len(set(wanted)) != len(wanted):
        raise ValueError(f"{setting}={list(wanted)} must name each language once, and at least one")
    return list(wanted)


def check_length(
    mix: Mapping[str, float] | None, mix_unit: int | None, epochs: int | None, window: Sequence[float]
) -> None:
    """Refuse ways to say how long a run is that contradict one another.

    Raises:
        ValueError: they do.
    """
    if mix_unit is not None and mix is None:
        raise ValueError(f"data.mix_unit={mix_unit} says how long data.mix is, but there is none: give data.mix")
    if epochs is not None and mix is not None:
        raise ValueError(
            f"data.epochs={epochs} goes through one text: with data.mix say how long with data.num_tokens or"
            " data.mix_unit, and data.max_epochs"
        )
    if epochs is not None and tuple(window) != WHOLE:
        raise ValueError(f"noise.window={list(window)} needs data.num_tokens, not data.epochs={epochs}")


def check_on_the_fly(noise: Any, conversations: Any, epochs: int | None, num_documents: int | None) -> None:
    """Refuse what text that is read on the fly can't have.

    Raises:
        ValueError: one of these is not ``None``.
    """
    settings = {
        "noise": noise,
        "data.conversations": conversations,
        "data.epochs": epochs,
        "data.num_documents": num_documents,
    }
    beside = [name for name, value in settings.items() if value is not None]
    if beside:
        raise ValueError(
            f"data.on_the_fly=true reads plain text as it comes, and can't honour {', '.join(beside)}: leave that out,"
            " or set data.on_the_fly=false"
        )


class TextDataModule(pl.LightningDataModule):
    """Packed training rows in a seeded order, and evaluation windows per split and language.

    How long a run is: ``num_tokens`` in all; or, with ``mix_unit``, so many for a weight of 1 in ``mix``; or ``epochs``
    passes over what there is.

    Args:
        source: where the text comes from.
        splitter: divides its documents.
        tokenizer: of the model.
        folder: where packed tokens are kept; they are found again by source, pool, tokenizer and number.
        languages: to train on, in equal parts; ``None``: all.
        eval_languages: to score; ``None``: all.
        pool: which part of the training split: ``base``, ``locate`` or ``run``.
        num_tokens: to train on, all parts together; rounded down to whole rows.
        block_size: tokens a row; also the context when scoring.
        batch_size: rows a batch and device.
        max_epochs: how often the text may be repeated to reach ``num_tokens``.
        num_eval_tokens: split -> tokens a language that are scored, in whole documents; ``None`` scores all.
        seed: of the order of the rows.
        num_workers: of the loader.
        num_proc: processes that tokenize.
        mix: see :func:`lightning_langcore.data.mixing.make_parts`.
        mix_unit: tokens that a weight of 1 in ``mix`` stands for; ``None``: ``num_tokens`` are divided.
        sources: further sources by name, for ``mix``.
        general: languages that ``general`` in ``mix`` stands for; ``None``: those that it does not name.
        conversations: for fine-tuning; without a ``mix`` they are what is trained on. Batches then have
            ``position_ids``, which begin anew in each conversation.
        template: how conversations are written, see :func:`lightning_langcore.data.chat_encoding.encode_conversation`.
        num_documents: at most so many documents are used, all parts together; ``None``: as many as needed.
        epochs: passes over the documents, instead of ``num_tokens``.
        repetition: which documents are left out of the training text.
        noise: what is done to some of the training documents.
        window: the part of the run whose documents ``noise`` may hit, as shares of its tokens.
        on_the_fly: read and tokenize while training, without a packed copy on disk; text alone, and no noise.
        shuffle_buffer: documents of a part that are shuffled at a time, on the fly.

    Raises:
        ValueError: an unknown language or source, too little text for a row, or more tokens than ``max_epochs`` allows.
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
            num_proc, repetition, noise, window, template,
        )  # fmt: skip
        self.on_the_fly = on_the_fly
        self.shuffle_buffer = shuffle_buffer
        self._rows: PackedRows | None = None
        self._stream: StreamedLoader | None = None
        self._eval: dict[str, dict[str, list[dict[str, Any]]]] | None = None

    @property
    def num_rows(self) -> int:
        """Rows of the whole training; the text is packed for it if it is not yet."""
        if self.on_the_fly:
            return self.text.num_tokens // self.block_size
        self.setup()
        assert self._rows is not None
        return len(self._rows)

    @override
    def prepare_data(self) -> None:
        if self.on_the_fly:
            return
        for number in track(range(len(self.text.parts)), "packing text", unit="parts"):
            self.text.pack(number)

    @override
    def setup(self, stage: str | None = None) -> None:
        if self._rows is None and not self.on_the_fly:
            self._rows = self.text.rows(positions=self.conversations is not None)
            if len(self._rows) < self.batch_size:
                raise ValueError(
                    f"data.num_tokens={self.text.num_tokens} makes {len(self._rows)} rows of {self.block_size} tokens,"
                    f" less than one batch of data.batch_size={self.batch_size}: raise the first or lower the last"
                )

    @override
    def train_dataloader(self) -> ResumableLoader | StreamedLoader:
        rank, world_size = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        if self.on_the_fly:
            stream = self.text.stream(self.batch_size, rank, world_size, self.shuffle_buffer)
            self._stream = StreamedLoader(stream, self.num_workers)
            return self._stream
        assert self._rows is not None
        sampler: DistributedSampler[dict[str, Any]] | None = None
        if world_size > 1:  # Lightning's own would shuffle the order anew
            ranks = {"num_replicas": world_size, "rank": rank}
            sampler = DistributedSampler(self._rows, **ranks, shuffle=False, drop_last=True)
        return ResumableLoader(
            self._rows, self.batch_size, sampler=sampler, drop_last=True, num_workers=self.num_workers
        )

    @property
    def left_out(self) -> dict[str, int]:
        """``num_filtered``: training documents left out for their repetitions; ``num_cut``: conversations shortened."""
        if self._stream is not None:
            return {"num_filtered": sum(part["filtered"] for part in self._stream.used()), "num_cut": 0}
        packed = [] if self._rows is None else self._rows.packed
        names = ("num_filtered", "num_cut")
        return {name: sum(getattr(rows, name) for rows in packed) for name in names}

    def used(self, num_batches: int, world_size: int = 1) -> list[dict[str, Any]]:
        """What is read of each part in so many batches of every rank; on the fly, what was read until now.

        Returns:
            Dicts of ``source``, ``language``, ``kind``, ``tokens``, ``epochs`` and ``documents``.
        """
        if self._stream is not None:
            return self._stream.used()
        assert self._rows is not None
        order = self._rows.order[: num_batches * self.batch_size * world_size]
        return self.text.used(self._rows, order)

    def eval_loaders(self) -> Mapping[str, Mapping[str, list[dict[str, Any]]]]:
        """Split -> language -> batches, as :class:`MultilingualPerplexity` takes them; made once, kept in memory.

        Where there are conversations, the answers of held-out ones are the splits ``validation_answers`` and
        ``test_answers``.

        Raises:
            ValueError: a language has no text in a split, or no end and all of it is wanted.
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
        self._refuse_endless(split, self.source)
        texts = self.splitter.texts(self.source, language, split)
        return self._some(eval_batches(texts, self.tokenizer, self.block_size, self._amount(split)), split, language)

    def _eval_answers(self, split: str, language: str) -> list[dict[str, Any]]:
        assert self.conversations is not None
        self._refuse_endless(split, self.conversations)
        encode = partial(
            encode_conversation, tokenizer=self.tokenizer, template=self.text.template, max_length=self.block_size
        )
        talks = self.splitter.choose(self.conversations.conversations(language), split)
        return self._some(answer_batches(talks, encode, self._amount(split)), split, language)

    def _amount(self, split: str) -> int | None:
        return self.num_eval_tokens.get(split)

    def _refuse_endless(self, split: str, source: Source | ConversationSource) -> None:
        if self._amount(split) is None and is_endless(source):
            raise ValueError(
                f"data.num_eval_tokens.{split}=null scores all the text, but this source has no end: give a number"
            )

    @staticmethod
    def _some(batches: list[dict[str, Any]], split: str, language: str) -> list[dict[str, Any]]:
        if not batches:
            raise ValueError(f"data: no {split} documents of {language!r}: too little text, or data.splits")
        return batches
