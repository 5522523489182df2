"""Run the experiments of the README's tables and print the tables, whether or not the claims hold.

    python benchmarks/claims.py --seeds 0 1 2
    python benchmarks/claims.py --seeds 0 1 2 --claim scores         perturbation by every score, without training
    python benchmarks/claims.py --seeds 0 1 2 --text FOLDER          your own text instead of the phrasebook

Each seed is that of the run, the base and the locating together. recovery: core, random and peripheral are perturbed;
core and random recover frozen and free. scores: for every score with a core end, 5 % of the weights are re-initialised
at strength 2 in core, random, peripheral and the magnitude-matched control (random weights of the core's magnitudes).
Further overrides are passed to every command, as in `-- perturbation.strength=3`.
"""

import argparse
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_langcore.importance.scores import SCORES
from lightning_langcore.plots import damage_bars, recovery_curves
from lightning_langcore.results.conditions import Point, points
from lightning_langcore.results.cost_of_freezing import cost_of_freezing
from lightning_langcore.results.record import Results, find_runs

ROOT = Path(__file__).parents[1]
KINDS = ("core", "random", "peripheral")
ORDERINGS = (("core", "random"), ("random", "peripheral"), ("core", "matched"))


def finished(sweep: Path) -> bool:
    """Whether the sweep exists and every run of it is completed."""
    if not (sweep / "report.html").exists():
        return False
    return all(Results.load(path).status == "completed" for path in find_runs([sweep]))


def run(seed: int, folder: Path, overrides: Sequence[str]) -> None:
    """Make the five runs of one seed, unless they exist."""
    common = [f"seed={seed}", f"model.base.seed={seed}", *overrides]
    conditions = [("recovery_frozen,recovery_unfrozen", "core,random"), ("recovery_unfrozen", "peripheral")]
    for number, (experiments, kinds) in enumerate(conditions):
        target = folder / f"seed{seed}-{number}"
        if not finished(target):
            command = [sys.executable, str(ROOT / "train.py"), "-m", f"+experiment={experiments}", f"region={kinds}"]
            subprocess.run([*command, f"hydra.sweep.dir={target}", "job.save_model=false", *common], check=True)


def run_scores(seed: int, folder: Path, overrides: Sequence[str]) -> Path:
    """Make one sweep over all scores for one seed, unless it exists, and return its folder."""
    target = folder / f"scores-seed{seed}"
    if not finished(target):
        command = [sys.executable, str(ROOT / "train.py"), "-m", "+experiment=perturb_core"]
        grid = [f"region.score={','.join(SCORES)}", "job.variants=[core,random,peripheral,matched]"]
        fixed = ["job.fractions=[0.05]", f"hydra.sweep.dir={target}", f"seed={seed}", f"model.base.seed={seed}"]
        subprocess.run([*command, *grid, *fixed, *overrides], check=True)
    return target


def scores(runs: Sequence[Results]) -> None:
    """Claim 3: for each score, the orderings in every language and seed, and the pairs in which one fails."""
    heads = [*(f"{a} > {b}" for a, b in ORDERINGS)]
    print(f"\n| score | intact | core | matched | random | peripheral | {' | '.join(heads)} |\n" + "|---" * 9 + "|")
    broken = []
    for score in SCORES:
        values: dict[str, dict[tuple[str, int], float]] = {}
        for p in points([run for run in runs if run.region and run.region["score"] == score]):
            values.setdefault("base" if p.stage == "base" else p.condition.kind, {})[p.lang, p.seed] = p.nats
        kinds = ("base", "core", "matched", "random", "peripheral")
        cells = [f"{math.exp(statistics.fmean(values[kind].values())):.4g}" for kind in kinds]
        for high, low in ORDERINGS:
            pairs = [pair for pair, nats in values[high].items() if not nats > values[low][pair]]
            cells.append(f"{len(values[high]) - len(pairs)} of {len(values[high])}")
            broken += [f"{score}: {high} > {low} fails in " + ", ".join(f"{a}/{b}" for a, b in pairs)] * bool(pairs)
        print(f"| {score} | {' | '.join(cells)} |")
    print("\nGeometric means over languages and seeds; counts are of (language, seed) pairs.")
    print("\n".join(["", *broken]))


