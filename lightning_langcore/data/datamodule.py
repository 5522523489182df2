"""Text for a run: training blocks of some languages, test windows of all."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_langcore.data.packing import PackedBlocks, PackedTokens, pack
from lightning_langcore.data.source import Source, Splitter
from lightning_langcore.data.windows import eval_batches
from lightning_langcore.progress import track

EVAL_SPLITS = ("validation", "test")


def check_languages(setting: str, wanted: Sequence[str] | None, source: Source) -> list[str]:
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


class TextDataModule(pl.LightningDataModule):
    """Packed training blocks in a seeded order, and evaluation windows per split and language.

    Args:
        source: where the text comes from.
        splitter: divides its documents.
        tokenizer: of the model.
        folder: where packed tokens are kept; they are found again by source, pool, tokenizer and number.
        languages: to train on, in equal numbers of blocks; ``None``: all.
        eval_languages: to score; ``None``: all.
        pool: which part of the training split: ``base``, ``locate`` or ``run``.
        num_tokens: to train on, all languages together; rounded down to whole blocks.
        block_size: tokens a block; also the context when scoring.
        batch_size: blocks a batch and device.
        max_epochs: how often the text may be repeated to reach ``num_tokens``.
        num_eval_tokens: split -> tokens a language that are scored, in whole documents; ``None`` scores all.
        seed: of the order of the blocks.
        num_workers: of the loader.

    Raises:
        ValueError: an unknown language, too little text for a block, or more tokens than ``max_epochs`` allows.
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
    ) -> None:
        super().__init__()
        self.source = source
        self.splitter = splitter
        self.tokenizer = tokenizer
        self.folder = folder
        self.languages = check_languages("data.languages", languages, source)
        self.eval_languages = check_languages("data.eval_languages", eval_languages, source)
        self.pool = pool
        self.num_tokens = num_tokens
        self.block_size = block_size
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.num_eval_tokens = dict(num_eval_tokens or {})
        self.seed = seed
        self.num_workers = num_workers
        self._blocks: PackedBlocks | None = None
        self._eval: dict[str, dict[str, list[dict[str, Any]]]] | None = None

    @property
    def num_blocks(self) -> int:
        """Blocks of the whole training."""
        return self.num_tokens // self.block_size

    @override
    def prepare_data(self) -> None:
        for language in track(self.languages, "packing text", unit="languages"):
            self._pack(language)

    @override
    def setup(self, stage: str | None = None) -> None:
        if self._blocks is None:
            packed = [self._pack(language) for language in self.languages]
            self._blocks = PackedBlocks(packed, self._order(packed), self.block_size)
            if len(self._blocks) < self.batch_size:
                raise ValueError(
                    f"data.num_tokens={self.num_tokens} makes {len(self._blocks)} blocks of {self.block_size}, less"
                    f" than one batch of data.batch_size={self.batch_size}: raise the first or lower the last"
                )

    @override
    def train_dataloader(self) -> "ResumableLoader":
        assert self._blocks is not None
        sampler: DistributedSampler[dict[str, Tensor]] | None = None
        if self.trainer is not None and self.trainer.world_size > 1:  # Lightning's own would shuffle the order anew
            ranks = {"num_replicas": self.trainer.world_size, "rank": self.trainer.global_rank}
            sampler = DistributedSampler(self._blocks, **ranks, shuffle=False, drop_last=True)
        return ResumableLoader(
            self._blocks, self.batch_size, sampler=sampler, drop_last=True, num_workers=self.num_workers
        )

    def eval_loaders(self) -> Mapping[str, Mapping[str, list[dict[str, Any]]]]:
        """Split -> language -> batches, as :class:`MultilingualPerplexity` takes them; made once, kept in memory.

        Raises:
            ValueError: a language has no text in a split, or no end and all of it is wanted.
        """
        if self._eval is None:
            self._eval = {split: {} for split in EVAL_SPLITS}
            pairs = [(split, language) for split in EVAL_SPLITS for language in self.eval_languages]
            for split, language in track(pairs, "cutting test text", unit="texts"):
                if self.num_eval_tokens.get(split) is None and getattr(self.source, "endless", False):
                    raise ValueError(
                        f"data.num_eval_tokens.{split}=null scores all the text, but this source has no end: give a"
                        " number"
                    )
                texts = self.splitter.texts(self.source, language, split)
                batches = eval_batches(texts, self.tokenizer, self.block_size, self.num_eval_tokens.get(split))
                if not batches:
                    raise ValueError(f"data: no {split} documents of {language!r}: too little text, or data.splits")
                self._eval[split][language] = batches
        return self._eval

    def _pack(self, language: str) -> PackedTokens:
        wanted = math.ceil(self.num_blocks / len(self.languages)) * self.block_size
        key = [self.source.digest(), language, vars(self.splitter), self.pool, _digest(self.tokenizer), wanted]
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
        texts = self.splitter.texts(self.source, language, self.pool)
        return pack(texts, self.tokenizer, self.folder / f"{language}-{name}", wanted)

    def _order(self, packed: Sequence[PackedTokens]) -> np.ndarray:
        """Pairs of language and block: equally many of each, shuffled; beyond an epoch each language begins anew."""
        rows = []
        for number, (language, tokens) in enumerate(zip(self.languages, packed, strict=True)):
            available = tokens.num_blocks(self.block_size)
            wanted = self.num_blocks // len(self.languages) + (number < self.num_blocks % len(self.languages))
            self._check_amount(language, available, wanted)
            rng = np.random.default_rng([self.seed, number])
            epochs = [rng.permutation(available) for _ in range(math.ceil(wanted / available))]
            blocks = np.concatenate(epochs)[:wanted]
            rows.append(np.stack([np.full(wanted, number), blocks], axis=1))
        order = np.concatenate(rows)
        turns = np.random.default_rng([self.seed, len(rows)]).permutation(order[:, 0])
        for number, row in enumerate(rows):
            order[turns == number] = row  # the turns are shuffled, a language's own order stays
        return order

    def _check_amount(self, language: str, available: int, wanted: int) -> None:
        what = f"{language!r} (pool {self.pool})"
        if available == 0:
            raise ValueError(
                f"data: the documents of {what} do not fill one block of data.block_size={self.block_size} tokens:"
                " bring more text or lower data.block_size"
            )
        if wanted == 0:
            raise ValueError(f"data.num_tokens={self.num_tokens} is less than a block of {self.block_size} a language")
        if wanted > math.ceil(available * self.max_epochs):
            raise ValueError(
                f"data.num_tokens={self.num_tokens} is {wanted / available:.2f} epochs of {what}, which has"
                f" {available * self.block_size} tokens: lower data.num_tokens, bring more text, or allow it with"
                f" data.max_epochs={math.ceil(wanted / available)}"
            )


class ResumableLoader(DataLoader[dict[str, Tensor]]):
    """A loader that remembers how many batches it has handed out; Lightning keeps that in its checkpoints.

    Without it a run resumed inside an epoch sees the batches again from the start. Lightning forgets the position if
    ``configure_optimizers`` asks for ``trainer.estimated_stepping_batches`` of a trainer that must count batches to
    know: give ``max_steps`` and leave ``max_epochs`` at -1.
    """

    _start = 0
    _handed_out = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        start, self._start = self._start % max(1, len(self)), 0  # a checkpoint at an epoch's end begins the next
        for number, batch in enumerate(super().__iter__()):
            if number < start:
                continue
            self._handed_out = number + 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Batches handed out."""
        return {"num_batches": self._handed_out}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Begin after as many batches."""
        self._start = state["num_batches"]
        self._handed_out = self._start


def _digest(tokenizer: PreTrainedTokenizerBase) -> str:
    about = [sorted(tokenizer.get_vocab().items()), tokenizer.bos_token_id, tokenizer.eos_token_id]
    return hashlib.sha256(json.dumps(about, ensure_ascii=False).encode()).hexdigest()
