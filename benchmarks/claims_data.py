"""Run the experiments on the talk's warnings (one-sided data, many epochs, noise); write the tables to result files.

    python benchmarks/claims_data.py --seeds 0 1 2                                              all claims
    python benchmarks/claims_data.py --seeds 0 1 2 --claim mix noise --text FOLDER --name mine  your own text

Each seed is that of the run, the base and the locating together. mix: 0, 1, 5 and 10 general tokens to one of Chinese.
adapt: a language that the base has not seen, with all weights free, mixed, or with core or random weights frozen.
epochs: 1, 3 and 10 epochs on 500 documents or conversations. sft: fine-tuning free, with the core frozen, and mixed.
noise: bursts at several rates, the bursts that the monitor catches, and `skip` compared with a clean run of as many
accepted steps. instruction: noise in the instructions of fine-tuning. Further overrides are passed to every command, as
in ``--name fast -- optimizer.lr=1e-3``.

An interrupted command continues where it stopped if it is given again: completed runs are not run again. The result
files are written as soon as a claim has all its seeds.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from claim_runs import claim_folder, named, options_of, sweep, text_of
from result_files import Table, write_result

from lightning_langcore.plots import noise_trajectories, tradeoff_curves
from lightning_langcore.reports import page
from lightning_langcore.results.effects import change, clean_partners, drift, gain, loss, setting, spread_of
from lightning_langcore.results.record import Results
from lightning_langcore.results.trajectories import time_to_recover

FRACTIONS = {"adapt_frozen": "0.01,0.05,0.2,0.5", "adapt_frozen_random": "0.2,0.5"}
TEXT_SETTINGS = ("region.recipe.tokens=20000", "data.max_epochs=4")
"""Overrides for text of one's own, of which there may be little."""
KINDS = {"repeat": "a word repeated", "nonword": "no words", "instruction": "mangled or foreign instructions"}

Runs = Sequence[Results]


class Column(NamedTuple):
    """A column of a table: its format, and its cell from the runs of a row."""

    form: str
    cell: Callable[[Runs], float | str | list[float] | None]


def over(measured: Callable[[Results], float | None], form: str, scale: Callable[[float], float] = float) -> Column:
    """Mean and range over seeds, each passed through ``scale``; ``None`` where nothing is measured."""

    def cell(runs: Runs) -> list[float] | None:
        found = spread_of(runs, measured)
        return None if found is None else [scale(value) for value in (found.mean, found.low, found.high)]

    return Column(f"{form} ({form}-{form})", cell)


def ratio(group: str, form: str = "{:.3f}") -> Column:
    """Final / base perplexity: geometric mean over languages and seeds, and the range over seeds."""
    return over(lambda run: change(run, group), form, math.exp)


CORE_MOVED = {"core moved": over(lambda run: drift(run, "region"), "{:.1%}")}
MOVED = {**CORE_MOVED, "rest moved": over(lambda run: drift(run, "rest"), "{:.1%}")}


def table(
    runs: Iterable[Results], first: str, name: Callable[[Results], str | int], columns: Mapping[str, Column]
) -> Table:
    """A row for each group of runs with the same name, in the order in which the names first appear."""
    groups: dict[str | int, list[Results]] = {}
    for run in runs:
        groups.setdefault(name(run), []).append(run)
    made = Table({first: "{}"} | {title: column.form for title, column in columns.items()})
    for group, own in groups.items():
        made.add(group, *(column.cell(own) for column in columns.values()))
    return made


def frozen(run: Results) -> str:
    """Which weights a run has frozen, and what it has mixed in."""
    if run.guard is not None:
        region = run.region or {}
        return f"{region.get('kind')} frozen, {region.get('fraction', 0):.0%}"
    return "free, five times as much general text mixed in" if run.experiment.endswith("_mixed") else "all free"


def mix(folder: Path, seed: int, overrides: Sequence[str]) -> list[Results]:
    """Runs with 0, 1, 5 and 10 general tokens to one."""
    return sweep(folder / f"mix-{seed}", "+experiment=mix_ratio", *overrides)


def mix_tables(runs: Runs) -> dict[str, Table]:
    """Final / base perplexity of Chinese and of all other languages."""
    columns = {"target": ratio("target"), "others": ratio("others"), **MOVED}
    return {"mix": table(runs, "general tokens to one", lambda run: round(setting(run, "ratio")), columns)}


def adapt(folder: Path, seed: int, overrides: Sequence[str]) -> list[Results]:
    """Runs with all weights free, mixed, and frozen at several fractions."""
    runs = sweep(folder / f"adapt-{seed}", "+experiment=adapt_free,adapt_mixed", *overrides)
    for name, fractions in FRACTIONS.items():
        runs += sweep(folder / f"{name}-{seed}", f"+experiment={name}", f"region.fraction={fractions}", *overrides)
    return runs


def adapt_tables(runs: Runs) -> dict[str, Table]:
    """The gain of the new language and the loss of the old ones, in bits per byte."""
    columns = {"gain, new": over(gain, "{:.2f}"), "loss, old": over(loss, "{:.3f}"), **MOVED}
    return {"adapt": table(runs, "condition", frozen, columns)}


def epochs(folder: Path, seed: int, overrides: Sequence[str]) -> list[Results]:
    """Runs of fine-tuning and pretraining with 1, 3 and 10 epochs."""
    runs = sweep(folder / f"sft-epochs-{seed}", "+experiment=sft_epochs", *overrides)
    free = "callbacks=default"
    return runs + sweep(folder / f"pretrain-epochs-{seed}", "+experiment=pretrain_epochs", free, *overrides)


