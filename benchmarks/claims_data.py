"""Run the experiments on the talk's warnings (one-sided data, many epochs, noise) over seeds, and print the results.

    python benchmarks/claims_data.py --seeds 0 1 2
    python benchmarks/claims_data.py --seeds 0 1 2 --claim noise --text FOLDER      your own text, for mix and noise

Each seed is that of the run, the base and the locating together. mix: 0, 1, 5 and 10 general tokens to one of Chinese.
adapt: a language that the base has not seen, with all weights free, mixed, or with core or random weights frozen.
epochs: 1, 3 and 10 epochs on 500 documents or conversations. noise: bursts at several rates, the bursts that the
monitor catches, and `skip` compared with a clean run of as many accepted steps. Further overrides are passed to every
command, as in `-- optimizer.lr=1e-3`.
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lightning_langcore.reports import page
from lightning_langcore.results.effects import change, clean_partners, drift, gain, loss, setting, spread_of
from lightning_langcore.results.record import Results, find_runs
from lightning_langcore.results.trajectories import time_to_recover

ROOT = Path(__file__).parents[1]
FRACTIONS = {"adapt_frozen": "0.01,0.05,0.2,0.5", "adapt_frozen_random": "0.2,0.5"}
CLAIMS = ("mix", "adapt", "epochs", "noise")
Group = tuple[str, list[Results]]


def sweep(target: Path, *overrides: str) -> list[Results]:
    """Make one sweep, unless it exists, and return its runs."""
    if not (target / "report.html").exists():
        command = [sys.executable, str(ROOT / "train.py"), "-m", f"hydra.sweep.dir={target}", "job.save_model=false"]
        subprocess.run([*command, *overrides], check=True)
    return [Results.load(path) for path in find_runs([target])]


def grouped(runs: Iterable[Results], name: Callable[[Results], str]) -> list[Group]:
    """Runs grouped by name, in the order in which the names first appear."""
    found: dict[str, list[Results]] = {}
    for run in runs:
        found.setdefault(name(run), []).append(run)
    return list(found.items())


def table(title: str, groups: Sequence[Group], columns: dict[str, Callable[[list[Results]], str]]) -> None:
    """Print one Markdown table with a row for each group."""
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n" + "|---" * (len(columns) + 1) + "|")
    for name, runs in groups:
        print(f"| {name} | {' | '.join(cell(runs) for cell in columns.values())} |")


def ratio(group: str) -> Callable[[list[Results]], str]:
    """Cell of final / base perplexity: geometric mean over languages and seeds, and the range over seeds."""
    return over(lambda run: change(run, group), lambda nats: f"{math.exp(nats):.3f}")


def over(measured: Callable[[Results], float | None], write: Callable[[float], str]) -> Callable[[list[Results]], str]:
    """Cell of mean and range over seeds; an en dash where nothing is measured."""

    def cell(runs: list[Results]) -> str:
        found = spread_of(runs, measured)
        return "–" if found is None else f"{write(found.mean)} ({write(found.low)}-{write(found.high)})"

    return cell


DRIFT = {
    "core moved": over(lambda run: drift(run, "region"), "{:.1%}".format),
    "rest moved": over(lambda run: drift(run, "rest"), "{:.1%}".format),
}


def condition(run: Results) -> str:
    """Name of the experiment and of the frozen region."""
    region = run.region or {}
    return run.experiment + (
        "" if run.guard is None else f", {region.get('fraction', 0):.0%} {region.get('kind')} frozen"
    )


def mix(folder: Path, seed: int, overrides: Sequence[str]) -> list[Results]:
    """Runs with 0, 1, 5 and 10 general tokens to one."""
    return sweep(folder / f"mix-{seed}", "+experiment=mix_ratio", *overrides)


def print_mix(runs: Sequence[Results]) -> None:
    """Print final / base perplexity of Chinese and of all other languages."""
    groups = grouped(runs, lambda run: f"general x{round(setting(run, 'ratio'))}")
    table("Mix: final / base perplexity", groups, {"target": ratio("target"), "others": ratio("others"), **DRIFT})


def adapt(folder: Path, seed: int, overrides: Sequence[str]) -> list[Results]:
    """Runs with all weights free, mixed, and frozen at several fractions."""
    runs = sweep(folder / f"adapt-{seed}", "+experiment=adapt_free,adapt_mixed", *overrides)
    for name, fractions in FRACTIONS.items():
        runs += sweep(folder / f"{name}-{seed}", f"+experiment={name}", f"region.fraction={fractions}", *overrides)
    return runs


def print_adapt(runs: Sequence[Results]) -> None:
    """Print the gain of the new language and the loss of the old ones, in bits per byte."""
    columns = {"gain, new": over(gain, "{:.3f}".format), "loss, old": over(loss, "{:.3f}".format), **DRIFT}
    table("Adapting: bits per byte", grouped(runs, condition), columns)


def epochs(folder: Path, seed: int, overrides: Sequence[str]) -> list[Results]:
    """Runs of fine-tuning and pretraining with 1, 3 and 10 epochs."""
    runs = sweep(folder / f"sft-epochs-{seed}", "+experiment=sft_epochs", *overrides)
    free = "callbacks=default"
    return runs + sweep(folder / f"pretrain-epochs-{seed}", "+experiment=pretrain_epochs", free, *overrides)


def print_epochs(runs: Sequence[Results]) -> None:
    """Print perplexity of held-out answers or text of the target and of general text, and drift."""

    def name(run: Results) -> str:
        return (
            f"{condition(run)}, {round(setting(run, 'epochs'))} epoch(s)"
            if "epochs" in run.experiment
            else condition(run)
        )

    columns = {"answers": ratio("answers"), "text, target": ratio("target"), "text, others": ratio("others"), **DRIFT}
    table("Epochs and fine-tuning: final / base perplexity", grouped(runs, name), columns)


def noise(folder: Path, seed: int, overrides: Sequence[str]) -> list[Results]:
    """Runs at several rates without a guard, and with ``skip`` a clean run of as many accepted steps."""
    runs = []
    for kind, rates in (("repeat", "0,0.1,0.5"), ("nonword", "0.1,0.5")):  # at rate 0 both kinds give the same run
        common = [f"+experiment=noise_{kind}", "callbacks=default", *overrides]
        runs += sweep(folder / f"noise-{kind}-{seed}", *common, f"noise.rate={rates}")
        action = "callbacks.noise_sensitivity.action=skip"
        skipped = sweep(folder / f"skip-{kind}-{seed}", *common, "noise.rate=0.1", action)
        steps = skipped[0].monitor["num_steps"] - skipped[0].monitor["num_skipped"]
        clean = sweep(folder / f"clean-{kind}-{seed}", *common, "noise.rate=0", f"+trainer.max_steps={steps}")
        clean[0].experiment += ", as many steps as skip accepts"
        runs += skipped + clean
    return runs


def print_noise(runs: Sequence[Results]) -> None:
    """Print final perplexity, bursts caught, and documents until recovery."""

    def name(run: Results) -> str:
        return f"{run.experiment}, {setting(run, 'noise.rate'):.0%}, {run.monitor['action']}"

    def counted(key: str, of: str) -> Callable[[list[Results]], str]:
        def cell(some: list[Results]) -> str:
            total = sum(run.monitor[of] for run in some)
            return f"{sum(run.monitor[key] for run in some)} of {total}"

        return cell

    partners = clean_partners(runs)

    def recovered(some: list[Results]) -> str:
        found = [time_to_recover(run, partners.get(id(run))) for run in some]
        return ", ".join("–" if value is None else "never" if math.isinf(value) else f"{value:.0f}" for value in found)

    columns = {
        "perplexity": ratio("target"),
        **DRIFT,
        "bursts caught": counted("num_caught", "num_tagged"),
        "false alarms": counted("num_false_alarms", "num_clean_steps"),
        "documents to recover": recovered,
    }
    table("Noise: final / base perplexity of all languages", grouped(runs, name), columns)


def main() -> None:
    """Run what is missing, print the tables, and write one report for each claim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--claim", choices=CLAIMS, nargs="+", default=CLAIMS)
    parser.add_argument("--text", type=Path, help="folder of <lang>.txt; by default the phrasebook")
    parser.add_argument("--out", type=Path, default=Path("outputs/claims_data"))
    parser.add_argument("overrides", nargs="*", help="further overrides for every command")
    options = parser.parse_args()
    overrides = list(options.overrides)
    if options.text:
        overrides += ["data=files", f"data.root={options.text}", "region.recipe.tokens=20000", "data.max_epochs=4"]
    for claim in options.claim:
        runs: list[Results] = []
        for seed in options.seeds:
            own = [f"seed={seed}", f"model.base.seed={seed}", *overrides]
            runs += globals()[claim](options.out, seed, own)
        globals()[f"print_{claim}"](runs)
        page.write_html(runs, options.out / f"{claim}.html")


if __name__ == "__main__":
    main()
