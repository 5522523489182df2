"""Perturb one region at a time, evaluate all languages, and restore the model; nothing is trained."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightning.fabric import Fabric
from transformers import PreTrainedModel

from lightning_langcore.importance.outliers import outlier_region
from lightning_langcore.jobs.config.groups.job import PerturbJob
from lightning_langcore.jobs.config.region_kinds import WITHOUT_FRACTION, Request
from lightning_langcore.jobs.config.settings import Settings
from lightning_langcore.jobs.steps import outliers, prepare, texts
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


class Perturbation(NamedTuple):
    """One entry of the grid: a region, and the method and strength of its perturbation."""

    request: Request
    method: str
    strength: float | None


def run(settings: Settings) -> Results:
    """Evaluate the intact base and every perturbation of the grid; each row is written as soon as it is measured.

    The grid is ``job.fractions`` x ``job.perturbations`` x ``job.variants`` x ``job.seeds``. A perturbation that does
    not depend on the seed is evaluated once, and its values are repeated in the rows of every seed. Regions are located
    one fraction at a time, because at 7B weights the regions of all fractions would not fit in memory. ``regions.csv``
    lists the regions.

    Raises:
        LangcoreError: invalid or unsupported settings.
    """
    started = time.monotonic()
    job, chosen, output = settings.job, settings.region, settings.output
    assert isinstance(job, PerturbJob)
    this = prepare.begin(settings)
    fabric = make_fabric(settings.trainer)
    tokenizer = loading.load_tokenizer(this.base_path)
    model = loading.load_model(this.base_path, settings.model.dtype, settings.model.attention)
    model.to(fabric.device)  # type: ignore[arg-type]
    results = Results(
        output,
        experiment=settings.name,
        seed=settings.seed,
        model={"name": settings.model.name, "num_weights": sum(p.numel() for p in model.parameters())},
        region={"score": chosen.score, "granularity": chosen.granularity, "scope": chosen.scope},
    )
    cached: list[Region] = []

    def outliers_of_model() -> Region:
        if not cached:
            found = outliers.find(this, model, tokenizer)
            results.notes = [outliers.summary(found)]
            cached.append(outlier_region(model, found))
        return cached[0]

    datamodule = texts.make_datamodule(this.settings, this.source, tokenizer)
    evaluator = _Evaluator(model, datamodule.eval_loaders()["test"], fabric)
    results.seconds = evaluator.seconds
    made: dict[Request, Region] = {}
    with logged(settings, "perturb", results):
        add_rows(results, evaluator.evaluate(), stage="base", seed=settings.seed)
        results.write()
        for perturbation in track(_grid(job), "perturbing", unit="perturbations"):
            if perturbation.request not in made:
                made = build(this, _requests(job, perturbation.request.fraction), outliers_of_model)
                _write_regions(made, output / "regions.csv")
            region, request = made[perturbation.request], perturbation.request
            about = request._asdict() | {"method": perturbation.method, "strength": perturbation.strength}
            if request.variant in WITHOUT_FRACTION:
                about["fraction"] = region.meta.get("fraction") or region.fraction
            add_rows(results, evaluator.perturbed(region, perturbation), stage="perturbed", **about)
            results.write()
        results.status = "completed"
    evaluator.seconds["total"] = time.monotonic() - started
    results.write()
    evaluating, perturbing = (evaluator.seconds[name] for name in ("evaluating", "perturbing"))
    say(f"perturbing and restoring took {perturbing / evaluating:.2%} of the time of evaluating")
    _draw(results, output)
    return results


class _Evaluator:
    """Perturbs, evaluates and restores one model; equal perturbations are evaluated once."""

    def __init__(self, model: PreTrainedModel, loaders: Mapping[str, Any], fabric: Fabric) -> None:
        self.seconds = {"evaluating": 0.0, "perturbing": 0.0}
        self._model = model
        self._loaders = loaders
        self._fabric = fabric
        self._known: dict[tuple[Any, ...], Figures] = {}

    def evaluate(self) -> Figures:
        """The measured values of the current model."""
        with timed(self.seconds, "evaluating"):
            return evaluate_languages(self._model, self._loaders, self._fabric)

    def perturbed(self, region: Region, perturbation: Perturbation) -> Figures:
        """The measured values of the perturbed model; its weights are restored bit by bit afterwards."""
        method, seed = perturbation.method, perturbation.request.seed
        strength = 1.0 if perturbation.strength is None else perturbation.strength
        with timed(self.seconds, "perturbing"):
            noise = seed if method == "reinit" else None
            key = (region.digest(), method, strength, noise)
        if key not in self._known:
            with timed(self.seconds, "perturbing"):
                undo = perturb_(self._model, region, method, strength, seed)  # type: ignore[arg-type]
            try:
                self._known[key] = self.evaluate()
            finally:
                with timed(self.seconds, "perturbing"):
                    undo.restore()
        return self._known[key]


def _requests(job: PerturbJob, fraction: float) -> list[Request]:
    """Requests of one fraction; variants without a fraction are requested with the first fraction only."""
    own = [Request(variant, fraction, seed) for variant in job.variants for seed in job.seeds]
    if fraction == job.fractions[0]:
        return own
    return [request for request in own if request.variant not in WITHOUT_FRACTION]


def _grid(job: PerturbJob) -> list[Perturbation]:
    return [
        Perturbation(request, entry.method, entry.strength)
        for fraction in job.fractions
        for entry in job.perturbations
        for request in _requests(job, fraction)
    ]


def _write_regions(made: Mapping[Request, Region], path: Path) -> None:
    """Append the regions of one fraction to ``regions.csv``."""
    header = "variant,fraction,seed,num_weights,num_candidates,num_ties\n"
    before = path.read_text(encoding="utf-8") if path.exists() else header
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
