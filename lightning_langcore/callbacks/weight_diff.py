"""Differences of the weights from their starting values: logged during training, saved at its end."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from typing_extensions import override

from lightning_langcore.callbacks.strategies import refuse_flat_shards
from lightning_langcore.models import sharding
from lightning_langcore.models.parameter_part import Weight
from lightning_langcore.models.parameters import group_names, match, saved_parameters, stored_weights
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.models.safetensors_writer import write_safetensors
from lightning_langcore.regions.drift import Drift, drift
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.weight_change import absolute_change, scale_floor, weight_scale
from lightning_langcore.regions.weight_set import WeightSet
from lightning_langcore.utils.errors import LangcoreError

_UNMOVED, _REGION, _REST = "diff/unmoved", "diff/relative/region", "diff/relative/rest"


class WeightDiff(Callback):
    """Log how far each kind of matrix and each layer has moved; training stays bit-identical.

    Logs ``diff/mean_abs/<group>`` (mean of ``|theta - theta_0|``) and ``diff/relative/<group>`` (mean of
    ``|theta - theta_0| / max(|theta_0|, 1e-3 rms)``) for each kind of parameter (``q_proj``) and layer (``layer_0``).
    Both compare the current weights with the start, in float32; the length of the path between them does not count.
    ``diff/unmoved`` is the share of the weights (0..1) that equal their starting values: in bfloat16, weights whose
    updates were rounded away. With ``region`` also ``diff/relative/region`` and ``diff/relative/rest``: the region's
    weights against all other candidates.

    Memory: with ``reference`` one tensor at a time is read from disk; without it a float32 copy of all weights is kept
    on the CPU (4 bytes per weight) and in checkpoints, so that a resumed run compares with the same start.
    Under FSDP2 each rank compares its own shards and the sums are added; ``reference`` is then required, because a
    sharded checkpoint keeps the copy of one rank only. Files and :meth:`drift` gather one whole tensor at a time. FSDP1
    and DeepSpeed are refused.

    Args:
        every_n_steps: optimizer steps between two logged comparisons; 0: none.
        reference: safetensors file or ``save_pretrained`` folder with the starting weights; they are rounded to the
            dtype of the model.
        snapshot_steps: optimizer steps after which the weights are written to ``dirpath/step_<n>.safetensors`` in
            float32 (4 bytes per weight and snapshot).
        dirpath: folder of the snapshots; by default ``snapshots`` in the trainer's folder.
        collect: file for the final ``|theta - theta_0|`` of each parameter, written as ``NAME|change`` (4 bytes per
            weight); regions are located from a folder of such files, one per language.
        region: a :class:`Region` or the path of its file, to compare with the other candidates.

    Raises:
        LangcoreError: negative steps; before the first step: an unsupported strategy, FSDP2 without a reference, or a
            reference or region that does not fit the model.

    Example:
        >>> from functools import partial
        >>> import lightning.pytorch as pl
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> from lightning_langcore import ContinuedPretraining, WeightDiff
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> diff = WeightDiff(every_n_steps=1, collect="changes/zh.safetensors")
        >>> rows = [{"input_ids": torch.arange(8), "shift_labels": torch.arange(1, 9)}] * 2
        >>> quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        >>> module = ContinuedPretraining(model, partial(torch.optim.AdamW, lr=1e-2))
        >>> trainer = pl.Trainer(max_steps=2, enable_checkpointing=False, callbacks=[diff], **quiet)
        >>> trainer.fit(module, DataLoader(rows))
        >>> diff.means()["diff/mean_abs/q_proj"] > 0
        True
    """

    def __init__(
        self,
        every_n_steps: int = 50,
        reference: Path | str | None = None,
        snapshot_steps: Sequence[int] = (),
        dirpath: Path | str | None = None,
        collect: Path | str | None = None,
        region: Region | Path | str | None = None,
    ) -> None:
        if every_n_steps < 0 or any(step < 0 for step in snapshot_steps):
            raise LangcoreError(f"WeightDiff: every_n_steps={every_n_steps} and snapshot_steps must not be negative")
        self.every_n_steps = every_n_steps
        self.snapshot_steps = frozenset(snapshot_steps)
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.collect = None if collect is None else Path(collect)
        self.region = region if isinstance(region, Region) or region is None else Region.load(region)
        self._theta_0: Mapping[str, Tensor] | None = None if reference is None else Weights(reference)
        self._from_file = reference is not None
        self._parameters: dict[str, Weight] = {}
        self._floors: dict[str, float] = {}
        self._inside: dict[str, WeightSet] = {}
        self._resumed = False
        self._last_step = -1

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        refuse_flat_shards(trainer, "WeightDiff")

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._from_file and self._theta_0 is not None:
            assert isinstance(self._theta_0, Weights)
            self._theta_0 = stored_weights(pl_module, self._theta_0)
            if not self._theta_0:
                raise LangcoreError(
                    "WeightDiff: the reference holds no parameter of this model: it is of another model"
                )
            self._parameters = match(pl_module, self._theta_0.shapes)
        else:
            self._parameters = saved_parameters(pl_module)
            if any(map(sharding.is_sharded, self._parameters.values())):
                raise LangcoreError(
                    "WeightDiff under FSDP2 needs reference=, a file or folder with the starting weights, for instance"
                    " callbacks.weight_diff.reference=${paths.base}"
                )
            if not self._resumed:
                self._theta_0 = {n: sharding.local(p).float().cpu().clone() for n, p in self._parameters.items()}
        if self.region is not None:
            self.region.match(pl_module)
            parts, known = self.region.parts.items(), self._parameters
            self._inside = {name: part.within(*sharding.box(known[name])) for name, part in parts if name in known}
        if 0 in self.snapshot_steps and trainer.global_step == 0:
            self._snapshot(trainer)
        self._last_step = trainer.global_step

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step == self._last_step:  # inside an accumulation
            return
        self._last_step = step
        if self.every_n_steps and step % self.every_n_steps == 0:
            pl_module.log_dict(self.means())
        if step in self.snapshot_steps:
            self._snapshot(trainer)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.collect is not None:
            shapes = {f"{name}|change": tuple(p.shape) for name, p in self._parameters.items()}
            self._write(trainer, self.collect, shapes, (self.change(name) for name in self._parameters))

    @override
    def state_dict(self) -> dict[str, Any]:
        return {} if self._from_file or self._theta_0 is None else {"theta_0": dict(self._theta_0)}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "theta_0" in state_dict and not self._from_file:
            self._theta_0 = state_dict["theta_0"]
            self._resumed = True

    def change(self, name: str) -> Tensor:
        """Current ``|theta - theta_0|`` of one parameter: float32 on the CPU, in the shape of the parameter.

        Under FSDP2 all ranks must call this method together.

        Raises:
            KeyError: an unknown parameter, or a call before the start of training.
        """
        return sharding.gathered(absolute_change(self._start(name), self._now(name)), self._parameters[name])

    def means(self) -> dict[str, float]:
        """Current values of the logged means over weights, see the class.

        Under FSDP2 all ranks must call this method together.
        """
        sums: dict[str, list[float]] = {}
        for name in self._parameters:
            for key, total, count in self._sums(name):
                entry = sums.setdefault(key, [0.0, 0.0])
                entry[0] += total
                entry[1] += count
        keys = sorted(sums)  # the same order on every rank
        totals = torch.tensor([sums[key] for key in keys], dtype=torch.float64)
        totals = sharding.sum_over_ranks(totals, self._parameters.values())
        return {key: total / count for key, (total, count) in zip(keys, totals.tolist(), strict=True) if count}

    def drift(self) -> Drift:
        """Current relative change of the region and of the rest, and the rows and columns that moved most.

        Raises:
            LangcoreError: a callback without a region.
        """
        if self.region is None:
            raise LangcoreError("WeightDiff: drift() needs region=")
        return drift(((name, self._relative(name)) for name in self._parameters), self.region)

    def _sums(self, name: str) -> Iterator[tuple[str, float, int]]:
        """Metric name, sum and number of weights, for the local part of one parameter."""
        start, now = self._start(name), self._now(name)
        change = absolute_change(start, now)
        relative = change / weight_scale(start, self._floor(name))
        for group in group_names(name):
            yield f"diff/mean_abs/{group}", float(change.sum(dtype=torch.float64)), change.numel()
            yield f"diff/relative/{group}", float(relative.sum(dtype=torch.float64)), change.numel()
        yield _UNMOVED, int((change == 0).sum()), change.numel()
        if self.region is not None and name in self.region.shapes:
            own = self._inside[name].gather(relative) if name in self._inside else relative.new_empty(0)
            inside = float(own.sum(dtype=torch.float64))
            yield _REGION, inside, own.numel()
            yield _REST, float(relative.sum(dtype=torch.float64)) - inside, change.numel() - own.numel()

    def _now(self, name: str) -> Tensor:
        return sharding.local(self._parameters[name])

    def _start(self, name: str) -> Tensor:
        """Starting values of the local part of a parameter, in the dtype of the model: a file may be more precise."""
        theta_0, parameter = self._theta_0, self._parameters[name]
        assert theta_0 is not None
        if isinstance(theta_0, Weights):
            return theta_0.part(name, *sharding.box(parameter)).to(parameter.dtype)
        return theta_0[name]

    def _floor(self, name: str) -> float:
        """Smallest divisor in the relative change of a whole parameter, computed once."""
        if name not in self._floors:
            assert self._theta_0 is not None
            self._floors[name] = scale_floor(self._theta_0[name])
        return self._floors[name]

    def _relative(self, name: str) -> Tensor:
        assert self._theta_0 is not None
        change = self.change(name)
        return change.div_(weight_scale(self._theta_0[name], self._floor(name)))

    def _snapshot(self, trainer: pl.Trainer) -> None:
        folder = self.dirpath or Path(trainer.default_root_dir) / "snapshots"
        shapes = {name: tuple(p.shape) for name, p in self._parameters.items()}
        wholes = (sharding.whole(p).to("cpu", torch.float32) for p in self._parameters.values())
        self._write(trainer, folder / f"step_{trainer.global_step:06d}.safetensors", shapes, wholes)

    def _write(
        self, trainer: pl.Trainer, file: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Iterator[Tensor]
    ) -> None:
        """Write on rank 0; if weights are sharded, all ranks take part in gathering each tensor."""
        if trainer.is_global_zero:
            write_safetensors(file, shapes, tensors, {"format": "pt"})
        elif any(map(sharding.is_sharded, self._parameters.values())):
            for _ in tensors:
                pass
