"""LightningModules: what is trained and with which loss."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel, get_scheduler
from typing_extensions import override

from lightning_langcore.metrics import next_token_mean
from lightning_langcore.params import evaluation_mode

_LEAK = 0.01  # of what a token moves the logits behind it where nothing is between them


class ContinuedPretraining(pl.LightningModule):
    """Next-token prediction over packed blocks, all weights trainable.

    A batch has ``input_ids`` and ``shift_labels`` (the token after each position, -100 where it does not count), both
    (B, T) int64. Logs ``train/loss``: mean nats per token of the optimizer step's last micro-batch.

    Args:
        model: any causal language model of transformers.
        optimizer: makes the optimizer from parameter groups; the matrices decay, norms and biases do not.
        schedule: a name that ``transformers.get_scheduler`` knows: ``constant_with_warmup``, ``cosine``, ``linear``.
        num_warmup_steps: optimizer steps of linear warm-up.

    Raises:
        ValueError: during training: the loss is NaN or infinite.

    Example::

        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        module = ContinuedPretraining(model, partial(torch.optim.AdamW, lr=5e-5))
        Trainer(max_steps=1000, callbacks=[CoreGuard("core.safetensors")]).fit(module, loader)
    """

    def __init__(
        self,
        model: PreTrainedModel,
        optimizer: Callable[[Iterable[Mapping[str, Any]]], Optimizer],
        schedule: str = "constant",
        num_warmup_steps: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self._optimizer = optimizer
        self._schedule = schedule
        self._num_warmup_steps = num_warmup_steps

    @override
    def forward(self, input_ids: Tensor) -> Tensor:
        """Input ids (B, T) -> logits (B, T, V)."""
        return self.model(input_ids=input_ids, use_cache=False).logits

    def _logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self(batch["input_ids"])

    @override
    def on_fit_start(self) -> None:
        self.model.train()

    @override
    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        loss = next_token_mean(self._logits(batch), batch["shift_labels"])
        if not math.isfinite(loss.item()):
            raise ValueError(
                f"train/loss is {loss.item()} at step {self.trainer.global_step}: lower optimizer.lr or"
                " perturbation.strength, or look at the data"
            )
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = self._optimizer(
            [
                {"params": [p for p in trainable if p.ndim >= 2]},
                {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
            ]
        )
        timeless = self._schedule in ("constant", "constant_with_warmup")
        num_steps = None if timeless else int(self.trainer.estimated_stepping_batches)
        scheduler = get_scheduler(self._schedule, optimizer, self._num_warmup_steps, num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @override
    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip here, for Lightning refuses to clip for a fused optimizer under bf16-mixed, though it is harmless."""
        if gradient_clip_val:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            if gradient_clip_algorithm == "value":
                torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
            else:
                torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)


class SupervisedFineTuning(ContinuedPretraining):
    """Learn the answers of conversations, several of which may stand in a row; all weights trainable.

    A batch has ``position_ids`` (B, T) int64 besides: they begin at 0 in each conversation, and so say where one ends.
    From them transformers makes a mask in which no token sees another conversation (``sdpa``, ``eager``). Not every
    model does, nor flash attention with more than one row: so before the first step two conversations in a row are
    tried, and a model in which the second one feels the first is refused. That costs two forward passes of 16 tokens.

    Labels are -100 but where the next token is an answer's: the loss is the mean nats over the answer tokens of the
    micro-batch, 0 if there are none. With accumulated gradients each micro-batch counts the same, however many answer
    tokens it has. For the rest see :class:`ContinuedPretraining`; a sharded model is tried as a whole, on every rank.

    Raises:
        ValueError: at the start of training: the model mixes the conversations of a row. During training: a batch
            without ``position_ids``; the loss is NaN or infinite.

    Example::

        module = SupervisedFineTuning(model, partial(torch.optim.AdamW, lr=1e-5))
        Trainer(max_steps=1000).fit(module, loader)
    """

    @override
    def forward(self, input_ids: Tensor, position_ids: Tensor | None = None) -> Tensor:
        """Input ids (B, T) -> logits (B, T, V); without positions each row is one text."""
        if position_ids is None:
            return super().forward(input_ids)
        return self.model(input_ids=input_ids, position_ids=position_ids, use_cache=False).logits

    @override
    def on_train_start(self) -> None:
        with evaluation_mode(self.model), torch.no_grad(), self.trainer.precision_plugin.forward_context():
            self._refuse_mixing()

    @override
    def _logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        if "position_ids" not in batch:
            raise ValueError("task=sft: the batches have no position_ids: choose data=phrasebook_sft, sft_files or aya")
        return self(batch["input_ids"], batch["position_ids"])

    def _refuse_mixing(self) -> None:
        ids = torch.tensor([[1, 2, 3, 4, 1, 2, 3, 4], [5, 6, 7, 8, 1, 2, 3, 4]], device=self.device)
        positions = torch.arange(4, device=self.device).repeat(2).expand(2, -1)
        felt = [
            (logits[0, 4:] - logits[1, 4:]).abs().max().item() for logits in (self(ids, positions), self(ids))
        ]  # how far the first half moves the second
        if felt[0] > _LEAK * felt[1]:
            config = self.model.config
            raise ValueError(
                f"task=sft: {type(self.model).__name__} with model.attention={config._attn_implementation} lets a"
                " conversation see the one before it in the row: choose model.attention=sdpa, or a LLaMA, Mistral, Qwen"
                " or Gemma, which keep them apart"
            )
