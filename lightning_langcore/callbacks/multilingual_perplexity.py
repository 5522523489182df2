"""Perplexity of several languages at chosen numbers of training documents."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.data import extract_batch_size
from lightning.pytorch.utilities.seed import isolate_rng
from typing_extensions import override

from lightning_langcore.callbacks.core_guard import CoreGuard
from lightning_langcore.callbacks.order import Phase, refuse_late_averages
from lightning_langcore.metrics.perplexity import TextLoss
from lightning_langcore.metrics.text_scorer import Batch, TextScorer, rank_share
from lightning_langcore.models.parameters import evaluation_mode
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import track

LOGGED = {"validation": "val", "validation_answers": "val_answers"}
"""Split -> prefix of its metrics in the loggers."""

Row = dict[str, Any]


@runtime_checkable
class SupportsEvalLoaders(Protocol):
    """A datamodule with text for evaluation."""

    def eval_loaders(self) -> Mapping[str, Mapping[str, Iterable[Batch]]]:
        """Split -> language -> batches."""


class MultilingualPerplexity(Callback):
    """Evaluate one loader per language; log ``val/ppl/zh``, ``val/bits_per_byte/zh``, ``val/ppl/mean``.

    Evaluates at each milestone and at the end. A milestone is a number of samples: documents whose last token was
    consumed by a completed optimizer step, over all ranks. The evaluation follows the first step that reaches the
    milestone; the row holds the exact count. Modules stay in their mode and random states are unchanged, so training is
    bit-identical.

    A batch is a mapping with ``input_ids`` and ``shift_labels`` (the token after each position, -100 where there is no
    label), both (B, T) int64 and padded on the right; or transformers' unshifted ``labels`` instead. ``num_bytes``
    (int) is needed for bits per byte. ``num_documents`` of a training batch is the number of documents that end in it;
    without this key each row counts as one document. The module is called with ``input_ids`` alone and returns logits
    (B, T, V), as a tensor or as ``.logits``.

    With Lightning's ``WeightAveraging`` (``EMAWeightAveraging``), which must come before this callback in the list, the
    row at the end is of the averaged weights, which the module then holds; earlier rows are of the weights that train.

    With several ranks each rank evaluates its share of the batches and the sums are added: the figures do not depend on
    the number of ranks, the batch size or the padding.

    Args:
        loaders: language -> loader; by default the loaders of the datamodule, whose ``eval_loaders()`` returns split ->
            language -> loader. The loggers get only ``validation`` as ``val/...`` and ``validation_answers`` as
            ``val_answers/...``; ``rows`` holds all splits.
        milestones: numbers of samples; 0 is an evaluation before the first step.

    Attributes:
        rows: one dict per (stage, samples, language, split) with the figures of :class:`TextLoss`.

    Raises:
        LangcoreError: a negative milestone; at the start of training: no loaders, or a callback that averages weights
            later in the list.

    Example:
        >>> from functools import partial
        >>> import lightning.pytorch as pl
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> from lightning_langcore import ContinuedPretraining, MultilingualPerplexity
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> ids = torch.arange(8)[None]
        >>> loaders = {"zh": [{"input_ids": ids, "labels": ids, "num_bytes": 21}]}
        >>> perplexity = MultilingualPerplexity(loaders, milestones=[0])
        >>> rows = [{"input_ids": torch.arange(8), "shift_labels": torch.arange(1, 9)}] * 2
        >>> quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        >>> module = ContinuedPretraining(model, partial(torch.optim.AdamW, lr=1e-2))
        >>> trainer = pl.Trainer(max_steps=2, enable_checkpointing=False, callbacks=[perplexity], **quiet)
        >>> trainer.fit(module, DataLoader(rows))
        >>> [(row["stage"], row["samples"], row["lang"], row["num_tokens"]) for row in perplexity.rows]
        [('base', 0, 'zh', 7), ('final', 2, 'zh', 7)]
    """

    phase = Phase.EVALUATE

    def __init__(self, loaders: Mapping[str, Iterable[Batch]] | None = None, milestones: Sequence[int] = ()) -> None:
        if any(m < 0 for m in milestones):
            raise LangcoreError(f"MultilingualPerplexity: milestones={list(milestones)} must not be negative")
        self.loaders = loaders
        self.milestones = sorted(set(milestones))
        self.rows: list[Row] = []
        self.samples = 0
        self._pending = 0
        self._last_step = -1

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        why = "would replace the weights after they were evaluated"
        refuse_late_averages(trainer, MultilingualPerplexity, why)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_step = trainer.global_step
        if 0 in self.milestones and trainer.global_step == 0:
            self.measure(trainer, pl_module, "base")

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._pending += _num_documents(batch)
        if trainer.global_step == self._last_step:  # inside an accumulation
            return
        self._last_step = trainer.global_step
        before = self.samples
        self.samples += _sum_over_ranks(trainer, pl_module, self._pending)
        self._pending = 0
        pl_module.log("samples", float(self.samples), logger=True)
        reached = any(before < m <= self.samples for m in self.milestones)
        if reached and trainer.global_step < trainer.estimated_stepping_batches:
            figures = self.measure(trainer, pl_module, "training")
            pl_module.log_dict(figures, logger=False)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, CoreGuard):  # an average may have moved them by rounding
                callback.restore()
        self.measure(trainer, pl_module, "final")

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"samples": self.samples, "rows": [dict(row) for row in self.rows]}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.samples = state_dict["samples"]
        self.rows = [dict(row) for row in state_dict["rows"]]

    def measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> dict[str, float]:
        """Evaluate every loader now, add rows, log the validation split.

        Args:
            trainer: the source of device, precision and ranks.
            pl_module: the model to evaluate.
            stage: the stage in the rows: ``base``, ``perturbed``, ``training`` or ``final``.

        Returns:
            The logged metrics.
        """
        figures: dict[str, float] = {}
        with isolate_rng(), torch.no_grad(), evaluation_mode(pl_module), trainer.precision_plugin.forward_context():
            evaluate = TextScorer(pl_module, pl_module)
            for split, loaders in self._splits(trainer).items():
                for lang, loader in track(loaders.items(), f"evaluating {split} text, {stage}", unit="languages"):
                    result = _text_loss(trainer, evaluate, loader)
                    self.rows.append({"stage": stage, "samples": self.samples, "lang": lang, "split": split, **result})
                    if split in LOGGED:
                        figures[f"{LOGGED[split]}/ppl/{lang}"] = result["ppl"]
                        figures[f"{LOGGED[split]}/bits_per_byte/{lang}"] = result["bits_per_byte"]
        for name in LOGGED.values():
            ppl = [value for key, value in figures.items() if key.startswith(f"{name}/ppl/")]
            figures.update({f"{name}/ppl/mean": sum(ppl) / len(ppl)} if ppl else {})
        if figures:
            for logger in trainer.loggers:
                logger.log_metrics({**figures, "samples": float(self.samples)}, step=trainer.global_step)
        return figures

    def _splits(self, trainer: pl.Trainer) -> Mapping[str, Mapping[str, Iterable[Batch]]]:
        if self.loaders is not None:
            return {"validation": self.loaders}
        datamodule = getattr(trainer, "datamodule", None)
        if not isinstance(datamodule, SupportsEvalLoaders):
            raise LangcoreError(
                "MultilingualPerplexity has no text to evaluate: pass loaders={'zh': loader, ...}, or a datamodule with"
                " eval_loaders()"
            )
        return datamodule.eval_loaders()


def _text_loss(trainer: pl.Trainer, evaluate: TextScorer, loader: Iterable[Batch]) -> dict[str, Any]:
    metric = TextLoss().to(trainer.strategy.root_device)
    for batch in rank_share(loader, trainer.global_rank, trainer.world_size):
        evaluate(metric, trainer.strategy.batch_to_device(dict(batch)))
    if metric.update_count == 0:
        raise LangcoreError("MultilingualPerplexity: a loader is empty: there is no text to evaluate")
    return {name: value.item() for name, value in metric.compute().items()}


def _num_documents(batch: Any) -> int:
    if isinstance(batch, Mapping) and "num_documents" in batch:
        return int(batch["num_documents"].sum())
    return extract_batch_size(batch)


def _sum_over_ranks(trainer: pl.Trainer, pl_module: pl.LightningModule, count: int) -> int:
    if trainer.world_size == 1:
        return count
    return int(trainer.strategy.reduce(torch.tensor(count, device=pl_module.device), reduce_op="sum"))
