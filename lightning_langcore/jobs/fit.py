"""Train once, optionally after perturbing a region; evaluate all languages before, during and after training."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_langcore.callbacks import CoreGuard, MultilingualPerplexity, NoiseSensitivity, PerturbRegion, WeightDiff
from lightning_langcore.jobs.config.checks import needs_region
from lightning_langcore.jobs.config.groups.job import FitJob
from lightning_langcore.jobs.config.settings import Run, Settings
from lightning_langcore.jobs.steps import early_end, prepare, regions, texts
from lightning_langcore.jobs.steps.loggers import close, make_loggers
from lightning_langcore.jobs.steps.recorder import Recorder
from lightning_langcore.jobs.steps.trainer import (
    files_of,
    fit,
    make_callbacks,
    make_fingerprint,
    make_module,
    make_trainer,
)
from lightning_langcore.models import fsdp2, loading
from lightning_langcore.plots import recovery_curves, region_heatmap
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.weight_set import Indices
from lightning_langcore.results.record import ROUNDED_AWAY, Results
from lightning_langcore.utils.atomic_files import atomic_folder
from lightning_langcore.utils.progress import say


def run(settings: Settings) -> Results:
    """Train as configured.

    Returns:
        The results, also written to the run folder.

    Raises:
        LangcoreError: invalid or unsupported settings.
        KeyboardInterrupt: the user stopped the training; the results so far are written.
    """
    started = time.monotonic()
    job, output = settings.job, settings.output
    assert isinstance(job, FitJob)
    this, region = _with_region(prepare.begin(settings))
    tokenizer = loading.load_tokenizer(this.base_path)
    model = prepare.load(this)
    results = Results(
        output,
        experiment=settings.name,
        seed=settings.seed,
        model={"name": settings.model.name, "num_weights": sum(p.numel() for p in model.parameters())},
        region=None if region is None else regions.describe(region, Path(str(this.region_file))),
    )
    callbacks, guards = _callbacks(this, region, results)
    loggers = make_loggers(settings, "frozen" if guards else "free", files_of(this))
    trainer = make_trainer(settings.trainer.trainer, output, callbacks, loggers, settings.name)
    datamodule = texts.make_datamodule(this.settings, this.source, tokenizer)
    module = make_module(settings, model)
    training_started, ended = time.monotonic(), False
    try:
        fit(trainer, module, datamodule, job.ckpt_path)
        ended = True
        if job.save_model:
            _save(settings, trainer, model, tokenizer, datamodule.stop_tokens)
        results.error = early_end.reason(trainer)
        if results.error is None:  # not earlier: a completed run is never repeated
            results.status = "completed"
        _warn_of_rounding(settings, trainer, results)
    except Exception as error:
        results.status, results.error = "failed", (str(error) or type(error).__name__).splitlines()[0]
        raise
    finally:
        now = time.monotonic()
        results.seconds = {"total": now - started, "training": now - training_started}
        if guards:
            results.guard = {"num_frozen": sum(len(guard.region) for guard in guards)}
            if ended or not settings.trainer.is_sharded:  # needs all ranks: after an error some may be gone
                results.guard["max_abs_drift"] = max(guard.drift() for guard in guards)
                _warn_of_drift(results.guard["max_abs_drift"])
        # a start that measured nothing must not overwrite the results of an earlier one
        measured = ended or results.perplexity
        if trainer.is_global_zero and (measured or not (output / "results.json").exists()):
            results.write()
        close(loggers, results)
    if trainer.is_global_zero:
        _plots(results, region, output)
    return results


def _save(
    settings: Settings,
    trainer: pl.Trainer,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    stop_tokens: Sequence[int],
) -> None:
    """Write the trained model to ``model/`` on rank 0; all ranks gather the weights if they are sharded."""
    loading.stop_at(model, stop_tokens)
    state = fsdp2.full_state(model) if settings.trainer.is_sharded else None
    if trainer.is_global_zero:
        with atomic_folder(settings.output / "model") as temporary:
            loading.save(model, tokenizer, temporary, state)


def _warn_of_drift(drift: float) -> None:
    if drift != 0.0:
        say(
            f"guarded weights have moved by up to {drift:.3g}: a callback writes to them outside the optimizer step;"
            " one that replaces weights at the end of training needs the class attribute phase = Phase.AVERAGE"
        )


def _warn_of_rounding(settings: Settings, trainer: pl.Trainer, results: Results) -> None:
    """Print that bfloat16 loses updates below about 1/256 of a weight: weights that can't move look like a core."""
    dtype, trained = settings.model.dtype, settings.trainer
    if dtype == "float32" and trained.full_precision != "bf16-true":
        return
    setting = f"trainer.precision={trained.precision} with model.dtype={dtype}"
    unmoved = results.drift[-1]["unmoved"] if results.drift else trainer.callback_metrics.get("diff/unmoved")
    if unmoved is None:
        say(f"{setting} rounds small updates away; callbacks=[default,weight_diff] measures the unmoved share")
    elif unmoved >= ROUNDED_AWAY:
        outside = " outside the region" if results.drift else ""
        say(
            f"{float(unmoved):.0%} of the weights{outside} never moved: {setting} rounds small updates away; train"
            " float32 weights in bf16-mixed"
        )


def _with_region(this: Run) -> tuple[Run, Region | None]:
    """The run with the file of its region, and the region; ``None`` where the run uses none."""
    settings = this.settings
    if not needs_region(settings):
        return this, None
    region = regions.region(this)
    given = settings.region.file if settings.region.kind == "file" else None
    file = region.save(settings.output / "region.safetensors") if given is None else Path(given)
    return replace(this, region_file=file), region


def _callbacks(this: Run, region: Region | None, results: Results) -> tuple[list[Callback], list[CoreGuard]]:
    """All callbacks of the run, and the list of its guards."""
    settings = this.settings
    made = [make_fingerprint(settings), *make_callbacks(this)]
    about: dict[str, Any] = {"seed": settings.seed}
    chosen = settings.perturbation
    if region is not None and chosen.method != "none":
        strength = 1.0 if chosen.strength is None else chosen.strength
        made.append(PerturbRegion(region, chosen.method, strength, chosen.seed))
        about.update(
            variant=settings.region.kind,
            fraction=region.meta.get("fraction") or region.fraction,
            method=chosen.method,
            strength=chosen.strength,
        )
    perplexity = next((c for c in made if isinstance(c, MultilingualPerplexity)), None)
    diff = next((c for c in made if isinstance(c, WeightDiff)), None)
    monitor = next((c for c in made if isinstance(c, NoiseSensitivity)), None)
    recorder = Recorder(results, perplexity, diff, monitor, settings, about)
    return [*made, recorder], [c for c in made if isinstance(c, CoreGuard)]


def _plots(results: Results, region: Region | None, output: Path) -> None:
    if results.perplexity:
        recovery_curves([results], output / "plots" / "recovery.png")
    if region is not None:
        kind, path = region.meta.get("kind", "file"), output / "plots" / "region.png"
        region_heatmap(Indices(region.parts), region.shapes, path, f"region: {kind}")
