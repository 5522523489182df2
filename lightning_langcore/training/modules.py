"""LightningModules for continued pretraining and supervised fine-tuning."""

import importlib.util
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer
from transformers import PreTrainedModel
from typing_extensions import override

from lightning_langcore.metrics.chunked_cross_entropy import LossHead, loss_head
from lightning_langcore.metrics.functional import labelled_mean, token_nats
from lightning_langcore.metrics.perplexity import TextLoss
from lightning_langcore.metrics.text_scorer import TextScorer
from lightning_langcore.models import fsdp2
from lightning_langcore.models.parameters import evaluation_mode
from lightning_langcore.training.schedules import is_endless, make_schedule
from lightning_langcore.utils.errors import LangcoreError

_LEAK = 0.01  # largest effect of a token on another conversation, relative to its effect without a boundary


class ContinuedPretraining(pl.LightningModule):
    """Next-token prediction over packed blocks, all weights trainable.

    A batch has ``input_ids`` and ``shift_labels`` (the token after each position, -100 where it does not count), both
    (B, T) int64. Logs ``train/loss``: mean nats per token of the optimizer step's last micro-batch. ``token_nats``,
    (B, T) float32, holds the nats of each label of this micro-batch, 0 without a label.

    Validation logs ``val/loss``: nats per token over all labels of all validation loaders and ranks, so that a token
    has the same weight in every batch. A validation batch may have transformers' unshifted ``labels`` instead. On
    rolling windows (:class:`~lightning_langcore.data.TextDataModule`) it is the logarithm of the perplexity of all the
    text.

    Checkpoints hold the weights and the settings, but neither the model's class nor the optimizer:
    ``ContinuedPretraining.load_from_checkpoint(path, model=model)`` restores the weights into any model of the same
    shape, for example ``AutoModelForCausalLM.from_config(config)``; add ``optimizer=...`` to train it further.

    Args:
        model: any causal language model of transformers.
        optimizer: a function from parameter groups to the optimizer; weight decay applies to matrices, not to norms and
            biases. ``None``: the module only evaluates.
        schedule: a name of ``transformers.get_scheduler`` in :data:`lightning_langcore.training.schedules.SCHEDULES`:
            ``constant_with_warmup``, ``cosine``, ``warmup_stable_decay``.
        num_warmup_steps: optimizer steps of linear warm-up.
        schedule_kwargs: further arguments of the schedule, as ``{"num_decay_steps": 20}``.
        chunked_loss: compute the loss 512 positions at a time and never hold all logits; equal except for rounding. It
            needs a float32 gradient of the head between forward and backward, so it saves memory if a micro-batch has
            more tokens than the hidden size. Refused if the model changes the output of its linear head (Gemma 2,
            Cohere, Granite).
        compile: run forward and backward of the training step through ``torch.compile``; equal except for rounding. The
            first step takes a minute or more, and every batch should have the shape of the first. Evaluation is not
            compiled.

    Raises:
        LangcoreError: at the start of training: no ``optimizer``; ``chunked_loss`` with a model that changes the output
            of its head; ``compile`` without a compiler. During training: a loss that is NaN or infinite.

    Example:
        >>> from functools import partial
        >>> import lightning.pytorch as pl
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> from lightning_langcore import ContinuedPretraining
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> rows = [{"input_ids": torch.arange(8), "shift_labels": torch.arange(1, 9)}] * 2
        >>> quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        >>> module = ContinuedPretraining(model, partial(torch.optim.AdamW, lr=1e-2))
        >>> trainer = pl.Trainer(max_steps=2, enable_checkpointing=False, **quiet)
        >>> trainer.fit(module, DataLoader(rows))
        >>> [result] = trainer.validate(module, DataLoader(rows), verbose=False)
        >>> sorted(result)
        ['val/loss']
        >>> trainer.save_checkpoint("last.ckpt")
        >>> restored = ContinuedPretraining.load_from_checkpoint("last.ckpt", model=model)
    """

    token_nats: Tensor
    _more_inputs: Sequence[str] = ()
    """Entries of a validation batch that the model gets besides ``input_ids``, where the batch has them."""

    def __init__(
        self,
        model: PreTrainedModel,
        optimizer: Callable[[Iterable[Mapping[str, Any]]], Optimizer] | None = None,
        schedule: str = "constant",
        num_warmup_steps: int = 0,
        schedule_kwargs: Mapping[str, Any] | None = None,
        chunked_loss: bool = False,
        compile: bool = False,  # noqa: A002 - the name of the setting
    ) -> None:
        super().__init__()
        self.save_hyperparameters(  # runs log the whole configuration themselves
            "schedule", "num_warmup_steps", "schedule_kwargs", "chunked_loss", "compile", logger=False
        )
        self.model = model
        self.validation_loss = TextLoss()
        self._scorer: TextScorer | None = None
        self._optimizer = optimizer
        self._schedule = schedule
        self._num_warmup_steps = num_warmup_steps
        self._schedule_kwargs = dict(schedule_kwargs or {})
        self._chunked_loss = chunked_loss
        self._compile = compile
        self._head: LossHead | None = None
        self._compiled: Callable[..., Tensor] | None = None

    @override
    def forward(self, input_ids: Tensor) -> Tensor:
        """Input ids (B, T) -> logits (B, T, V)."""
        return self._run(input_ids=input_ids)

    @override
    def configure_model(self) -> None:
        """Shard the model if Lightning has created a device mesh (ModelParallelStrategy)."""
        if self.device_mesh is not None and not isinstance(self.model, FSDPModule):
            fsdp2.shard_(self.model, self.device_mesh)

    @override
    def on_fit_start(self) -> None:
        self.model.train()

    @override
    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        loss = self._loss(self._inputs(batch), batch["shift_labels"])
        # On a GPU this synchronizes before the backward pass, about 0.1 ms per step. A later check would come after
        # weights and moments have become NaN.
        if not math.isfinite(loss.item()):
            raise LangcoreError(
                f"train/loss is {loss.item()} at step {self.trainer.global_step}: lower optimizer.lr or"
                " perturbation.strength, or check the data"
            )
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    @override
    def on_validation_epoch_start(self) -> None:
        self.validation_loss.reset()
        self._scorer = None

    @override
    def validation_step(self, batch: Mapping[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        if self._scorer is None:  # made here, where Lightning has set up precision and gradient mode
            self._scorer = TextScorer(
                self.model, lambda ids, **more: self._run(input_ids=ids, **more), self._more_inputs
            )
        self._scorer(self.validation_loss, batch)

    @override
    def on_validation_epoch_end(self) -> None:
        self._scorer = None
        loss = self.validation_loss.compute()["nats_per_token"]  # summed over ranks
        self.log("val/loss", loss, prog_bar=True, rank_zero_only=False)

    @override
    def on_train_start(self) -> None:
        if self._compile:
            _require_compiler(self.device)
        with evaluation_mode(self.model), torch.no_grad(), self.trainer.precision_plugin.forward_context():
            self._check_model()
        if self._compile:
            self._compiled = torch.compile(self._run, dynamic=False)

    @override
    def on_train_end(self) -> None:
        self._compiled = None

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        if self._optimizer is None:
            raise LangcoreError(
                f"{type(self).__name__} has no optimizer to train with: pass one, as in"
                " optimizer=partial(torch.optim.AdamW, lr=5e-5)"
            )
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = self._optimizer(
            [
                {"params": [p for p in trainable if p.ndim >= 2]},
                {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
            ]
        )
        num_steps = None if is_endless(self._schedule) else int(self.trainer.estimated_stepping_batches)
        own = self._schedule_kwargs
        scheduler = make_schedule(self._schedule, optimizer, self._num_warmup_steps, num_steps, own)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @override
    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip here, because Lightning refuses to clip for a fused optimizer under mixed precision.

        Under 16-mixed a fused optimizer unscales the gradients in its step, which would be after clipping.
        """
        if gradient_clip_val:
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
                scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            if gradient_clip_algorithm == "value":
                torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
            else:
                torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def _run(self, **inputs: Tensor) -> Tensor:
        return self.model(**inputs, use_cache=False).logits

    def _inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"input_ids": batch["input_ids"]}

    def _loss(self, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        run = self._compiled or self._run
        if self._head is None:
            nats = token_nats(run(**inputs), labels)
            self.token_nats = nats.detach()
            return labelled_mean(nats, labels)
        with self._head.installed(labels):
            total = run(**inputs)
        self.token_nats = self._head.nats
        return labelled_mean(total, labels)

    def _check_model(self) -> None:
        """Refuse settings that the model does not support, before the first step; evaluation mode, no gradients."""
        if not self._chunked_loss:
            return
        if self.trainer.precision in (
            "16-mixed",
            "16-true",
        ):  # the loss is scaled only after its gradients are computed
            raise LangcoreError(
                f"task.chunked_loss=true: with trainer.precision={self.trainer.precision} small gradients of the head"
                " would be rounded to 0: choose trainer.precision=bf16-mixed or task.chunked_loss=false"
            )
        self._head = loss_head(self.model, lambda ids: self._run(input_ids=ids))
        if self._head is None:
            raise LangcoreError(
                f"task.chunked_loss=true: the logits of {type(self.model).__name__} are not only the output of a linear"
                " head (they are scaled, capped or cut): choose task.chunked_loss=false"
            )


class SupervisedFineTuning(ContinuedPretraining):
    """Supervised fine-tuning on the answers of conversations, one or more per row; all weights trainable.

    A batch also has ``position_ids`` (B, T) int64, which start at 0 in each conversation and so mark its beginning.
    From them transformers derives a mask in which no token attends to another conversation (``sdpa``, ``eager``). Some
    models do not support this, nor does flash attention with more than one row. So a test with two conversations per
    row runs before the first step, and a model whose second conversation depends on the first is refused. The test
    costs two forward passes of 16 tokens.

    Labels are -100 except where the next token belongs to an answer: the loss is the mean nats over the answer tokens
    of the micro-batch, 0 if there are none. With gradient accumulation each micro-batch has the same weight,
    independent of its number of answer tokens. For all else see :class:`ContinuedPretraining`; a sharded model is
    tested as a whole, on every rank.

    Raises:
        LangcoreError: at the start of training: a model that mixes the conversations of a row. During training: a batch
            without ``position_ids``; a loss that is NaN or infinite.

    Example:
        >>> from functools import partial
        >>> import lightning.pytorch as pl
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> from lightning_langcore import SupervisedFineTuning
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> positions = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])  # two conversations of four tokens
        >>> labels = torch.tensor([-100, -100, 7, -100, -100, 8, 9, -100])  # their answers
        >>> row = {"input_ids": torch.arange(8), "position_ids": positions, "shift_labels": labels}
        >>> rows = [row] * 2
        >>> quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        >>> module = SupervisedFineTuning(model, partial(torch.optim.AdamW, lr=1e-2))
        >>> trainer = pl.Trainer(max_steps=2, enable_checkpointing=False, **quiet)
        >>> trainer.fit(module, DataLoader(rows))
    """

    _more_inputs = ("position_ids",)

    @override
    def forward(self, input_ids: Tensor, position_ids: Tensor | None = None) -> Tensor:
        """Input ids (B, T) -> logits (B, T, V); without positions each row is one text."""
        if position_ids is None:
            return super().forward(input_ids)
        return self._run(input_ids=input_ids, position_ids=position_ids)

    @override
    def _inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if "position_ids" not in batch:
            raise LangcoreError(
                "task=sft: the batches have no position_ids: choose data=phrasebook_sft, sft_files or aya"
            )
        return {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"]}

    @override
    def _check_model(self) -> None:
        super()._check_model()
        self._refuse_mixing(self._run, f"model.attention={self.model.config._attn_implementation}")
        if self._compile:  # the control flow of the traced code may differ
            self._refuse_mixing(torch.compile(self._run, backend="eager", dynamic=False), "task.compile=true")
            torch.compiler.reset()  # the graph of this test would count towards the limit of 8 graphs per function

    def _refuse_mixing(self, run: Callable[..., Tensor], setting: str) -> None:
        ids = torch.tensor([[1, 2, 3, 4, 1, 2, 3, 4], [5, 6, 7, 8, 1, 2, 3, 4]], device=self.device)
        positions = torch.arange(4, device=self.device).repeat(2).expand(2, -1)
        effects = [
            (logits[0, 4:] - logits[1, 4:]).abs().max().item()
            for logits in (run(input_ids=ids, position_ids=positions), run(input_ids=ids))
        ]  # largest effect of the first half on the logits of the second, with and without position_ids
        if effects[0] > _LEAK * effects[1]:
            raise LangcoreError(
                f"task=sft: {type(self.model).__name__} with {setting} lets a conversation see the one before it in the"
                " row: choose model.attention=sdpa and task.compile=false, or a LLaMA, Mistral, Qwen or Gemma, which"
                " keep them apart"
            )


def _require_compiler(device: torch.device) -> None:
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    if device.type == "cpu" and not any(map(shutil.which, names)):
        raise LangcoreError(
            f"task.compile=true: there is no C++ compiler ({' or '.join(names)}) here: install one, or"
            " choose task.compile=false"
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise LangcoreError("task.compile=true: triton is not installed here: install it, or choose task.compile=false")
