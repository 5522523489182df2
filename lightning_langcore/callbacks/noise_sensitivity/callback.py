"""Feel noise before it reaches the weights: judge each optimizer step, then log, skip, clip or stop."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from lightning_langcore.callbacks.noise_sensitivity.flag_log import Counts, FlagLog
from lightning_langcore.callbacks.noise_sensitivity.gradient_watch import (
    GradientWatch,
    drop_gradients,
    scale_gradients,
    to_floats,
)
from lightning_langcore.callbacks.noise_sensitivity.micro_batches import MicroBatch, identity, look_at, tagged
from lightning_langcore.callbacks.noise_sensitivity.trainer_checks import from_all_ranks, refuse, scaler_of
from lightning_langcore.callbacks.order import Phase
from lightning_langcore.monitoring.detector import NOT_FINITE, Decision, Detector, Rules, StepFeatures
from lightning_langcore.regions.region import Region

Action = Literal["log", "skip", "clip", "stop"]
_ACTIONS = ("log", "skip", "clip", "stop")


class NoiseSensitivity(Callback):
    """Judge each optimizer step by its loss, its gradients and its text, before it is made.

    Signals, one number a step (an accumulated step is one, a step of several ranks too):

    - ``loss``, the mean over micro-batches and ranks; ``grad_norm``, before clipping and before a guard's zeros
    - ``grad_norm_worst``: sigmas of the tensor whose norm is furthest above its own usual one
    - ``core_share``: the region's share of the candidates' squared gradients over its share of their number
    - ``adam_ratio``: see :func:`~lightning_langcore.monitoring.gradients.adam_ratio`
    - ``repetition``: most copies in a row of a span of 1 to ``max_period`` tokens, in the worst row
    - ``unseen_pairs``: by how many the pairs of neighbouring tokens that are new to the run exceed 60 % of a stretch
      of text, in the worst stretch: words that are none, in any language; see
      :func:`~lightning_langcore.monitoring.novelty.unseen`
    - ``surprise``: by how many the tokens that cost more than they usually do, and the new pairs, exceed what is usual
      in a stretch of text, in the worst stretch: non-words where many pairs are new anyhow; see
      :class:`~lightning_langcore.monitoring.novelty.CostMemory`. Needs a module with ``token_nats`` (B, T), what each
      label of the last micro-batch costs, as this package's have; absent elsewhere

    A step is flagged where one of ``signals`` lies ``threshold`` sigmas above the centre of its last ``window``
    accepted values (more while the window fills, see :func:`~lightning_langcore.monitoring.rolling_window.widened`);
    where ``repetition`` reaches ``max_repeats``, from the first step on; where loss or gradient norm are not finite.
    Sigma is at least 2 % of the centre, or one token or pair. ``unseen_pairs`` falls through the run, so its window
    holds rows, not steps. Only accepted steps enter windows. Under ``mean`` noise hides itself where more than one
    value in 37 is noise; ``median`` stands up to a third. A ``surprise`` enters as at most 3 sigmas, and hides less.

    Actions: ``log`` writes down. ``skip`` drops all gradients before the step: weights, moments and step counters
    stay, schedule and ``trainer.global_step`` go on. ``clip`` scales the gradients down to the usual norm; where that
    can't help (not finite, nothing usual yet) it skips. ``stop`` skips and ends training.

    Each flagged step is a line of ``dirpath/flagged.jsonl``: step (the first is 1), action, signals, reasons (sigmas;
    copies for ``repetition``), worst tensor; documents and first 80 characters of the rows that are flagged
    themselves, else of all. ``batch["documents"]`` names them: a string a row, a JSON list of objects with ``source``,
    ``language``, ``document``, ``tag``. The documents of such rows of a skipped step stay skipped: later rows that
    hold one get labels of -100, and a step without other rows is skipped, not flagged.

    Stands before :class:`CoreGuard` in the list of callbacks. Attached and silent it leaves training bit-identical.
    All ranks judge what all have seen, so they act alike and the state of one is that of all. Memory: ``window``
    numbers a parameter tensor, 2^pair_bits / 8 bytes, and 16 bytes a token of the vocabulary. Sharded strategies and
    manual optimization are refused, and a GradScaler with ``skip`` and ``stop``. Rows without a label, and padding
    that no label scores, are not looked at.

    Args:
        action: on flagged steps.
        signals: which of the above flag; the others are only logged.
        statistic: ``mean`` and standard deviation, or ``median`` and 1.4826 times the median absolute deviation.
        threshold: sigmas.
        window: accepted values that are looked back at.
        min_window: accepted values before a signal judges.
        max_repeats: copies in a row.
        max_period: tokens of the longest span.
        max_consecutive: after so many flagged steps in a row their level counts as usual: the windows of the signals
            that flagged them restart, and ``max_repeats`` rises above theirs.
        region: for ``core_share``; a :class:`Region` or the path of its file.
        adam_every_n_steps: optimizer steps between two ``adam_ratio``; 0: never.
        pair_bits: logarithm to base 2 of the bits of memory for pairs; 22 do for some million different pairs.
        dirpath: folder of ``flagged.jsonl``; by default the trainer's.
        tokenizer: decodes heads; by default the datamodule's, else heads are token ids.

    Attributes:
        stopped_at: the step before which ``stop`` ended the training; ``None``: it did not.

    Raises:
        ValueError: a setting out of its range; before the first step: what can't be honoured; after
            ``max_consecutive`` skipped steps in a row whose loss or gradients are not finite.

    Example::

        Trainer(callbacks=[NoiseSensitivity("skip"), CoreGuard("core.safetensors")])
    """

    phase = Phase.MONITOR

    def __init__(
        self,
        action: Action = "log",
        signals: Sequence[str] = ("loss", "grad_norm", "repetition", "unseen_pairs", "surprise"),
        statistic: Literal["mean", "median"] = "mean",
        threshold: float = 6.0,
        window: int = 128,
        min_window: int = 16,
        max_repeats: int = 32,
        max_period: int = 13,
        max_consecutive: int = 32,
        region: Region | Path | str | None = None,
        adam_every_n_steps: int = 50,
        pair_bits: int = 22,
        dirpath: Path | str | None = None,
        tokenizer: Any = None,
    ) -> None:
        if action not in _ACTIONS:
            raise ValueError(f"NoiseSensitivity: action={action!r} must be one of {', '.join(_ACTIONS)}")
        if adam_every_n_steps < 0:
            raise ValueError(f"NoiseSensitivity: adam_every_n_steps={adam_every_n_steps} must be 0 (never) or more")
        if "core_share" in signals and region is None:
            raise ValueError("NoiseSensitivity: signals has core_share, which needs region: set it")
        if "adam_ratio" in signals and adam_every_n_steps == 0:
            raise ValueError("NoiseSensitivity: signals has adam_ratio, but adam_every_n_steps=0 is never: raise it")
        self.action = action
        self.stopped_at: int | None = None
        rules = (statistic, threshold, window, min_window, max_repeats, max_period, max_consecutive, pair_bits)
        self.rules = Rules(signals, *rules)
        self.rules.check()
        self.region = Region.load(region) if isinstance(region, (Path, str)) else region
        self.adam_every_n_steps = adam_every_n_steps
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.tokenizer = tokenizer
        self._counts = Counts()
        self._detector: Detector | None = None
        self._watch: GradientWatch | None = None
        self._file: FlagLog | None = None
        self._skipped: set[str] = set()
        self._batches: list[MicroBatch] = []
        self._resumed: dict[str, Any] = {}
        self._last_signals: dict[str, float] = {}
        self._last_logged = -1

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        refuse(trainer, pl_module, self, self.action)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches = []
        self._watch = GradientWatch(pl_module, self.region, self.adam_every_n_steps)
        self._detector = Detector(self.rules, len(self._watch.names))
        if self._resumed:
            afresh = self._detector.load(self._resumed["judge"])
            if afresh:
                rank_zero_warn(f"NoiseSensitivity: the checkpoint has other settings; afresh: {', '.join(afresh)}")
            self._counts.load(self._resumed["tally"])
            self._skipped = set(self._resumed["skipped"])
            self._resumed = {}
        if trainer.is_global_zero:
            folder = self.dirpath or Path(trainer.default_root_dir)
            self._file = FlagLog(folder / "flagged.jsonl", trainer.global_step)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batches.append(MicroBatch.take(batch, self._skipped))

    @override
    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._batches[-1].add_costs(loss, getattr(pl_module, "token_nats", None))

    @override
    @torch.no_grad()
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        assert self._detector is not None
        batches, self._batches = self._batches, []
        features = from_all_ranks(trainer, self._features(trainer, optimizer, batches))
        num_masked = sum(e.num_masked for e in features)
        if not any(e.num_losses for e in features) and not num_masked:
            return  # training_step has returned None
        known = [e.tagged for e in features if e.tagged is not None]
        names = {name for each in known for name in each} if known else None
        if not any(e.num_losses for e in features):
            drop_gradients(optimizer)  # all zero, but decay and momentum would move the weights
            self._counts.add(False, True, num_masked, names)
            return
        decision = self._detector.decide(features, overflow_is_usual=scaler_of(trainer) is not None)
        self._last_signals = decision.signals
        did = self._act(trainer, optimizer, decision) if decision.reasons else None
        self._counts.add(did is not None, did in ("skip", "stop"), num_masked, names)
        if did is not None:
            text = features[trainer.global_rank].text
            self._write_down(trainer, decision, did, batches, None if text is None else text.rows)
            self._tell(trainer, decision, did)

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step != self._last_logged and step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._last_logged = step
            figures = self._last_signals | {"flagged": float(self._counts.counts["num_flagged"])}
            pl_module.log_dict({f"noise/{name}": value for name, value in figures.items()})

    @override
    def state_dict(self) -> dict[str, Any]:
        if self._detector is None:
            return {}
        return {"judge": self._detector.state(), "tally": self._counts.state(), "skipped": sorted(self._skipped)}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = dict(state_dict)

    def summary(self) -> dict[str, float]:
        """Counts of the run, all ranks together.

        Returns:
            ``num_steps``, ``num_flagged``, ``num_skipped`` and ``num_masked_rows``; where batches have documents also
            ``num_tagged`` and ``num_caught`` (documents with a tag, and those of them that were in a flagged step),
            ``num_clean_steps`` (without any), ``num_false_alarms`` (clean but flagged), ``precision`` (of the flagged
            steps) and ``recall`` (of the tagged documents), each where there is something to divide by.
        """
        return self._counts.summary()

    def _features(self, trainer: pl.Trainer, optimizer: Optimizer, batches: Sequence[MicroBatch]) -> StepFeatures:
        """What this rank knows of the step; waits for the device once."""
        assert self._detector is not None
        assert self._watch is not None
        figures: dict[Any, Tensor] = {i: b.loss for i, b in enumerate(batches) if b.loss is not None}
        if trainer.is_global_zero:
            figures |= self._watch.measure(optimizer, trainer.global_step + 1)
        values = to_floats(figures)
        scaler = scaler_of(trainer)
        scale = 1.0 if scaler is None else scaler.get_scale()
        texts = [batch.tokens() for batch in batches]
        scored = [i for i, text in enumerate(texts) if i in values and (text is None or text.is_scored.any())]
        losses = [values[i] / scale for i in scored]
        if not all(texts) and {"repetition", "unseen_pairs", "surprise"} & set(self.rules.signals):
            rank_zero_warn("NoiseSensitivity: batches have no input_ids (B, T), so that no text is judged")
        if not getattr(optimizer, "_step_supports_amp_scaling", False):
            scale = 1.0  # else the optimizer itself takes the scale off the gradients
        return StepFeatures(
            loss=sum(losses) * trainer.accumulate_grad_batches,  # Lightning has divided by it
            num_losses=len(losses),
            num_masked=sum(batch.num_masked for batch in batches),
            text=self._detector.text.read([text for text in texts if text is not None]) if all(texts) else None,
            gradients=self._watch.read(values, scale) if trainer.is_global_zero else None,
            tagged=tagged(batches),
        )

    def _act(self, trainer: pl.Trainer, optimizer: Optimizer, decision: Decision) -> Action:
        assert self._detector is not None
        usual, norm = self._detector.usual_norm, decision.signals["grad_norm"]
        if self.action == "clip" and usual is not None and math.isfinite(norm):
            scale_gradients(optimizer, usual / norm if norm > usual else 1.0)
            return "clip"
        if self.action == "log" or scaler_of(trainer) is not None:  # a scaler wants gradients
            return "log"
        drop_gradients(optimizer)
        return "stop" if self.action == "stop" else "skip"

    def _write_down(
        self,
        trainer: pl.Trainer,
        decision: Decision,
        did: Action,
        batches: Sequence[MicroBatch],
        rows: list[tuple[int, int]] | None,
    ) -> None:
        assert self._watch is not None
        if rows is not None and any(decision.suspicious):
            rows = [rows[i] for i in decision.suspicious[trainer.global_rank]]
        tokenizer = self.tokenizer or getattr(getattr(trainer, "datamodule", None), "tokenizer", None)
        seen = [row for rank in from_all_ranks(trainer, look_at(batches, rows, tokenizer)) for row in rank]
        documents = {identity(entry): entry for entries, _ in seen for entry in entries}
        if did in ("skip", "stop"):
            self._skipped |= documents.keys()
        if self._file is not None:
            heads = [head for _, head in seen]
            self._file.append(
                trainer.global_step + 1, did, decision, self._watch.names, list(documents.values()), heads
            )

    def _tell(self, trainer: pl.Trainer, decision: Decision, did: Action) -> None:
        step, reasons = trainer.global_step + 1, ", ".join(decision.reasons)
        if did == "stop":
            trainer.should_stop = True
            self.stopped_at = step
            rank_zero_warn(f"NoiseSensitivity: training ends before step {step}, which is flagged: {reasons}")
        if not decision.restarted:
            return
        num_steps = self.rules.max_consecutive
        if did == "skip" and NOT_FINITE in decision.reasons.values():
            raise ValueError(
                f"NoiseSensitivity: max_consecutive={num_steps} steps in a row were skipped, and at step {step} loss or"
                " gradients are still not finite: lower optimizer.lr, or look at the model's weights and the data"
            )
        rank_zero_warn(
            f"NoiseSensitivity: max_consecutive={num_steps} steps in a row were flagged, the last at step {step} for"
            f" {reasons}; from now on this level counts as usual"
        )
