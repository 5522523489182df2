"""Text of a run: packed training rows of the parts of the mix, evaluation windows of all languages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DistributedSampler
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_langcore.data.evaluation_batches import EvalLoader, answer_batches, eval_batches
from lightning_langcore.data.mixing import make_parts
from lightning_langcore.data.options import (
    Evaluation,
    Injection,
    Length,
    Loading,
    Mixture,
    check_languages,
    check_length,
    check_on_the_fly,
)
from lightning_langcore.data.packing.dataset import PackedRows, ResumableLoader
from lightning_langcore.data.sources.base import ConversationSource, Source, Splitter, is_endless
from lightning_langcore.data.streaming.blocks import StreamedLoader
from lightning_langcore.data.training_text import TrainingText
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.keywords import accepts_fields
from lightning_langcore.utils.progress import track

EVAL_SPLITS = ("validation", "test")


class TextDataModule(pl.LightningDataModule):
    """Packed training rows in a seeded order, and evaluation windows per split and language.

    The fields of the five options are keywords of their own, too: ``num_tokens=2_000`` stands for
    ``length=Length(num_tokens=2_000)``.

    Args:
        source: source of the text.
        splitter: assigns the documents to splits and pools.
        tokenizer: tokenizer of the model.
        folder: folder of the packed tokens, which later runs with the same settings reuse.
        mixture: what is trained on: languages, mix, further sources, conversations, pool, filter.
        length: how much is trained on: tokens, documents or epochs.
        injection: noise that is put into some of the training documents.
        loading: size of rows and batches, order, processes, on the fly or packed.
        evaluation: languages and tokens to evaluate.

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

    @accepts_fields(mixture=Mixture, length=Length, injection=Injection, loading=Loading, evaluation=Evaluation)
    def __init__(
        self,
        source: Source,
        splitter: Splitter,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        *,
        mixture: Mixture | None = None,
        length: Length | None = None,
        injection: Injection | None = None,
        loading: Loading | None = None,
        evaluation: Evaluation | None = None,
    ) -> None:
        super().__init__()
        self.mixture = mixture or Mixture()
        self.loading = loading or Loading()
        self.evaluation = evaluation or Evaluation()
        length, injection = length or Length(), injection or Injection()
        check_length(self.mixture, length, injection)
        if self.loading.on_the_fly:
            check_on_the_fly(self.mixture, length, injection)
        self.source = source
        self.conversations = self.mixture.conversations
        self.tokenizer = tokenizer
        self.splitter = splitter
        self.languages = check_languages("data.languages", self.mixture.languages, self.conversations or source)
        self.eval_languages = check_languages("data.eval_languages", self.evaluation.eval_languages, source)
        parts = make_parts(source, self.mixture)
        self.text = TrainingText(parts, splitter, tokenizer, folder, self.mixture, length, injection, self.loading)
        self._rows: PackedRows | None = None
        self._stream: StreamedLoader | None = None
        self._eval: dict[str, dict[str, list[dict[str, Any]]]] | None = None

    @property
    def block_size(self) -> int:
        """Tokens per row."""
        return self.loading.block_size

    @property
    def batch_size(self) -> int:
        """Rows per batch and device."""
        return self.loading.batch_size

    @property
    def num_rows(self) -> int:
        """Number of rows of the whole training; the text is packed first if necessary."""
        if self.loading.on_the_fly:
            return self.text.num_tokens // self.block_size
        self.setup()
        assert self._rows is not None
        return len(self._rows)

    @override
    def prepare_data(self) -> None:
        if self.loading.on_the_fly or (self.trainer is not None and self.trainer.state.fn == "validate"):
            return
        for number in track(range(len(self.text.parts)), "packing text", unit="parts"):
            self.text.pack(number)

    @override
    def setup(self, stage: str | None = None) -> None:
        if self._rows is None and not self.loading.on_the_fly and stage != "validate":
            self._rows = self.text.rows(positions=self.conversations is not None)
            length = self.text.length
            if len(self._rows) < self.batch_size:
                raise LangcoreError(
                    f"{length.setting}={self.text.num_tokens} makes {len(self._rows)} rows of {self.block_size} tokens,"
                    f" less than one batch of {length.group}.batch_size={self.batch_size}: raise {length.setting} or"
                    f" lower {length.group}.batch_size"
                )

    @override
    def train_dataloader(self) -> ResumableLoader | StreamedLoader:
        rank, world_size = self._ranks()
        if self.loading.on_the_fly:
            stream = self.text.stream(self.batch_size, rank, world_size, self.loading.shuffle_buffer)
            self._stream = StreamedLoader(stream, self.loading.num_workers)
            return self._stream
        assert self._rows is not None
        sampler: DistributedSampler[dict[str, Any]] | None = None
        if world_size > 1:  # Lightning's own sampler would shuffle the rows again
            ranks = {"num_replicas": world_size, "rank": rank}
            sampler = DistributedSampler(self._rows, **ranks, shuffle=False, drop_last=True)
        return ResumableLoader(
            self._rows, self.batch_size, sampler=sampler, drop_last=True, num_workers=self.loading.num_workers
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
        return self.evaluation.num_eval_tokens.get(split)

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
