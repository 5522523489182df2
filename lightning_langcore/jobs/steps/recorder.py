"""A callback that writes the results of a training while it runs: rows, drift, text that was read, monitor."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from lightning_langcore.callbacks import MultilingualPerplexity, NoiseSensitivity, WeightDiff
from lightning_langcore.callbacks.order import Phase
from lightning_langcore.data import TextDataModule
from lightning_langcore.data.mixing import CONVERSATIONS, Part
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.results.record import Results


class Recorder(Callback):
    """Write new rows to ``results.json`` at every milestone, so that an interrupted run keeps them.

    The tokens and epochs that were read of each part of the text are logged too.
    """

    phase = Phase.LAST

    def __init__(
        self,
        results: Results,
        perplexity: MultilingualPerplexity | None,
        diff: WeightDiff | None,
        monitor: NoiseSensitivity | None,
        settings: Settings,
        about: dict[str, Any],
    ) -> None:
        self.results = results
        self.perplexity = perplexity
        self.diff = diff
        self.monitor = monitor
        self.settings = settings
        self.about = about
        self._written = 0
        self._num_batches = 0
        self._drift: list[dict[str, Any]] = []
        self._trajectory: list[dict[str, Any]] = []

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._num_batches = trainer.fit_loop.total_batch_idx + 1
        self.write(trainer, log=trainer.global_step == 0)

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._num_batches += 1
        self.write(trainer)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.write(trainer, end=True)

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if trainer.world_size == 1 and self._num_batches:  # the drift needs all ranks, and others may have ended
            self._refresh(trainer)
            self.results.write()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"drift": self._drift, "course": self._trajectory}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._drift = [dict(row) for row in state_dict["drift"]]
        self._trajectory = [dict(row) for row in state_dict["course"]]

    def write(self, trainer: pl.Trainer, end: bool = False, log: bool = True) -> None:
        """Add the new rows to the results, and write them if there are any.

        Args:
            trainer: the Trainer of the run.
            end: write even without new rows.
            log: log the text that was read; false when a run is resumed, because it was logged before.
        """
        rows = [] if self.perplexity is None else self.perplexity.rows
        if len(rows) == self._written and not end:
            return
        for row in rows[self._written :]:
            self.results.add({k: v for k, v in row.items() if k != "ppl"} | self.about)
        self._written = len(rows)
        if rows:
            self._mark(trainer, rows[-1]["stage"], rows[-1]["samples"])
        self._refresh(trainer, log)
        if trainer.is_global_zero:
            self.results.write()

    def _mark(self, trainer: pl.Trainer, stage: str, samples: int) -> None:
        """Record at a milestone how far the weights have moved, and the share of the planned steps that is done."""
        if any((row["stage"], row["samples"]) == (stage, samples) for row in self._trajectory):
            return  # restored from a checkpoint
        share = trainer.global_step / max(1, trainer.estimated_stepping_batches)
        self._trajectory.append({"stage": stage, "samples": samples, "share": share})
        if self.diff is not None and self.diff.region is not None:
            found = self.diff.drift()
            means = {"region": found.region, "rest": found.rest, "unmoved": found.unmoved}
            self._drift.append({"stage": stage, "samples": samples, **means})
            self.results.moved = [row._asdict() for row in found.lines]

    def _refresh(self, trainer: pl.Trainer, log: bool = True) -> None:
        self.results.drift = self._drift
        self._add_text(trainer, log)
        if self.monitor is not None:
            self.results.monitor = {"action": self.monitor.action, **self.monitor.summary()}

    def _add_text(self, trainer: pl.Trainer, log: bool) -> None:
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(datamodule, TextDataModule)
        trajectory = [{"samples": row["samples"], "share": row["share"]} for row in self._trajectory]
        about = text_of(self.settings, datamodule, self._num_batches, trainer.world_size)
        self.results.data = {**about, "course": trajectory}
        figures = {}
        for part, label in zip(self.results.data["parts"], (p.label for p in datamodule.text.parts), strict=True):
            figures[f"data/tokens/{label}"] = float(part["tokens"])
            figures[f"data/epochs/{label}"] = part["epochs"]
        for logger in trainer.loggers if log else []:
            logger.log_metrics(figures, step=trainer.global_step)


def text_of(settings: Settings, datamodule: TextDataModule, num_batches: int, world_size: int) -> dict[str, Any]:
    """The entry ``data`` of ``results.json``: the training text that has been read."""
    text = datamodule.text
    used = datamodule.used(num_batches, world_size)
    target = [i for i, part in enumerate(text.parts) if is_target(part)]
    own = sum(used[i]["tokens"] for i in target)
    rest = sum(part["tokens"] for part in used) - own
    found: dict[str, Any] = {
        "target": targets(text.parts),
        "parts": used,
        "ratio": rest / own if own and settings.data.mix is not None else None,
        "epochs": max((used[i]["epochs"] for i in target), default=None),
        "asked": {"ratio": asked_ratio(text.parts), "epochs": settings.data.epochs},
        **datamodule.left_out,
    }
    noise = settings.noise
    if noise.inject is not None:
        found["noise"] = {"kind": noise.kind, "rate": noise.rate, "length": noise.length, "window": noise.window}
    return found


def targets(parts: Sequence[Part]) -> list[str]:
    """The languages that are trained on by name, not as general text that is mixed in."""
    return list(dict.fromkeys(part.language for part in parts if is_target(part)))


def is_target(part: Part) -> bool:
    """Whether the part is a target of the run (a language trained on by name, or conversations), not mixed in."""
    return part.name in (part.language, CONVERSATIONS)


def asked_ratio(parts: Sequence[Part]) -> float | None:
    """The configured ratio: tokens that are mixed in per token of the target; ``None`` without a mix."""
    own = sum(part.share for part in parts if is_target(part))
    return None if own in (0, sum(part.share for part in parts)) else (1 - own) / own
