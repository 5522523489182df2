"""Damage one region after another, score all languages each time, and undo it: one model in memory, nothing trained."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightning.fabric import Fabric
from omegaconf import DictConfig
from transformers import PreTrainedModel

from lightning_langcore.importance.outliers import outlier_region
from lightning_langcore.jobs.config.region_kinds import WITHOUT_FRACTION, Request
from lightning_langcore.jobs.steps import outliers, prepare
from lightning_langcore.jobs.steps.evaluation import Figures, add_rows, evaluate_languages, make_fabric, timed
from lightning_langcore.jobs.steps.loggers import logged
from lightning_langcore.jobs.steps.regions import build
from lightning_langcore.models import loading
from lightning_langcore.plots import damage_bars, pair_heatmap
from lightning_langcore.regions.perturbation import perturb_
from lightning_langcore.regions.region import Region
from lightning_langcore.results.record import Results
from lightning_langcore.results.selectivity import own_and_others, write_csv
from lightning_langcore.utils.atomic_files import write_text
from lightning_langcore.utils.progress import say, track


class Damage(NamedTuple):
    """One line of the grid."""

    request: Request
    method: str
    strength: float | None


def run(cfg: DictConfig) -> Results:
    """Score the intact base and every damage of the grid; rows are written as they come, ``regions.csv`` beside them.

    ``job.fractions`` x ``job.perturbations`` x ``job.variants`` x ``job.seeds``; what does not depend on the seed is
    scored once and stands in the rows of every seed. Regions are located one fraction at a time: at 7B those of all
    would fill the memory.

    Raises:
        ValueError: something in the configuration can't be honoured.
    """
    started = time.monotonic()
    output, source, base_path = prepare.begin(cfg)
    fabric = make_fabric(cfg)
    tokenizer = loading.load_tokenizer(base_path)
    model = loading.load_model(base_path, cfg.model.dtype, cfg.model.attention).to(fabric.device)  # type: ignore[arg-type]
    results = Results(
        output,
        experiment=cfg.name,
        seed=cfg.seed,
        model={"name": cfg.model.name, "num_weights": sum(p.numel() for p in model.parameters())},
        region={key: cfg.region[key] for key in ("score", "granularity", "scope")},
    )
    seen: list[Region] = []

    def found() -> Region:
        if not seen:
            what = outliers.find(cfg, source, model, tokenizer)
            results.notes = [outliers.summary(what)]
            seen.append(outlier_region(model, what))
        return seen[0]

    evaluator = _Evaluator(model, prepare.make_datamodule(cfg, source, tokenizer).eval_loaders()["test"], fabric)
    results.seconds = evaluator.seconds
    made: dict[Request, Region] = {}
    with logged(cfg, "perturb", results):
        add_rows(results, evaluator.score(), stage="base", seed=cfg.seed)
        results.write()
        for damage in track(_grid(cfg), "perturbing", unit="damages"):
            if damage.request not in made:
                made = build(cfg, source, base_path, _requests(cfg, damage.request.fraction), found)
                _write_regions(made, output / "regions.csv")
            region = made[damage.request]
            about = damage.request._asdict() | {"method": damage.method, "strength": damage.strength}
            if damage.request.variant in WITHOUT_FRACTION:
                about["fraction"] = region.meta.get("fraction") or region.fraction
            add_rows(results, evaluator.perturbed(region, damage), stage="perturbed", **about)
            results.write()
        results.status = "completed"
    evaluator.seconds["total"] = time.monotonic() - started
    results.write()
    evaluating, perturbing = (evaluator.seconds[name] for name in ("evaluating", "perturbing"))
    say(f"damaging and undoing took {perturbing / evaluating:.2%} of the time that scoring took")
    _draw(results, output)
    return results


class _Evaluator:
    """One model that is scored, damaged and restored; equal damage is scored once."""

    def __init__(self, model: PreTrainedModel, loaders: Mapping[str, Any], fabric: Fabric) -> None:
        self.seconds = {"evaluating": 0.0, "perturbing": 0.0}
        self._model = model
        self._loaders = loaders
        self._fabric = fabric
        self._known: dict[tuple[Any, ...], Figures] = {}

    def score(self) -> Figures:
        """The figures of the model as it is."""
        with timed(self.seconds, "evaluating"):
            return evaluate_languages(self._model, self._loaders, self._fabric)

    def perturbed(self, region: Region, damage: Damage) -> Figures:
        """The figures of the damaged model, which is whole again afterwards, to the bit."""
        strength = 1.0 if damage.strength is None else damage.strength
        with timed(self.seconds, "perturbing"):
            noise = damage.request.seed if damage.method == "reinit" else None
            key = (region.digest(), damage.method, strength, noise)
        if key not in self._known:
            with timed(self.seconds, "perturbing"):
                undo = perturb_(self._model, region, damage.method, strength, damage.request.seed)  # type: ignore[arg-type]
            try:
                self._known[key] = self.score()
            finally:
                with timed(self.seconds, "perturbing"):
                    undo.restore()
        return self._known[key]


def _requests(cfg: DictConfig, fraction: float) -> list[Request]:
    """All regions of one fraction; those without one stand with the first."""
    own = [Request(variant, fraction, seed) for variant in cfg.job.variants for seed in cfg.job.seeds]
    if fraction == cfg.job.fractions[0]:
        return own
    return [request for request in own if request.variant not in WITHOUT_FRACTION]


def _grid(cfg: DictConfig) -> list[Damage]:
    return [
        Damage(request, node.method, node.get("strength"))
        for fraction in cfg.job.fractions
        for node in cfg.job.perturbations
        for request in _requests(cfg, fraction)
    ]


def _write_regions(made: Mapping[Request, Region], path: Path) -> None:
    """Add what the regions of one fraction are to the table of all."""
    head = "variant,fraction,seed,num_weights,num_candidates,num_ties\n"
    before = path.read_text(encoding="utf-8") if path.exists() else head
    lines = [
        f"{r.variant},{r.fraction:g},{r.seed},{len(region)},{region.num_candidates},{region.meta.get('num_ties', 0)}\n"
        for r, region in made.items()
    ]
    write_text(path, before + "".join(lines))


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
