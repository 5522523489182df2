"""What a training leaves in its results as it goes: rows, drift, what was read, what the monitor saw."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig
from typing_extensions import override

from lightning_langcore.callbacks import MultilingualPerplexity, NoiseSensitivity, WeightDiff
from lightning_langcore.data import TextDataModule
from lightning_langcore.data.mixing import GENERAL, Part
from lightning_langcore.results import Results


class Recorder(Callback):
    """Write new rows to ``results.json`` as they come, so that an interrupted run keeps them.

    It stands behind all callbacks that it asks. Which parts were read, in tokens and epochs, goes to the loggers too.
    """

    def __init__(
        self,
        results: Results,
        perplexity: MultilingualPerplexity | None,
        diff: WeightDiff | None,
        monitor: NoiseSensitivity | None,
        cfg: DictConfig,
        about: dict[str, Any],
    ) -> None:
        self.results = results
        self.perplexity = perplexity
        self.diff = diff
        self.monitor = monitor
        self.cfg = cfg
        self.about = about
        self._written = 0
        self._num_batches = 0

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._num_batches = trainer.fit_loop.total_batch_idx + 1
        self.write(trainer)

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._num_batches += 1
        self.write(trainer)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.write(trainer, end=True)

    def write(self, trainer: pl.Trainer, end: bool = False) -> None:
        """Add what is not in the results yet, and write if there is any."""
        rows = [] if self.perplexity is None else self.perplexity.rows
        if len(rows) == self._written and not end:
            return
        for row in rows[self._written :]:
            self.results.add({k: v for k, v in row.items() if k != "ppl"} | self.about)
        if self.diff is not None and self.diff.region is not None and rows:
            self._add_drift(rows[-1]["stage"], rows[-1]["samples"])
        self._written = len(rows)
        self._add_text(trainer)
        if self.monitor is not None:
            self.results.monitor = {"action": self.monitor.action, **self.monitor.summary()}
        if trainer.is_global_zero:
            self.results.write()

    def _add_drift(self, stage: str, samples: int) -> None:
        assert self.diff is not None
        found = self.diff.drift()
        known = {(row["stage"], row["samples"]) for row in self.results.drift}
        if (stage, samples) not in known:
            self.results.drift.append({"stage": stage, "samples": samples, "region": found.region, "rest": found.rest})
        self.results.moved = [line._asdict() for line in found.lines]

    def _add_text(self, trainer: pl.Trainer) -> None:
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(datamodule, TextDataModule)
        self.results.data = text_of(self.cfg, datamodule, self._num_batches, trainer.world_size)
        figures = {}
        for part, label in zip(self.results.data["parts"], (p.label for p in datamodule.text.parts), strict=True):
            figures[f"data/tokens/{label}"] = float(part["tokens"])
            figures[f"data/epochs/{label}"] = part["epochs"]
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=trainer.global_step)


def text_of(cfg: DictConfig, datamodule: TextDataModule, num_batches: int, world_size: int) -> dict[str, Any]:
    """What ``results.json`` says of the training text that has been read."""
    text = datamodule.text
    used = datamodule.used(num_batches, world_size)
    target = [i for i, part in enumerate(text.parts) if part.name != GENERAL]
    own = sum(used[i]["tokens"] for i in target)
    rest = sum(part["tokens"] for part in used) - own
    found: dict[str, Any] = {
        "target": targets(text.parts),
        "parts": used,
        "ratio": rest / own if own and cfg.data.mix is not None else None,
        "epochs": max((used[i]["epochs"] for i in target), default=None),
        **datamodule.left_out,
    }
    if cfg.noise.inject is not None:
        noise = {key: cfg.noise.get(key) for key in ("kind", "rate", "length")}
        found["noise"] = noise | {"window": list(cfg.noise.window)}
    return found


def targets(parts: Sequence[Part]) -> list[str]:
    """The languages that are trained on by name, not as general text beside them."""
    return list(dict.fromkeys(part.language for part in parts if part.name != GENERAL))
