"""Freeze the weights of a region exactly while all others train."""

import hashlib
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lightning_langcore.callbacks.order import averages, refuse_late_averages
from lightning_langcore.callbacks.strategies import refuse_8bit_states, refuse_flat_shards
from lightning_langcore.models import sharding
from lightning_langcore.models.parameter_part import Weight, gradient_of, parameter_of
from lightning_langcore.models.parameters import refuse_quantized
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.weight_set import WeightSet
from lightning_langcore.utils.errors import LangcoreError


class CoreGuard(Callback):
    """Freeze single weights exactly, under any optimizer.

    At the start of training the guard copies the region's values. Before each optimizer step, and before gradient
    clipping, it sets the region's gradients to zero, so that they contribute neither to the clip norm nor to the
    moments. After each optimizer step it restores the values. Zero gradients alone do not freeze a weight: weight
    decay, momentum, stale state and the rounding of 8-bit optimizers move weights whose gradient is zero.

    Works with any LightningModule, gradient accumulation, clipping, mixed precision, several optimizers, manual
    optimization, one device, DDP or FSDP2. On resume the region and the values are checked against the checkpoint.

    Lightning's ``WeightAveraging`` (``EMAWeightAveraging``) replaces the weights by their average at the end of
    training; the guard then restores the region once more. Such a callback must come before the guard in the list.

    Memory, on the model's device: the value of each guarded weight, and its position: 4 bytes per whole row or column;
    for single weights 4 bytes per guarded weight up to an eighth of a matrix, above that one bit per weight of the
    matrix. There is no dense mask and no dense copy; indices are decoded from a bitmap at each step, one matrix at a
    time.

    Under FSDP2 each rank guards the weights of the region in its own shards, without extra communication in a step.
    FSDP1, DeepSpeed and quantized weights are refused before the first step.

    Args:
        region: a :class:`Region` or the path of its file.
        name: identifies this guard in the checkpoint if a run has several guards.

    Raises:
        LangcoreError: a missing or broken region file; before the first step: a region of another model, an unsupported
            strategy or weight type, a checkpoint of another region, a callback that averages weights later in the list.

    Example:
        >>> from functools import partial
        >>> import lightning.pytorch as pl
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> from lightning_langcore import ContinuedPretraining, CoreGuard, candidates, named_shapes, random_region
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> core = random_region(candidates(named_shapes(model)), fraction=0.05, seed=0)
        >>> guard = CoreGuard(core)
        >>> rows = [{"input_ids": torch.arange(8), "shift_labels": torch.arange(1, 9)}] * 2
        >>> quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        >>> module = ContinuedPretraining(model, partial(torch.optim.AdamW, lr=1e-2))
        >>> trainer = pl.Trainer(max_steps=2, enable_checkpointing=False, callbacks=[guard], **quiet)
        >>> trainer.fit(module, DataLoader(rows))
        >>> guard.drift()
        0.0
    """

    def __init__(self, region: Region | Path | str, name: str = "core") -> None:
        self.region = region if isinstance(region, Region) else Region.load(region)
        self.name = name
        self._guarded: list[tuple[Weight, WeightSet, Tensor]] = []
        self._handles: list[RemovableHandle] = []
        self._resumed: dict[str, Any] | None = None
        self._state: dict[str, Any] = {}
        self._last_logged = -1

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        refuse_flat_shards(trainer, "CoreGuard")
        refuse_late_averages(trainer, CoreGuard, "would change the guarded weights after the last step")

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        parameters = self.region.match(pl_module)
        for name, parameter in parameters.items():
            refuse_quantized(name, parameter, "CoreGuard")
        refuse_8bit_states(trainer)
        self._guarded = []
        for name, part in self.region.parts.items():
            local = sharding.local(parameters[name])
            local_part = part.within(*sharding.box(parameters[name])).for_fast_access().to(local.device)
            self._guarded.append((parameters[name], local_part, local_part.gather(local)))
        self._check_resumed(trainer)
        self._handles = [o.register_step_post_hook(self.restore) for o in trainer.optimizers]
        rank_zero_info(f"CoreGuard: {len(self.region):,} weights frozen ({self.region.fraction:.2%} of the candidates)")

    @override
    @torch.no_grad()
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        for weight, part, _ in self._guarded:
            parameter = parameter_of(weight)
            if parameter.grad is not None:
                if not parameter.grad.is_contiguous():
                    parameter.grad = parameter.grad.contiguous()
                part.fill_(sharding.local(gradient_of(weight)), 0.0)

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step != self._last_logged and step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._last_logged = step
            pl_module.log("guard/max_abs_drift", self.drift())

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._remove_hooks()
        if averages(trainer):
            self.restore()
        if self.drift() != 0.0:
            rank_zero_warn(
                f"CoreGuard: guarded weights have moved by up to {self.drift()}: something writes to them"
                " outside the optimizer step"
            )

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._remove_hooks()

    @property
    @override
    def state_key(self) -> str:
        return self._generate_state_key(name=self.name)

    @override
    def state_dict(self) -> dict[str, Any]:
        return dict(self._state)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = dict(state_dict)

    @torch.no_grad()
    def restore(self, *_: Any) -> None:
        """Set the guarded weights to their stored values; nothing before the start of training."""
        for parameter, part, values in self._guarded:
            part.scatter_(sharding.local(parameter), values)

    @torch.no_grad()
    def drift(self) -> float:
        """Largest absolute difference between a guarded weight and its stored value; 0.0 if all bits are equal.

        NaN and infinities count as unchanged if their bits are unchanged, else as ``inf``. Under FSDP2 the maximum is
        over all ranks, and all ranks must call this method together.
        """
        worst = 0.0
        for parameter, part, values in self._guarded:
            now = part.gather(sharding.local(parameter))
            changed = _bits(now) != _bits(values)
            if bool(changed.any()):
                difference = (now[changed].double() - values[changed].double()).abs()
                worst = max(worst, float(difference.nan_to_num(nan=float("inf")).max()), 5e-324)
        return sharding.max_over_ranks(worst, [parameter for parameter, _, _ in self._guarded])

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _check_resumed(self, trainer: pl.Trainer) -> None:
        now = {"region": self.region.digest(), "values": self._values_digest()}
        before, self._resumed = self._resumed, None
        self._state = {**now, "start_step": trainer.global_step if before is None else before["start_step"]}
        if before is None:
            return
        if before["region"] != now["region"]:
            raise LangcoreError(
                f"the checkpoint was trained with another region under CoreGuard(name={self.name!r})"
                f" (checkpoint: {before['region'][:12]}, this run: {now['region'][:12]}): resume with the region file"
                " of the checkpoint, or start a new run without ckpt_path"
            )
        if before["values"] != now["values"]:
            raise LangcoreError(
                f"the weights guarded by CoreGuard(name={self.name!r}) are not the bits that the guard of the"
                " checkpoint stored: the checkpoint was edited, or trained further without its guard"
            )

    def _values_digest(self) -> str:
        h = hashlib.sha256()
        for part, (parameter, _, local_values) in zip(self.region.parts.values(), self._guarded, strict=True):
            # the digest must not depend on the number of ranks
            values = part.gather(sharding.whole(parameter).cpu()) if sharding.is_sharded(parameter) else local_values
            h.update(values.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return h.hexdigest()


def _bits(values: Tensor) -> Tensor:
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return values.view(kinds[values.element_size()])
