"""Detect noisy optimizer steps before they change the weights; log, skip, clip or stop them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

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
from lightning_langcore.callbacks.noise_sensitivity.micro_batches import (
    MicroBatch,
    documents_and_heads,
    identity,
    tagged,
)
from lightning_langcore.callbacks.noise_sensitivity.trainer_checks import from_all_ranks, refuse, scaler_of
from lightning_langcore.callbacks.order import Phase
from lightning_langcore.monitoring.detector import NOT_FINITE, Decision, Detector, NoiseRules, StepFeatures
from lightning_langcore.regions.region import Region
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.keywords import accepts_fields

Action = Literal["log", "skip", "clip", "stop"]
_ACTIONS = get_args(Action)


class NoiseSensitivity(Callback):
    """Check each optimizer step by its loss, gradients and text, before the weights are updated.

    Signals, one number per step (over all micro-batches and ranks of the step):

    - ``loss``, the mean over micro-batches and ranks
    - ``grad_norm``, before clipping and before a guard sets gradients to zero
    - ``grad_norm_worst``: sigmas of the tensor whose norm is furthest above the usual norm of that tensor
    - ``core_share``: the region's share of the candidates' squared gradients over its share of their number
    - ``adam_ratio``: see :func:`~lightning_langcore.monitoring.gradients.adam_ratio`
    - ``repetition``: the largest number of consecutive copies of a span of 1 to ``max_period`` tokens in any row
    - ``unseen_pairs``: by how many the pairs of neighbouring tokens that are new to the run exceed 60 % of a stretch
      of text, in the worst stretch: finds non-words in any language; see
      :func:`~lightning_langcore.monitoring.novelty.unseen`
    - ``surprise``: by how many the tokens that cost more than they usually do, and the new pairs, exceed what is usual
      in a stretch of text, in the worst stretch: finds non-words even where many pairs are new; see
      :class:`~lightning_langcore.monitoring.novelty.CostMemory`. Needs a module with ``token_nats`` (B, T), the cost of
      each label of the last micro-batch, as the modules of this package have; absent with other modules

    A step is flagged where one of ``signals`` lies ``threshold`` sigmas above the centre of its last ``window``
    accepted values (more while the window fills, see :func:`~lightning_langcore.monitoring.rolling_window.widened`);
    where ``repetition`` reaches ``max_repeats``, from the first step on; where loss or gradient norm is not finite.
    Sigma is at least 2 % of the centre, or one token or pair. ``unseen_pairs`` decreases during a run, so its window
    holds rows, not steps. Only accepted steps enter the windows. With ``mean``, noise masks itself if more than one
    value in 37 is noise; with ``median``, if more than a third is. A ``surprise`` enters its window as at most 3
    sigmas, which reduces this masking.

    Actions: ``log`` only writes a record. ``skip`` drops all gradients before the step: weights, moments and step
    counters are unchanged, schedule and ``trainer.global_step`` advance. ``clip`` scales the gradients down to the
    usual norm; if that is impossible (a norm that is not finite, no usual norm yet) it skips.
    ``stop`` skips and ends training.

    Each flagged step is a line of ``dirpath/flagged.jsonl``: step (the first is 1), action, signals, reasons (sigmas;
    copies for ``repetition``), worst tensor; documents and first 80 characters of the rows that are flagged, or of all
    rows if none is flagged by itself. ``batch["documents"]`` names the documents: one string per row, a JSON list of
    objects with ``source``, ``language``, ``document``, ``tag``. The documents in these rows of a skipped step stay
    skipped: later rows with such a document get labels of -100, and a step without other rows is skipped, not flagged.

    Comes before :class:`CoreGuard` in the list of callbacks. While no step is flagged, training is bit-identical.
    All ranks decide from the features of all ranks, so they act alike and have the same state. Memory: ``window``
    numbers per parameter tensor, 2^pair_bits / 8 bytes, and 16 bytes per token of the vocabulary. Sharded strategies
    and manual optimization are refused, and a GradScaler with ``skip`` and ``stop``. Rows without a label, and padding
    without labels, are ignored.

    Args:
        action: the action on flagged steps.
        rules: when a step is flagged; the fields of :class:`NoiseRules` are keywords of their own, too:
            ``threshold=5.0`` stands for ``rules=NoiseRules(threshold=5.0)``.
        region: for ``core_share``; a :class:`Region` or the path of its file.
        adam_every_n_steps: optimizer steps between two measurements of ``adam_ratio``; 0: never.
        dirpath: folder of ``flagged.jsonl``; by default the trainer's folder.
        tokenizer: decodes the beginnings of rows; by default the datamodule's; without one, token ids are written.

    Attributes:
        stopped_at: the step before which ``stop`` ended the training; ``None`` if it did not.

    Raises:
        LangcoreError: a setting out of its range; before the first step: an unsupported strategy, module, scaler or
            order of callbacks; during training: after ``max_consecutive`` skipped steps in a row whose loss or
            gradients are not finite.

    Example:
        >>> from functools import partial
        >>> import lightning.pytorch as pl
        >>> import torch
        >>> from torch.utils.data import DataLoader
        >>> from lightning_langcore import ContinuedPretraining, NoiseSensitivity
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> monitor = NoiseSensitivity("skip", max_repeats=32, dirpath="noise")
        >>> ids = torch.zeros(64, dtype=torch.int64)
        >>> rows = [{"input_ids": ids, "shift_labels": ids}] * 3
        >>> quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        >>> module = ContinuedPretraining(model, partial(torch.optim.AdamW, lr=1e-2))
        >>> trainer = pl.Trainer(max_steps=3, enable_checkpointing=False, callbacks=[monitor], **quiet)
        >>> trainer.fit(module, DataLoader(rows))
        >>> from pathlib import Path
        >>> len(Path("noise/flagged.jsonl").read_text().splitlines())  # each step repeats one token 64 times
        3
    """

    phase = Phase.MONITOR

    @accepts_fields(rules=NoiseRules)
    def __init__(
        self,
        action: Action = "log",
        *,
        rules: NoiseRules | None = None,
        region: Region | Path | str | None = None,
        adam_every_n_steps: int = 50,
        dirpath: Path | str | None = None,
        tokenizer: Any = None,
    ) -> None:
        self.rules = rules or NoiseRules()
        if action not in _ACTIONS:
            raise LangcoreError(f"NoiseSensitivity: action={action!r} must be one of {', '.join(_ACTIONS)}")
        if adam_every_n_steps < 0:
            raise LangcoreError(f"NoiseSensitivity: adam_every_n_steps={adam_every_n_steps} must be 0 (never) or more")
        if "core_share" in self.rules.signals and region is None:
            raise LangcoreError("NoiseSensitivity: signals has core_share, which needs region: set it")
        if "adam_ratio" in self.rules.signals and adam_every_n_steps == 0:
            raise LangcoreError(
                "NoiseSensitivity: signals has adam_ratio, but adam_every_n_steps=0 means never: raise it"
            )
        self.action = action
        self.stopped_at: int | None = None
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
            reset = self._detector.load(self._resumed["judge"])
            if reset:
                rank_zero_warn(f"NoiseSensitivity: the checkpoint has other settings; reset: {', '.join(reset)}")
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
        num_masked = sum(each.num_masked for each in features)
        if not any(each.num_losses for each in features) and not num_masked:
            return  # training_step has returned None
        known = [each.tagged for each in features if each.tagged is not None]
        names = {name for each in known for name in each} if known else None
        if not any(each.num_losses for each in features):
            drop_gradients(optimizer)  # all are zero, but weight decay and momentum would move the weights
            self._counts.add(False, True, num_masked, names)
            return
        decision = self._detector.decide(features, overflow_is_usual=scaler_of(trainer) is not None)
        self._last_signals = decision.signals
        action = self._act(trainer, optimizer, decision) if decision.reasons else None
        self._counts.add(action is not None, action in ("skip", "stop"), num_masked, names)
        if action is not None:
            text = features[trainer.global_rank].text
            self._write_flag(trainer, decision, action, batches, None if text is None else text.rows)
            self._report(trainer, decision, action)

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
        """Counts of the run over all ranks.

        Returns:
            ``num_steps``, ``num_flagged``, ``num_skipped`` and ``num_masked_rows``; if batches have documents also
            ``num_tagged`` (documents with a tag), ``num_caught`` (tagged documents in a flagged step),
            ``num_clean_steps`` (steps without tagged documents), ``num_false_alarms`` (flagged clean steps),
            ``precision`` (of the flagged steps) and ``recall`` (of the tagged documents), each unless its divisor is 0.
        """
        return self._counts.summary()

    def _features(self, trainer: pl.Trainer, optimizer: Optimizer, batches: Sequence[MicroBatch]) -> StepFeatures:
        """Features of the step on this rank; synchronizes with the device once."""
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
            rank_zero_warn("NoiseSensitivity: batches have no input_ids (B, T), so that no text is checked")
        if not getattr(optimizer, "_step_supports_amp_scaling", False):
            scale = 1.0  # the precision plugin has already unscaled the gradients
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
        if self.action == "log" or scaler_of(trainer) is not None:  # a GradScaler needs gradients
            return "log"
        drop_gradients(optimizer)
        return "stop" if self.action == "stop" else "skip"

    def _write_flag(
        self,
        trainer: pl.Trainer,
        decision: Decision,
        action: Action,
        batches: Sequence[MicroBatch],
        rows: list[tuple[int, int]] | None,
    ) -> None:
        assert self._watch is not None
        if rows is not None and any(decision.suspicious):
            rows = [rows[i] for i in decision.suspicious[trainer.global_rank]]
        tokenizer = self.tokenizer or getattr(getattr(trainer, "datamodule", None), "tokenizer", None)
        local = documents_and_heads(batches, rows, tokenizer)
        found = [row for rank in from_all_ranks(trainer, local) for row in rank]
        documents = {identity(entry): entry for entries, _ in found for entry in entries}
        if action in ("skip", "stop"):
            self._skipped |= documents.keys()
        if self._file is not None:
            heads = [head for _, head in found]
            self._file.append(
                trainer.global_step + 1, action, decision, self._watch.names, list(documents.values()), heads
            )

    def _report(self, trainer: pl.Trainer, decision: Decision, action: Action) -> None:
        step, reasons = trainer.global_step + 1, ", ".join(decision.reasons)
        if action == "stop":
            trainer.should_stop = True
            self.stopped_at = step
            rank_zero_warn(f"NoiseSensitivity: training ends before step {step}, which is flagged: {reasons}")
        if not decision.restarted:
            return
        num_steps = self.rules.max_consecutive
        if action == "skip" and NOT_FINITE in decision.reasons.values():
            raise LangcoreError(
                f"NoiseSensitivity: max_consecutive={num_steps} steps in a row were skipped, and at step {step} loss or"
                " gradients are still not finite: lower optimizer.lr, or check the model's weights and the data"
            )
        rank_zero_warn(
            f"NoiseSensitivity: max_consecutive={num_steps} steps in a row were flagged, the last at step {step} for"
            f" {reasons}; from now on this level counts as usual"
        )
