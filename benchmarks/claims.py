"""Run the experiments on damage, recovery and scores; print the tables and write them to result files.

    python benchmarks/claims.py --seeds 0 1 2                                  all claims
    python benchmarks/claims.py --seeds 0 1 2 --claim recovery                 damage and cost of freezing
    python benchmarks/claims.py --seeds 0 1 2 --text FOLDER --name my_text     your own text instead of the phrasebook

Each seed is that of the run, the base and the locating together. recovery: core, random and peripheral are perturbed;
core and random recover frozen and free. scores: for every score with a core end, 5 % of the weights are re-initialised
at strength 2 in core, random, peripheral and the magnitude-matched control (random weights of the core's magnitudes).
grid: regions of several sizes. monolingual: regions of single languages. baselines: the base models and n-gram models.
Further overrides are passed to every command, as in ``--name strong -- perturbation.strength=3``.

Nothing depends on whether the claims hold. An interrupted command continues where it stopped if it is given again:
completed runs are not run again. The result files are written as soon as a claim has all its seeds.
"""

import argparse
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import claim_tables
from claim_runs import claim_folder, named, options_of, sweep, text_of
from result_files import ROOT, Table, write_result

from lightning_langcore.importance.scores import SCORES
from lightning_langcore.plots import damage_bars, recovery_curves
from lightning_langcore.results.record import Results

MONOLINGUAL = "job.variants=[mono:es,mono:ru,mono:ar,mono:zh,mono:ko,mono:vi]"
TEXT_SETTINGS = ("data.num_tokens=40000", "region.recipe.tokens=20000")
"""Overrides for text of one's own, of which there may be little."""

Overrides = Sequence[str]


def recovery(options: argparse.Namespace, by_seed: Mapping[int, Overrides]) -> dict[str, Table]:
    """Damage and cost of freezing; draws ``recovery.png`` and ``damage.png`` into the folder of the runs."""
    runs: list[Results] = []
    conditions = [("recovery_frozen,recovery_unfrozen", "core,random"), ("recovery_unfrozen", "peripheral")]
    for seed, own in by_seed.items():
        for number, (experiments, kinds) in enumerate(conditions):
            grid = [f"+experiment={experiments}", f"region={kinds}", "job.save_model=false"]
            runs += sweep(options.out / f"seed{seed}-{number}", *grid, *own)
    shown = [run for run in runs if run.region and run.region["kind"] != "peripheral"]
    recovery_curves(shown, options.out / "recovery.png")
    damage_bars(runs, options.out / "damage.png")
    tables = {**claim_tables.damage(runs), "recovery_cost": claim_tables.cost(runs)}
    return tables if options.name else {"readme": claim_tables.readme(runs), **tables}


def scores(options: argparse.Namespace, by_seed: Mapping[int, Overrides]) -> dict[str, Table]:
    """Damage to the regions of every score; prints the pairs in which an ordering fails."""
    grid = [f"region.score={','.join(SCORES)}", "job.variants=[core,random,peripheral,matched]"]
    fixed = ["+experiment=perturb_core", *grid, "job.fractions=[0.05]"]
    runs = [run for seed, own in by_seed.items() for run in sweep(options.out / f"scores-seed{seed}", *fixed, *own)]
    table, broken = claim_tables.scores(runs)
    print("\n".join(broken))
    return {"scores": table}


def grid(options: argparse.Namespace, by_seed: Mapping[int, Overrides]) -> dict[str, Table]:
    """Damage to regions of several sizes; copies the figure of the first seed to the folder of the runs."""
    runs: list[Results] = []
    for seed, own in by_seed.items():
        runs += sweep(options.out / f"grid-seed{seed}", "+experiment=perturb_core", *own)
    shutil.copyfile(runs[0].folder / "plots" / "damage.png", options.out / "perturbation.png")
    return claim_tables.grid(runs)


def monolingual(options: argparse.Namespace, by_seed: Mapping[int, Overrides]) -> dict[str, Table]:
    """Overlap of the regions of single languages, and damage to the monolingual regions."""
    perturbed: list[Results] = []
    located: list[Results] = []
    for seed, own in by_seed.items():
        fixed = ["+experiment=perturb_core", MONOLINGUAL, "job.fractions=[0.05]"]
        perturbed += sweep(options.out / f"monolingual-seed{seed}", *fixed, *own)
        located += sweep(options.out / f"located-seed{seed}", "+experiment=locate_core", *own)
    return claim_tables.monolingual(perturbed, located)


def baselines(options: argparse.Namespace, by_seed: Mapping[int, Overrides]) -> dict[str, Table]:
    """The base models and n-gram models of each language."""
    runs: list[Results] = []
    for seed, own in by_seed.items():
        runs += sweep(options.out / f"baselines-seed{seed}", "+experiment=pretrain_base", *own)
    return claim_tables.baselines(runs)


CLAIMS: dict[str, Callable[[argparse.Namespace, Mapping[int, Overrides]], dict[str, Table]]] = {
    "recovery": recovery,
    "scores": scores,
    "grid": grid,
    "monolingual": monolingual,
    "baselines": baselines,
}


def main() -> None:
    """Run what is missing, print the tables in Markdown, and write the result files and figures."""
    options = options_of(__doc__, tuple(CLAIMS), "outputs/claims")
    text = text_of(options)
    overrides = list(options.overrides)
    if options.text:
        overrides += ["data=files", f"data.root={Path(options.text).resolve()}", *TEXT_SETTINGS]
    by_seed = {seed: [f"seed={seed}", f"model.base.seed={seed}", *overrides] for seed in options.seeds}
    for claim in options.claim:
        commits = claim_folder(options.out, text)
        tables = {named(name, options): table for name, table in CLAIMS[claim](options, by_seed).items()}
        for name, table in tables.items():
            print(f"\n{name}\n\n{table.markdown()}")
        settings = {"overrides": overrides, "runs_made_at": commits}
        more = {"seeds": options.seeds, "text": text, "settings": settings}
        write_result(named(claim, options), tables, options.results, **more)
    print(f"\nfigures: {options.out}; pages: python {(ROOT / 'benchmarks/pages.py').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
