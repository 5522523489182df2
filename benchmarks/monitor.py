"""Cost of NoiseSensitivity per training step.

    python benchmarks/monitor.py                    one thread; 24 M weights at 256 tokens, and the tiny default's model
    python benchmarks/monitor.py --device cuda

The plain step and the monitored step alternate in one process, so that changes in the speed of the machine affect both.
The table shows the median over rounds of (monitored step) / (plain step of the same round); the time inside the
monitor's hooks (on a GPU it includes waiting for the backward pass); the time per step of reading Adam's moments every
50 steps; and 1 + both times divided by the plain step.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from guard import new_model, synchronize
from result_files import Table, add_results_option, write_result
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_langcore.callbacks.noise_sensitivity.callback import NoiseSensitivity
from lightning_langcore.importance.selection import random_region
from lightning_langcore.metrics.functional import labelled_mean, token_nats
from lightning_langcore.models.parameters import candidates, named_shapes

ADAM = 50  # steps between two reads of Adam's moments, the default


def tiny_model(device: str) -> LlamaForCausalLM:
    """A model with the shapes of ``conf/model/tiny.yaml``: 1.1 M weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096, hidden_size=128, intermediate_size=344, num_hidden_layers=3, num_attention_heads=4,
        tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(device).train()


CASES: dict[str, tuple[Callable[[str], LlamaForCausalLM], int, int]] = {
    "24 M weights, 1 x 256 tokens": (new_model, 1, 256),
    "tiny, 8 x 128 tokens": (tiny_model, 8, 128),
}


class Run:
    """A model and its optimizer, plain or with the monitor's hooks."""

    def __init__(self, model: LlamaForCausalLM, monitor: NoiseSensitivity | None) -> None:
        self.model = model
        fused = model.device.type != "mps"
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=fused)
        self.monitor = monitor
        self.trainer: Any = SimpleNamespace(
            global_step=0, world_size=1, global_rank=0, is_global_zero=True, accumulate_grad_batches=1,
            precision_plugin=None, default_root_dir=".",
        )  # fmt: skip
        self.seconds: list[float] = []
        self.own: list[float] = []
        if monitor is not None:
            monitor.on_train_start(self.trainer, model)  # type: ignore[arg-type]

    def step(self, batch: dict[str, Any]) -> None:
        """One whole training step, timed."""
        ids = batch["input_ids"]
        synchronize(ids)
        started = time.perf_counter()
        own = self._hook(lambda m: m.on_train_batch_start(self.trainer, self.model, batch, 0))
        nats = token_nats(self.model(input_ids=ids, use_cache=False).logits, batch["shift_labels"])
        self.model.token_nats = nats.detach()
        loss = labelled_mean(nats, batch["shift_labels"])
        own += self._hook(lambda m: m.on_before_backward(self.trainer, self.model, loss))
        loss.backward()
        own += self._hook(lambda m: m.on_before_optimizer_step(self.trainer, self.model, self.optimizer))
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad()
        synchronize(ids)
        self.trainer.global_step += 1
        self.seconds.append(time.perf_counter() - started)
        self.own.append(own)

    def _hook(self, call: Callable[[Any], None]) -> float:
        if self.monitor is None:
            return 0.0
        started = time.perf_counter()
        call(self.monitor)
        return time.perf_counter() - started


def measure(name: str, options: argparse.Namespace) -> list[list[Any]]:
    """Two rows of the table: without and with a region."""
    make, rows, tokens = CASES[name]
    regions = (None, random_region(candidates(named_shapes(make("cpu"))), 0.05, 0, "element"))
    table_rows = []
    for region in regions:
        monitor = NoiseSensitivity("skip", region=region, adam_every_n_steps=ADAM, statistic=options.statistic)
        runs = [Run(make(options.device), None), Run(make(options.device), monitor)]
        vocab = runs[0].model.config.vocab_size
        generator = torch.Generator().manual_seed(1)
        document = json.dumps([{"source": "a", "language": "en", "document": "0123456789abcdef"}] * 2)
        for number in range(options.rounds + 2):
            ids = torch.randint(0, vocab, (rows, tokens), generator=generator).to(options.device)
            batch = {"input_ids": ids, "shift_labels": ids, "documents": [document] * rows}
            for run in runs[number % 2 :] + runs[: number % 2]:  # neither is always the first
                run.step(dict(batch))
        plain, monitored = runs
        ratio = statistics.median(a / b for a, b in zip(monitored.seconds[2:], plain.seconds[2:], strict=True))
        step = statistics.median(plain.seconds[2:])
        at_adam = [o for i, o in enumerate(monitored.own) if (i + 1) % ADAM == 0]
        usual = statistics.median(o for i, o in enumerate(monitored.own) if i > 1 and (i + 1) % ADAM)
        adam = (statistics.median(at_adam) - usual if at_adam else 0.0) / ADAM
        cells = [name, "5 %" if region else "none", 1e3 * step, ratio]
        table_rows.append([*cells, 1e3 * usual, 1e3 * adam, 1 + (usual + adam) / step])
    return table_rows


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--statistic", default="mean", help="mean or median")
    add_results_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU"
    print(f"torch {torch.__version__}, {device}, {options.threads} thread(s), statistic {options.statistic}\n")
    times = {"plain step, ms": "{:.1f}", "ratio": "{:.3f}", "own, ms": "{:.2f}", "Adam a step, ms": "{:.2f}"}
    table = Table({"model": "{}", "region": "{}", **times, "1 + share": "{:.3f}"})
    print(table.head())
    for name in CASES:
        for row in measure(name, options):
            print(table.add(*row), flush=True)
    settings = {name: getattr(options, name) for name in ("device", "threads", "rounds", "statistic")}
    write_result("monitor", {"monitor": table}, options.results, settings=settings)


if __name__ == "__main__":
    main()
