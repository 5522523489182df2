"""Train once, optionally after perturbing a region; evaluate all languages before, during and after training."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, open_dict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_langcore.callbacks import CoreGuard, MultilingualPerplexity, NoiseSensitivity, PerturbRegion, WeightDiff
from lightning_langcore.jobs.config.checks import needs_region
from lightning_langcore.jobs.config.devices import is_sharded, precision
from lightning_langcore.jobs.steps import prepare, regions
from lightning_langcore.jobs.steps.loggers import close, label, make_loggers
from lightning_langcore.jobs.steps.recorder import Recorder
from lightning_langcore.jobs.steps.trainer import fit, make_callbacks, make_module, make_trainer
from lightning_langcore.models import fsdp2, loading
from lightning_langcore.plots import recovery_curves, region_heatmap
from lightning_langcore.regions.region import Region
from lightning_langcore.regions.weight_set import Indices
from lightning_langcore.results.record import ROUNDED_AWAY, Results
from lightning_langcore.utils.atomic_files import atomic_folder
from lightning_langcore.utils.progress import say


def run(cfg: DictConfig) -> Results:
    """Train as configured.

    Returns:
        The results, also written to the run folder.

    Raises:
        LangcoreError: invalid or unsupported settings.
        KeyboardInterrupt: the user stopped the training; the results so far are written.
    """
    started = time.monotonic()
    output, source, base_path = prepare.begin(cfg)
    region = _region(cfg, source, base_path, output)
    cfg.paths.base = str(loading.local_folder(base_path))
    tokenizer = loading.load_tokenizer(base_path)
    model = prepare.load(cfg, base_path)
    results = Results(
        output,
        experiment=cfg.name,
        seed=cfg.seed,
        model={"name": cfg.model.name, "num_weights": sum(p.numel() for p in model.parameters())},
        region=None if region is None else regions.describe(region, Path(cfg.region.file)),
    )
    callbacks, guards = _callbacks(cfg, region, results)
    label(cfg, "frozen" if guards else "free")
    loggers = make_loggers(cfg)
    trainer = make_trainer(cfg, output, callbacks, loggers, cfg.name)
    datamodule = prepare.make_datamodule(cfg, source, tokenizer)
    module = make_module(cfg, model)
    training_started = time.monotonic()
    try:
        fit(trainer, module, datamodule, cfg.job.ckpt_path)
        if cfg.job.save_model:
            _save(cfg, trainer, model, tokenizer)
        results.status = "completed"  # not earlier: a completed run is never repeated
        _record_stop(callbacks, results)
        _warn_of_rounding(cfg, trainer, results)
    except Exception as error:
        results.status, results.error = "failed", (str(error) or type(error).__name__).splitlines()[0]
        raise
    finally:
        now = time.monotonic()
        results.seconds = {"total": now - started, "training": now - training_started}
        if guards:
            results.guard = {"num_frozen": sum(len(guard.region) for guard in guards)}
            if results.status == "completed" or not is_sharded(cfg):  # needs all ranks: after an error some may be gone
                results.guard["max_abs_drift"] = max(guard.drift() for guard in guards)
        # a start that measured nothing must not overwrite the results of an earlier one
        measured = results.status == "completed" or results.perplexity
        if trainer.is_global_zero and (measured or not (output / "results.json").exists()):
            results.write()
        close(loggers, results)
    if trainer.is_global_zero:
        _plots(results, region, output)
    return results


def _save(cfg: DictConfig, trainer: pl.Trainer, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the trained model to ``model/`` on rank 0; all ranks gather the weights if they are sharded."""
    state = fsdp2.full_state(model) if is_sharded(cfg) else None
    if trainer.is_global_zero:
        with atomic_folder(Path(cfg.paths.output) / "model") as temporary:
            loading.save(model, tokenizer, temporary, state)


def _record_stop(callbacks: Sequence[Callback], results: Results) -> None:
    """Set the status ``interrupted`` for a run that its monitor has stopped."""
    for callback in callbacks:
        if isinstance(callback, NoiseSensitivity) and callback.stopped_at is not None:
            results.status = "interrupted"
            results.error = (
                f"NoiseSensitivity stopped the training before step {callback.stopped_at}: see flagged.jsonl"
            )


def _warn_of_rounding(cfg: DictConfig, trainer: pl.Trainer, results: Results) -> None:
    """Print that bfloat16 loses updates below about 1/256 of a weight: weights that can't move look like a core."""
    if cfg.model.dtype == "float32" and precision(cfg) != "bf16-true":
        return
    setting = f"trainer.precision={cfg.trainer.precision} with model.dtype={cfg.model.dtype}"
    unmoved = results.drift[-1]["unmoved"] if results.drift else trainer.callback_metrics.get("diff/unmoved")
    if unmoved is None:
        say(f"{setting} rounds small updates away; callbacks=[default,weight_diff] measures the unmoved share")
    elif unmoved >= ROUNDED_AWAY:
        outside = " outside the region" if results.drift else ""
        say(
            f"{float(unmoved):.0%} of the weights{outside} never moved: {setting} rounds small updates away; train"
            " float32 weights in bf16-mixed"
        )


def _region(cfg: DictConfig, source: Any, base_path: str, output: Path) -> Region | None:
    if not needs_region(cfg):
        return None
    region = regions.region(cfg, source, base_path)
    if cfg.region.kind != "file":
        cfg.region.file = str(region.save(output / "region.safetensors"))
    return region


def _callbacks(cfg: DictConfig, region: Region | None, results: Results) -> tuple[list[Callback], list[CoreGuard]]:
    """All callbacks of the run, and the list of its guards."""
    _set_diff_reference(cfg)
    made = make_callbacks(cfg)
    about: dict[str, Any] = {"seed": cfg.seed}
    node = cfg.perturbation
    if region is not None and node.method != "none":
        made.append(PerturbRegion(region, node.method, node.get("strength", 1.0), node.get("seed", 0)))
        about.update(
            variant=cfg.region.kind,
            fraction=region.meta.get("fraction") or region.fraction,
            method=node.method,
            strength=node.get("strength"),
        )
    perplexity = next((c for c in made if isinstance(c, MultilingualPerplexity)), None)
    diff = next((c for c in made if isinstance(c, WeightDiff)), None)
    monitor = next((c for c in made if isinstance(c, NoiseSensitivity)), None)
    recorder = Recorder(results, perplexity, diff, monitor, cfg, about)
    return [*made, recorder], [c for c in made if isinstance(c, CoreGuard)]


def _set_diff_reference(cfg: DictConfig) -> None:
    """Without a perturbation, let ``WeightDiff`` compare with the base's files instead of a copy of the weights."""
    for node in (cfg.callbacks or {}).values():
        if str(node._target_).endswith("WeightDiff") and cfg.perturbation.method == "none":
            with open_dict(node):
                node.reference = node.get("reference") or cfg.paths.base


def _plots(results: Results, region: Region | None, output: Path) -> None:
    if results.perplexity:
        recovery_curves([results], output / "plots" / "recovery.png")
    if region is not None:
        kind, path = region.meta.get("kind", "file"), output / "plots" / "region.png"
        region_heatmap(Indices(region.parts), region.shapes, path, f"region: {kind}")