def damage(measured: Sequence[Point]) -> None:
    """Claim 1: perplexity after the perturbation, core compared with random and peripheral."""
    languages = list(dict.fromkeys(p.lang for p in measured))
    values: dict[tuple[str, str], dict[int, float]] = {}
    for p in measured:
        if p.stage in ("base", "perturbed"):
            values.setdefault((p.lang, "base" if p.stage == "base" else p.condition.kind), {})[p.seed] = p.nats
    print("\n| language | intact | core | random | peripheral | core / random, by seed |\n|---|---|---|---|---|---|")
    wins = {kind: [0, 0] for kind in KINDS[1:]}
    for lang in languages:
        cells = [f"{math.exp(statistics.fmean(values[lang, kind].values())):.4g}" for kind in ("base", *KINDS)]
        ratios = [math.exp(nats - values[lang, "random"][seed]) for seed, nats in sorted(values[lang, "core"].items())]
        for kind, count in wins.items():
            for seed, nats in values[lang, "core"].items():
                count[0] += nats > values[lang, kind][seed]
                count[1] += 1
        print(f"| {lang} | {' | '.join(cells)} | {', '.join(f'{r:.2f}' for r in ratios)} |")
    for kind, (won, of) in wins.items():
        print(f"\ncore > {kind} in {won} of {of} (language, seed) pairs")


def cost(runs: Sequence[Results]) -> None:
    """Claim 2: cost of freezing (perplexity frozen / free) of core and random, and their ratio by seed."""
    costs = cost_of_freezing(runs)
    print("\n| language | core, frozen / free | random, frozen / free | core / random (by seed) |\n|---|---|---|---|")
    trained = {"zh": "zh (trained)"}
    for lang in dict.fromkeys(p.lang for p in costs):
        of_language = [p for p in costs if p.lang == lang]
        core, random = (
            next(p for p in of_language if p.control is None and p.region.startswith(k)) for k in ("core", "random")
        )
        against = next(p for p in of_language if p.control is not None)
        seeds = ", ".join(f"{math.exp(n):.3f}" for _, n in sorted(against.nats.items()))
        cells = [f"{p.ratio:.3f} ({math.exp(p.low):.3f}-{math.exp(p.high):.3f})" for p in (core, random)]
        print(f"| {trained.get(lang, lang)} | {cells[0]} | {cells[1]} | {against.ratio:.3f} ({seeds}) |")


def main() -> None:
    """Run what is missing, print both tables in Markdown, and draw the figures into the folder of the runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--claim", choices=("recovery", "scores"), default="recovery")
    parser.add_argument("--text", type=Path, help="folder of <lang>.txt; by default the phrasebook")
    parser.add_argument("--out", type=Path, default=Path("outputs/claims"))
    parser.add_argument("overrides", nargs="*", help="further overrides for every command")
    options = parser.parse_args()
    overrides = list(options.overrides)
    if options.text:
        overrides += ["data=files", f"data.root={options.text}", "data.num_tokens=40000", "region.recipe.tokens=20000"]
    if options.claim == "scores":
        sweeps = [run_scores(seed, options.out, overrides) for seed in options.seeds]
        scores([Results.load(path) for path in find_runs(sweeps)])
        return
    for seed in options.seeds:
        run(seed, options.out, overrides)
    folders = [options.out / f"seed{seed}-{number}" for seed in options.seeds for number in (0, 1)]
    runs = [Results.load(path) for path in find_runs(folders)]
    damage(points(runs))
    cost(runs)
    recovery_curves(
        [run for run in runs if run.region and run.region["kind"] != "peripheral"], options.out / "recovery.png"
    )
    damage_bars(runs, options.out / "damage.png")


if __name__ == "__main__":
    main()
