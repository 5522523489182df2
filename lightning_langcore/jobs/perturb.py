"""Damage one region after another, score all languages each time, and undo it: one model in memory, nothing trained."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from lightning_langcore import models
from lightning_langcore.dimensions import outlier_region
from lightning_langcore.jobs import outliers, prepare
from lightning_langcore.jobs.loggers import logged
from lightning_langcore.jobs.regions import build
from lightning_langcore.jobs.scoring import Figures, add_rows, make_fabric, score_languages
from lightning_langcore.jobs.variants import Request
from lightning_langcore.monolingual import own_and_others, write_csv
from lightning_langcore.perturb import Undo, perturb_
from lightning_langcore.plots import damage_bars, pair_heatmap
from lightning_langcore.progress import track
from lightning_langcore.region import Region
from lightning_langcore.results import Results


class Damage(NamedTuple):
    """One line of the grid."""

    request: Request
    method: str
    strength: float | None


def run(cfg: DictConfig) -> Results:
    """Score the intact base and every damage of the grid; rows are written as they come.

    ``job.variants`` x ``job.fractions`` x ``job.seeds`` x ``job.perturbations``; what does not depend on the seed is
    scored once and stands in the rows of every seed.

    Raises:
        ValueError: something in the configuration can't be honoured.
    """
    started = time.monotonic()
    output, source, base_path = prepare.begin(cfg)
    fabric = make_fabric(cfg)
    tokenizer = models.load_tokenizer(base_path)
    model = models.load_model(base_path, cfg.model.dtype, cfg.model.attention).to(fabric.device)  # type: ignore[arg-type]
    grid = list(_grid(cfg))
    requests = list(dict.fromkeys(damage.request for damage in grid))

    notes: list[str] = []

    def found() -> Region:
        seen = outliers.find(cfg, source, model, tokenizer)
        notes.append(outliers.summary(seen))
        return outlier_region(model, seen)

    regions = build(cfg, source, base_path, requests, found)
    results = Results(
        output,
        experiment=cfg.name,
        seed=cfg.seed,
        model={"name": cfg.model.name, "num_weights": sum(p.numel() for p in model.parameters())},
        region={key: cfg.region[key] for key in ("score", "granularity", "scope")},
    )
    results.notes = notes
    loaders = prepare.make_datamodule(cfg, source, tokenizer).eval_loaders()["test"]
    seconds = results.seconds = {"evaluating": 0.0, "perturbing": 0.0}

    def score() -> Figures:
        begun = time.monotonic()
        figures = score_languages(model, loaders, fabric)
        seconds["evaluating"] += time.monotonic() - begun
        return figures

    with logged(cfg, "perturb", results):
        add_rows(results, score(), stage="base", seed=cfg.seed)
        results.write()
        shared: dict[tuple[Any, ...], Figures] = {}
        for damage in track(grid, "perturbing", unit="damages"):
            region = regions[damage.request]
            noise = damage.request.seed if damage.method == "reinit" else None
            key = (region.digest(), damage.method, damage.strength, noise)
            if key not in shared:
                undo = _timed_damage(model, region, damage, seconds)
                try:
                    shared[key] = score()
                finally:
                    begun = time.monotonic()
                    undo.restore()
                    seconds["perturbing"] += time.monotonic() - begun
            variant, fraction, seed = damage.request
            about = {"variant": variant, "fraction": fraction, "seed": seed, "method": damage.method}
            add_rows(results, shared[key], stage="perturbed", **about, strength=damage.strength)
            results.write()
        results.status = "completed"
    seconds["total"] = time.monotonic() - started
    results.write()
    _draw(results, output)
    return results


def _grid(cfg: DictConfig) -> Iterator[Damage]:
    for node in cfg.job.perturbations:
        for fraction in cfg.job.fractions:
            for variant in cfg.job.variants:
                for seed in cfg.job.seeds:
                    yield Damage(Request(variant, fraction, seed), node.method, node.get("strength"))


def _timed_damage(model: Any, region: Region, damage: Damage, seconds: dict[str, float]) -> Undo:
    begun = time.monotonic()
    strength = 1.0 if damage.strength is None else damage.strength
    undo = perturb_(model, region, damage.method, strength, damage.request.seed)  # type: ignore[arg-type]
    seconds["perturbing"] += time.monotonic() - begun
    return undo


def _draw(results: Results, output: Path) -> None:
    damage_bars([results], output / "plots" / "damage.png")
    tables = own_and_others([results])
    if tables:
        write_csv(tables, output / "monolingual.csv")
    for number, table in enumerate(tables):
        pair_heatmap(
            table.excess,
            [f"mono:{language}" for language in table.regions],
            table.languages,
            output / "plots" / f"monolingual_{number}.png",
            f"Which language suffers more than its share ({table.setting})",
            "nats per token beyond row and column mean",
            centre=0.0,
        )
