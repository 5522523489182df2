"""Keep running differences of the weights from their start, and write down where they ended."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from typing_extensions import override

from lightning_langcore.drift import Drift, drift
from lightning_langcore.files import write_safetensors
from lightning_langcore.params import group_names, match, saved_parameters
from lightning_langcore.region import Region
from lightning_langcore.scores import absolute_change, weight_scale
from lightning_langcore.weights import Weights


class WeightDiff(Callback):
    """Watch how far each kind of matrix and each layer has moved; training stays bit-identical.

    Logs ``diff/mean_abs/<group>`` (mean of ``|theta - theta_0|``) and ``diff/relative/<group>`` (mean of
    ``|theta - theta_0| / max(|theta_0|, 1e-3 rms)``) for each kind of parameter (``q_proj``) and layer (``layer_0``).
    Both compare the present end point with the start, in float32: not the length of the path. With ``region`` also
    ``diff/relative/region`` and ``diff/relative/rest``: the region's weights against all other candidates.

    Memory: with ``reference`` one tensor at a time is read from disk; without it a float32 copy of all weights is kept
    on the CPU (4 bytes a weight), which goes into checkpoints too, so that a resumed run compares with the same start.
    Sharded strategies are refused.

    Args:
        every_n_steps: optimizer steps between two logged comparisons; 0: none.
        reference: safetensors file or ``save_pretrained`` folder with the starting weights.
        snapshot_steps: optimizer steps after which the weights are written to ``dirpath/step_<n>.safetensors`` in
            float32 (4 bytes a weight each).
        dirpath: folder of the snapshots; by default the trainer's.
        collect: file to which the final ``|theta - theta_0|`` of each parameter is written as ``NAME|change`` (4 bytes
            a weight); a folder of such files, one a language, is what regions are located from.
        region: a :class:`Region` or the path of its file, to compare with the rest.

    Raises:
        ValueError: negative steps; before the first step: a sharded strategy, or a reference or region that does not
            fit the model.

    Example::

        Trainer(callbacks=[WeightDiff(every_n_steps=20, collect="changes/zh.safetensors")])
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
            raise ValueError(f"WeightDiff: every_n_steps={every_n_steps} and snapshot_steps must not be negative")
        self.every_n_steps = every_n_steps
        self.snapshot_steps = frozenset(snapshot_steps)
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.collect = None if collect is None else Path(collect)
        self.region = region if isinstance(region, Region) or region is None else Region.load(region)
        self._theta_0: Mapping[str, Tensor] | None = None if reference is None else Weights(reference)
        self._from_file = reference is not None
        self._parameters: dict[str, nn.Parameter] = {}
        self._resumed = False
        self._last_step = -1

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if isinstance(trainer.strategy, (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)):
            raise ValueError(
                f"WeightDiff compares whole tensors and can't under trainer.strategy={type(trainer.strategy).__name__}:"
                " use one device or strategy=ddp"
            )

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._from_file and self._theta_0 is not None:
            names = [name for name in self._theta_0 if name in saved_parameters(pl_module)]
            if not names:
                raise ValueError("WeightDiff: the reference holds no parameter of this model: it is another model's")
            self._parameters = match(pl_module, {name: self._theta_0[name].shape for name in names})
        else:
            self._parameters = saved_parameters(pl_module)
            if not self._resumed:
                self._theta_0 = {n: p.detach().float().cpu().clone() for n, p in self._parameters.items()}
        if self.region is not None:
            self.region.match(pl_module)
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
            if self.region is not None:
                found = self.drift()
                pl_module.log_dict({"diff/relative/region": found.region, "diff/relative/rest": found.rest})
        if step in self.snapshot_steps:
            self._snapshot(trainer)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.collect is not None and trainer.is_global_zero:
            shapes = {f"{name}|change": tuple(p.shape) for name, p in self._parameters.items()}
            changes = (self.change(name) for name in self._parameters)
            write_safetensors(self.collect, shapes, changes, {"format": "pt"})

    @override
    def state_dict(self) -> dict[str, Any]:
        return {} if self._from_file or self._theta_0 is None else {"theta_0": dict(self._theta_0)}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "theta_0" in state_dict and not self._from_file:
            self._theta_0 = state_dict["theta_0"]
            self._resumed = True

    def change(self, name: str) -> Tensor:
        """``|theta - theta_0|`` of one parameter now: float32, on the CPU, its shape.

        Raises:
            KeyError: no such parameter, or training has not begun.
        """
        assert self._theta_0 is not None
        return absolute_change(self._theta_0[name], self._parameters[name])

    def means(self) -> dict[str, float]:
        """The logged figures now: ``diff/mean_abs/<group>`` and ``diff/relative/<group>``, means over weights."""
        assert self._theta_0 is not None
        sums: dict[str, list[float]] = {}
        for name in self._parameters:
            change = self.change(name)
            relative = change / weight_scale(self._theta_0[name])
            for group in group_names(name):
                entry = sums.setdefault(group, [0.0, 0.0, 0.0])
                entry[0] += float(change.sum(dtype=torch.float64))
                entry[1] += float(relative.sum(dtype=torch.float64))
                entry[2] += change.numel()
        return {
            f"diff/{kind}/{group}": entry[i] / entry[2]
            for group, entry in sums.items()
            for i, kind in enumerate(("mean_abs", "relative"))
        }

    def drift(self) -> Drift:
        """How far the region has moved by now, how far the rest, and the lines that moved most.

        Raises:
            ValueError: there is no region.
        """
        if self.region is None:
            raise ValueError("WeightDiff: drift() needs region=")
        return drift(((name, self._relative(name)) for name in self._parameters), self.region)

    def _relative(self, name: str) -> Tensor:
        assert self._theta_0 is not None
        change = self.change(name)
        return change.div_(weight_scale(self._theta_0[name]))

    def _snapshot(self, trainer: pl.Trainer) -> None:
        if not trainer.is_global_zero:
            return
        folder = self.dirpath or Path(trainer.default_root_dir) / "snapshots"

        def tensors() -> Iterator[Tensor]:
            for parameter in self._parameters.values():
                yield parameter.detach().to("cpu", torch.float32)

        shapes = {name: tuple(p.shape) for name, p in self._parameters.items()}
        write_safetensors(folder / f"step_{trainer.global_step:06d}.safetensors", shapes, tensors(), {"format": "pt"})
