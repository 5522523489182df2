"""Cost of each callback per training step.

    python benchmarks/callbacks.py                  one thread; 24 M weights at 256 tokens, and the tiny default's model
    python benchmarks/callbacks.py --device cuda

Two trainings under Lightning, one with the callback and one without, alternate in one process, a step each. The table
shows the median over rounds of (step with the callback) / (plain step of the same round), the mean time in the
callback's hooks, and 1 + that time divided by the mean plain step. The mean includes work that happens in some steps
only: WeightDiff compares in every 50th step, so choose a multiple of 50 as the number of rounds. On a GPU the time in
hooks includes waiting for the device, not the kernels that the hooks launch.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from monitor import CASES
from pairs import Turns
from result_files import Table, add_results_option, write_result

from lightning_langcore import CoreGuard, MultilingualPerplexity, NoiseSensitivity, Region, WeightDiff, random_region
from lightning_langcore.callbacks import PlainProgress
from lightning_langcore.jobs.steps.trainer import quiet
from lightning_langcore.models.parameters import candidates, named_shapes

WARM_UP = 2
HOOKS = ("on_train_batch_start", "on_before_backward", "on_before_optimizer_step", "on_train_batch_end", "restore")


class Clock:
    """Sum of the time inside the hooks of a callback that run at each step, in seconds."""

    def __init__(self, callback: Callback) -> None:
        self.seconds = 0.0
        for name in HOOKS:
            if name in vars(type(callback)):
                setattr(callback, name, self._timed(getattr(callback, name)))

    def _timed(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            started = time.perf_counter()
            result = hook(*args)
            self.seconds += time.perf_counter() - started
            return result

        return timed


def make_callbacks(shapes: dict[str, tuple[int, ...]], batch: dict[str, Any], folder: Path) -> dict[str, Callback]:
    """Callbacks with their default settings, by the name in the table."""

    def region(fraction: float) -> Region:
        return random_region(candidates(shapes), fraction, 0)

    return {
        "WeightDiff, every 50 steps": WeightDiff(),
        "CoreGuard, 1 %": CoreGuard(region(0.01)),
        "CoreGuard, 5 %": CoreGuard(region(0.05)),
        "MultilingualPerplexity between milestones": MultilingualPerplexity({"en": [batch]}),
        "NoiseSensitivity": NoiseSensitivity(dirpath=folder),
        "PlainProgress": PlainProgress(),
    }


def measure(model: str, name: str, options: argparse.Namespace, folder: Path) -> tuple[float, ...]:
    """Plain step in ms, ratio, own time in ms, and 1 + share."""
    make, rows, tokens = CASES[model]
    document = json.dumps([{"source": "a", "language": "en", "document": "0123456789abcdef"}] * 2)
    example = make("cpu")
    shape = (options.rounds + WARM_UP + 1, rows, tokens)
    ids = torch.randint(0, example.config.vocab_size, shape, generator=torch.Generator().manual_seed(1))
    fixed = {"documents": [document] * rows, "num_documents": torch.ones(rows, dtype=torch.int64)}
    batches = [{"input_ids": i, "shift_labels": i, **fixed} for i in ids.to(options.device)]
    callback = make_callbacks(named_shapes(example), batches[0], folder)[name]
    clock = Clock(callback)
    runs = [Turns(make(options.device), batches, more, folder) for more in ([], [callback])]
    for number in range(options.rounds + WARM_UP):
        if number == WARM_UP:
            clock.seconds = 0.0
        for run in runs[number % 2 :] + runs[: number % 2]:  # neither is always the first
            run.step()
    own = clock.seconds / options.rounds
    for run in runs:
        run.finish()
    plain, attached = (run.seconds[WARM_UP:] for run in runs)
    ratio = statistics.median(a / b for a, b in zip(attached, plain, strict=True))
    step = statistics.mean(plain)
    return 1e3 * step, ratio, 1e3 * own, 1 + own / step


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--models", nargs="+", default=list(CASES), choices=list(CASES))
    add_results_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU"
    print(f"torch {torch.__version__}, {device}, {options.threads} thread(s), {options.rounds} rounds\n")
    columns = {"plain step, ms": "{:.1f}", "ratio": "{:.3f}", "own, ms a step": "{:.2f}", "1 + share": "{:.3f}"}
    table = Table({"model": "{}", "callback": "{}", **columns})
    print(table.head())
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            for name in make_callbacks(named_shapes(CASES[model][0]("cpu")), {}, Path(folder)):
                print(table.add(model, name, *measure(model, name, options, Path(folder))), flush=True)
    settings = {"device": options.device, "threads": options.threads, "rounds": options.rounds}
    write_result("callbacks", {"callbacks": table}, options.results, settings=settings)


if __name__ == "__main__":
    main()
