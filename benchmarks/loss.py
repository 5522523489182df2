"""Time and memory of the loss as the vocabulary grows: plain, chunked, and torch's ``linear_cross_entropy``.

    python benchmarks/loss.py                           1024 positions of 384 numbers, one thread
    python benchmarks/loss.py --device cuda --hidden 2048 --positions 8192

Measured from hidden states to the gradients of hidden states and head. Times (on the CPU processor time, which other
programs disturb less): all ways alternate in one process; the table shows the median ratio to the first way in the same
round. Memory: each way in its own process, in MiB in addition to what was allocated before: held between forward and
backward, and at the peak (on the CPU resident pages, on a GPU memory allocated by torch). Error: of the loss, relative
to float64.

``torch`` is ``torch.nn.functional.linear_cross_entropy`` (from torch 2.13) with its defaults, ``torch 512`` the same
with chunks of 512 positions and ``accurate`` accumulation, ``torch none`` the latter with the nats of each position.
"""

import argparse
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from guard import synchronize
from result_files import Table, add_results_option, write_result
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_langcore.metrics.chunked_cross_entropy import LossHead
from lightning_langcore.metrics.functional import token_nats

Loss = Callable[[nn.Linear, Tensor, Tensor], Tensor]


def plain(head: nn.Linear, states: Tensor, labels: Tensor) -> Tensor:
    """Loss from all logits."""
    return token_nats(head(states), labels).sum()


def chunked(head: nn.Linear, states: Tensor, labels: Tensor) -> Tensor:
    """This project's chunked loss."""
    with LossHead(head).installed(labels):
        return head(states)


def of_torch(reduction: str, **chunks: Any) -> Loss:
    """Torch's ``linear_cross_entropy`` with a reduction and options for its chunks."""

    def loss(head: nn.Linear, states: Tensor, labels: Tensor) -> Tensor:
        options = nn.LinearCrossEntropyOptions(**chunks)
        flat = states.flatten(0, 1), head.weight, labels.flatten()
        return F.linear_cross_entropy(*flat, reduction=reduction, options=options).sum()

    return loss


WAYS: dict[str, Loss] = {"plain": plain, "chunked": chunked}
if hasattr(nn, "LinearCrossEntropyOptions"):
    fixed = {"batch_chunk_size": 512, "chunking_method": None, "acc_policy": "accurate"}
    WAYS |= {"torch": of_torch("sum"), "torch 512": of_torch("sum", **fixed), "torch none": of_torch("none", **fixed)}


def inputs(options: argparse.Namespace, vocab: int, dtype: torch.dtype) -> tuple[nn.Linear, Tensor, Tensor]:
    """Head, hidden states of shape ``(1, positions, hidden)``, labels of shape ``(1, positions)``."""
    torch.manual_seed(0)
    with torch.device(options.device):
        head = nn.Linear(options.hidden, vocab, bias=False, dtype=dtype)
        states = torch.randn(1, options.positions, options.hidden, dtype=dtype).requires_grad_()
        return head, states, torch.randint(0, vocab, (1, options.positions))


def pages(field: str) -> int:
    """Bytes of the resident pages of this process: ``VmRSS`` now, ``VmHWM`` at the peak."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def memory_of(name: str, options: argparse.Namespace, vocab: int, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes held between forward and backward, and at the peak; to be called in a fresh process."""
    torch.set_num_threads(1)
    on_gpu = options.device == "cuda"
    plain(*inputs(options, 512, dtype)).backward()  # one-time allocations of libraries
    head, states, labels = inputs(options, vocab, dtype)
    now = torch.cuda.memory_allocated if on_gpu else partial(pages, "VmRSS")
    most = torch.cuda.max_memory_allocated if on_gpu else partial(pages, "VmHWM")
    before = now()
    loss = WAYS[name](head, states, labels)
    held = now() - before
    loss.backward()
    return held, most() - before


def seconds_and_errors(options: argparse.Namespace, vocab: int, dtype: torch.dtype) -> dict[str, tuple[list, float]]:
    """For each way: seconds of each round, and the relative error of the loss."""
    head, states, labels = inputs(options, vocab, dtype)
    with torch.no_grad():
        exact = F.cross_entropy(states[0].double() @ head.weight.double().T, labels[0], reduction="sum")
    clock = time.perf_counter if options.device == "cuda" else time.process_time
    found: dict[str, tuple[list, float]] = {name: ([], 0.0) for name in options.ways}
    for number in range(options.rounds + 1):
        names = options.ways
        for name in names[number % len(names) :] + names[: number % len(names)]:
            states.grad = head.weight.grad = None
            synchronize(states)
            started = clock()
            loss = WAYS[name](head, states, labels)
            loss.backward()
            synchronize(states)
            found[name][0].append(clock() - started)
            found[name] = found[name][0], abs(loss.item() / exact.item() - 1)
    return found


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--vocab", type=int, nargs="+", default=[16384, 32000, 128256])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="the first is the reference")
    add_results_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU, one thread"
    print(f"torch {torch.__version__}, {device}, {options.positions} x {options.hidden}, {options.rounds} rounds\n")
    columns = {"vocabulary": "{:,}", "numbers": "{}", "way": "{}", "ratio": "{:.2f}", "ms": "{:,.0f}"}
    memory = {"held, MiB": "{:,.0f}", "most, MiB": "{:,.0f}"}
    table = Table({**columns, **memory, "error of the loss": "{:.0e}"})
    print(table.head())
    for vocab in options.vocab:
        for dtype in (torch.float32, torch.bfloat16):
            found = seconds_and_errors(options, vocab, dtype)
            first = found[options.ways[0]][0]
            for name, (seconds, error) in found.items():
                ratio = statistics.median(a / b for a, b in zip(seconds[1:], first[1:], strict=True))
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    held, most = pool.apply(memory_of, (name, options, vocab, dtype))
                cells = [ratio, statistics.median(seconds[1:]) * 1e3, held / 2**20, most / 2**20, error]
                print(table.add(vocab, str(dtype).removeprefix("torch."), name, *cells), flush=True)
    settings = {name: getattr(options, name) for name in ("device", "rounds", "positions", "hidden")}
    write_result("loss", {"loss": table}, options.results, seeds=[0], settings=settings | {"threads": 1})


if __name__ == "__main__":
    main()