def epochs_tables(runs: Runs) -> dict[str, Table]:
    """Perplexity of held-out answers or text of the target and of general text, and drift."""

    def number(run: Results) -> int:
        return round(setting(run, "epochs"))

    tuned = [run for run in runs if run.experiment.startswith("sft")]
    pretrained = [run for run in runs if not run.experiment.startswith("sft")]
    answers = {"answers": ratio("answers"), "general text": ratio("target", "{:.2f}"), **CORE_MOVED}
    text = {"text of the target": ratio("target"), "general text": ratio("others", "{:.2f}"), **CORE_MOVED}
    return {
        "epochs_fine_tuning": table(tuned, "epochs", number, answers),
        "epochs_pretraining": table(pretrained, "epochs", number, text),
    }


def sft(folder: Path, seed: int, overrides: Sequence[str]) -> list[Results]:
    """Runs of fine-tuning with all weights free, with the core frozen, and mixed."""
    return sweep(folder / f"sft-{seed}", "+experiment=sft,sft_guarded,sft_mixed", *overrides)


def sft_tables(runs: Runs) -> dict[str, Table]:
    """Perplexity of held-out answers and of general text."""
    columns = {"answers": ratio("answers"), "general text": ratio("target", "{:.2f}"), **MOVED}
    return {"fine_tuning_conditions": table(runs, "fine-tuning", frozen, columns)}


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


def noise_name(run: Results) -> str:
    """Kind and rate of the noise, and ``action=skip``."""
    first, _, clean = run.experiment.partition(", ")
    kind, rate = KINDS[first.removeprefix("noise_")], setting(run, "noise.rate")
    if clean:
        return f"clean, as many steps as skip accepts ({kind})"
    skip = ", action=skip" if run.monitor and run.monitor["action"] == "skip" else ""
    return f"{kind}, {rate:.0%}{skip}" if rate else "none"


def counted(key: str, of: str) -> Column:
    """A count of the monitor, and the number of cases, summed over seeds; ``None`` without cases."""

    def cell(some: Runs) -> list[float] | None:
        total = sum(run.monitor[of] for run in some if run.monitor)
        return [sum(run.monitor[key] for run in some if run.monitor), total] if total else None

    return Column("{:,} of {:,}", cell)


def noise_tables(runs: Runs) -> dict[str, Table]:
    """Final perplexity, bursts caught, false alarms, and documents until recovery by seed."""
    partners = clean_partners(runs)

    def recovered(some: Runs) -> str:
        found = [time_to_recover(run, partners.get(id(run))) for run in some]
        return ", ".join("–" if value is None else "never" if math.isinf(value) else f"{value:.0f}" for value in found)

    columns = {
        "all languages": ratio("target"),
        **CORE_MOVED,
        "bursts caught": counted("num_caught", "num_tagged"),
        "false alarms": counted("num_false_alarms", "num_clean_steps"),
        "documents to recover, by seed": Column("{}", recovered),
    }
    return {"noise": table(runs, "noise", noise_name, columns)}


def instruction(folder: Path, seed: int, overrides: Sequence[str]) -> list[Results]:
    """Runs of fine-tuning with noise in the instructions, without a guard."""
    common = ["+experiment=noise_instruction", "callbacks=default", *overrides]
    return sweep(folder / f"noise-instruction-{seed}", *common, "noise.rate=0,0.1,0.5")


def instruction_tables(runs: Runs) -> dict[str, Table]:
    """Perplexity of held-out answers and of general text, final / base."""
    columns = {"answers": ratio("answers"), "general text": ratio("target", "{:.2f}"), **CORE_MOVED}
    return {"noise_instruction": table(runs, "noise", noise_name, columns)}


CLAIMS = {
    "mix": (mix, mix_tables),
    "adapt": (adapt, adapt_tables),
    "epochs": (epochs, epochs_tables),
    "sft": (sft, sft_tables),
    "noise": (noise, noise_tables),
    "instruction": (instruction, instruction_tables),
}
FIGURES = {"adapt": ("adapting.png", tradeoff_curves), "noise": ("noise.png", noise_trajectories)}


def main() -> None:
    """Run what is missing, print the tables, write the result files, and a report for each claim."""
    options = options_of(__doc__, tuple(CLAIMS), "outputs/claims_data")
    text = text_of(options)
    overrides = ["job.save_model=false", *options.overrides]
    if options.text:
        overrides += ["data=files", f"data.root={Path(options.text).resolve()}", *TEXT_SETTINGS]
    for claim in options.claim:
        commits = claim_folder(options.out, text)
        make, tables_of = CLAIMS[claim]
        runs: list[Results] = []
        for seed in options.seeds:
            runs += make(options.out, seed, [f"seed={seed}", f"model.base.seed={seed}", *overrides])
        tables = {named(name, options): made for name, made in tables_of(runs).items()}
        for name, made in tables.items():
            print(f"\n{name}\n\n{made.markdown()}")
        page.write_html(runs, options.out / f"{claim}.html")
        if claim in FIGURES:
            file, draw = FIGURES[claim]
            draw(runs, options.out / file)
        more = {"seeds": options.seeds, "text": text, "settings": {"overrides": overrides, "runs_made_at": commits}}
        write_result(named(claim, options), tables, options.results, **more)


if __name__ == "__main__":
    main()
