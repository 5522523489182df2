"""Find a region: where the weights change least (or most, or anywhere), and show where it lies."""

import csv
import time
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from lightning_langcore.files import atomic_path
from lightning_langcore.jobs import prepare
from lightning_langcore.plots import region_heatmap
from lightning_langcore.progress import say
from lightning_langcore.region import Region
from lightning_langcore.results import Results
from lightning_langcore.scores import union_table

KINDS = ("core", "peripheral", "random")


def run(cfg: DictConfig) -> Results:
    """Locate as configured; writes ``<kind>.safetensors`` for core, peripheral and random, and ``region.safetensors``.

    Returns:
        The results: what was located, no perplexities.

    Raises:
        ValueError: something in the configuration can't be honoured.
    """
    started = time.monotonic()
    output, source, base_path = prepare.begin(cfg)
    changes = prepare.changes(cfg, source, base_path)
    say(f"languages: {', '.join(changes.languages)}")
    start = prepare.theta_0(base_path)
    table = union_table(changes, start, list(cfg.job.union_thresholds))
    _write_union(table, list(cfg.job.union_thresholds), output / "union.csv")
    _print_union(table, list(cfg.job.union_thresholds), changes.languages)
    chosen = None
    for kind in KINDS if cfg.region.kind != "file" else ():
        made = prepare.region(_with_kind(cfg, kind), source, base_path)
        made.save(output / f"{kind}.safetensors")
        _heatmap(made, kind, output)
        say(f"{kind}: {len(made):,} weights ({made.fraction:.2%}), {made.meta['num_ties']:,} of them chosen among ties")
        if kind == cfg.region.kind:
            chosen = made
    if chosen is None:
        chosen = prepare.region(cfg, source, base_path)
    file = chosen.save(output / "region.safetensors")
    _heatmap(chosen, "region", output)
    results = Results(
        output,
        experiment=cfg.name,
        seed=cfg.seed,
        model={"name": cfg.model.name, "num_weights": sum(start[name].numel() for name in start)},
        region=prepare.describe(chosen, file),
    )
    results.status = "completed"
    results.seconds = {"total": time.monotonic() - started}
    results.write()
    return results


def _with_kind(cfg: DictConfig, kind: str) -> DictConfig:
    other = cfg.copy()
    other.region.kind = kind
    return other


def _heatmap(region: Region, name: str, output: Path) -> None:
    indices = {parameter: idx.numpy() for parameter, idx in region}
    region_heatmap(indices, region.shapes, output / "plots" / f"{name}.png", f"{name}: where the weights lie")


def _write_union(table: dict[str, list[float]], thresholds: list[float], path: Path) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["parameter", *(f"changed_more_than_{t:g}" for t in thresholds)])
        writer.writerows([name, *(f"{share:.6f}" for share in shares)] for name, shares in table.items())


def _print_union(table: dict[str, list[float]], thresholds: list[float], languages: list[str]) -> None:
    shown = Table(title=f"Weights that change by more than a threshold in at least one of {', '.join(languages)}")
    shown.add_column("parameter", no_wrap=True)
    for threshold in thresholds:
        shown.add_column(f"{threshold:.0%}" if threshold >= 0.01 else f"{threshold:.2%}", justify="right")
    for name, shares in table.items():
        shown.add_row(name.removeprefix("model."), *(f"{share:.3%}" for share in shares))
    console = Console()
    (console if console.is_terminal else Console(width=110)).print(shown)
