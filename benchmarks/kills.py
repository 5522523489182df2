"""Kill one run many times at random moments, resume it each time, and compare it with an uninterrupted run.

    python benchmarks/kills.py WORK_FOLDER                     20 kills, a LLaMA of 20 000 weights, some minutes
    python benchmarks/kills.py WORK_FOLDER --kills 50 --seed 1

All kills are SIGKILL. A third of them happen while a checkpoint is being written (its temporary file exists), a third a
random time after some further checkpoints, and a third at any moment after the start, including imports and the
restoration of the state. The run trains with the guard, running diffs, the noise monitor and the CSV log. At the end
the weights, optimizer, rows, flagged steps and log must be equal bit for bit. The exit status is 0 if they are, else 1.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from result_files import Table, add_results_option, write_result
from safetensors.torch import load_file

from lightning_langcore.results.record import Results
from lightning_langcore.training.checkpointing import step_of

ROOT = Path(__file__).parents[1]
OVERRIDES = [
    "+experiment=recovery_frozen", "region=random", "job.milestones=[0,50,150]",
    "callbacks=[multilingual_perplexity,checkpoint,weight_diff,noise_sensitivity,core_guard]",
    "callbacks.checkpoint.every_n_train_steps=4", "callbacks.weight_diff.every_n_steps=6",
    "callbacks.noise_sensitivity.threshold=1.0", "callbacks.noise_sensitivity.min_window=4",
    "callbacks.noise_sensitivity.window=8", "trainer.log_every_n_steps=3", "model.vocab_size=400",
    "model.config.hidden_size=32", "model.config.intermediate_size=64", "model.config.num_hidden_layers=2",
    "model.config.num_attention_heads=2", "model.config.num_key_value_heads=2", "model.base.tokens=20000",
    "model.base.tokenizer_documents=50", "data.block_size=64", "data.batch_size=2", "data.max_epochs=99",
    "data.eval_languages=[zh,en]", "data.num_eval_tokens.test=300", "data.num_eval_tokens.validation=100",
]  # fmt: skip


def start(work: Path, name: str, num_steps: int) -> subprocess.Popen[str]:
    """Start the run in its own process, always with the same command."""
    overrides = [*OVERRIDES, f"data.num_tokens={num_steps * 128}", f"hydra.run.dir={name}"]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *overrides],
        cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end of the run and return its stderr.

    Raises:
        RuntimeError: The run failed.
    """
    _, output = process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}: {output[-3000:]}")
    return output


def last_step(folder: Path) -> int:
    """Step of the last checkpoint on disk; 0 if there is none."""
    return max((step_of(path) or 0 for path in folder.glob("checkpoints/step=*.ckpt")), default=0)


def wait_until(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    """Poll twice per millisecond, because a checkpoint of this size is written in milliseconds."""
    while process.poll() is None and not happened():
        time.sleep(0.0005)


def kill_once(
    process: subprocess.Popen[str], folder: Path, rng: random.Random, usual_seconds: float
) -> tuple[str, float]:
    """Kill the run at a moment of a random kind.

    Args:
        process: A run that has just been started.
        folder: The run folder.
        rng: The source of the kind and the moment.
        usual_seconds: Usual time from the start of the process to its first checkpoint.

    Returns:
        The kind of the moment and the seconds after the start.
    """
    begun, before = time.monotonic(), last_step(folder)
    kind = rng.choice(["while writing", "between", "any moment"])
    if kind == "any moment":
        deadline = begun + rng.uniform(0, 1.1 * usual_seconds)
        wait_until(process, lambda: time.monotonic() >= deadline)
    else:
        more = 4 * rng.randint(1, 4)
        wait_until(process, lambda: last_step(folder) >= before + more)
        if kind == "while writing":
            wait_until(process, lambda: any(folder.glob("checkpoints/.*.part")))
        else:
            time.sleep(rng.uniform(0, 0.3))
    process.kill()
    return kind, time.monotonic() - begun


def same(one: Any, other: Any) -> bool:
    """Whether two nested values are equal bit for bit, except for names of folders."""
    if isinstance(one, dict):
        keys = [key for key in one if "dirpath" not in str(key)]
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in keys)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def compare(whole: Path, killed: Path) -> Table:
    """Which results are equal."""
    runs = [Results.load(folder) for folder in (whole, killed)]
    last = f"checkpoints/step={last_step(whole)}.ckpt"
    states = [torch.load(folder / last, weights_only=True) for folder in (whole, killed)]
    equalities = {
        "trained model": same(*(load_file(folder / "model/model.safetensors") for folder in (whole, killed))),
        f"state at step {last_step(whole)}: weights, optimizer, callbacks, data position": same(*states),
        "rows of perplexity": runs[0].perplexity == runs[1].perplexity,
        "guard, drift, text read, monitor": all(
            getattr(runs[0], field) == getattr(runs[1], field) for field in ("guard", "drift", "data", "monitor")
        ),
    }
    for name in ("perplexity.csv", "logs/metrics.csv", "flagged.jsonl"):
        one, other = ((folder / name).read_bytes() for folder in (whole, killed))
        equalities[f"{name} ({len(one.splitlines())} lines)" if one == other else name] = one == other
    columns = {"compared with the uninterrupted run": "{}", "equal": "{}"}
    return Table(columns, [[what, "yes" if equal else "NO"] for what, equal in equalities.items()])


def main() -> None:
    """Parse the arguments, run, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the two runs and their base model; must not exist")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    add_results_option(parser)
    options = parser.parse_args()
    options.work.mkdir(parents=True)
    num_steps = 100 * options.kills
    finish(start(options.work, "whole", num_steps))
    rng, folder, usual_seconds, num_half = random.Random(options.seed), options.work / "killed", 10.0, 0
    moments = {"kill": "{}", "moment": "{}", "seconds": "{:.1f}"}
    steps = {"went on after step": "{}", "last checkpoint": "{}", "one half written": "{}"}
    kills = Table(moments | steps)
    print(kills.head())
    for number in range(options.kills):
        before, begun = last_step(folder), time.monotonic()
        process = start(options.work, "killed", num_steps)
        moment, seconds = kill_once(process, folder, rng, usual_seconds)
        if process.wait() == 0:
            raise SystemExit(f"the run ended before kill {number + 1}")
        if last_step(folder) > before:
            usual_seconds = (time.monotonic() - begun + usual_seconds) / 2
        half = any(folder.glob("checkpoints/.*.part"))
        num_half += half
        row = [number + 1, moment, seconds, before, last_step(folder), "yes" if half else "no"]
        print(kills.add(*row), flush=True)
    output = finish(start(options.work, "killed", num_steps))
    print(next((line for line in output.splitlines() if line.startswith("going on")), "from the beginning"))
    print(f"{options.kills} kills, {num_half} of them left a checkpoint half written; {num_steps} steps in all")
    compared = compare(options.work / "whole", folder)
    print(compared.markdown())
    settings = {"kills": options.kills, "half_written": num_half, "steps": num_steps}
    tables = {"kills": kills, "kills_compared": compared}
    write_result("kills", tables, options.results, seeds=[options.seed], settings=settings)
    sys.exit(1 if any(equal == "NO" for _, equal in compared.rows) else 0)


if __name__ == "__main__":
    main()
