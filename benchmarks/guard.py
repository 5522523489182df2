"""Cost per step and exactness of a guard: this project's, dense write-back, and two ways of masking gradients only.

    python benchmarks/guard.py                      24 M weights, one thread, 256 and 1024 tokens a step
    python benchmarks/guard.py --device cuda
    python benchmarks/guard.py --parts drift        drift after 1000 steps, on a small model

All ways alternate in one process, a step each, so that changes in the speed of the machine affect all of them. The
first table shows the median over rounds of (step with the guard) / (plain step of the same round), the number of frozen
weights that changed, and the extra bytes per candidate weight. The second table shows the largest distance of a frozen
weight from its start, absolute and divided by the root mean square of its matrix.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from result_files import Table, add_results_option, write_result
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_langcore import CoreGuard, Region, random_region
from lightning_langcore.models.parameters import candidates, named_shapes, saved_parameters

REGIONS = [(fraction, granularity) for granularity in ("element", "column") for fraction in (0.01, 0.03, 0.05, 0.5)]


def new_model(device: str) -> LlamaForCausalLM:
    """24 M weights, of which 17.7 M are candidates."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16384, hidden_size=384, intermediate_size=1024, num_hidden_layers=10, num_attention_heads=6,
        tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(device).train()


def small_model(device: str) -> LlamaForCausalLM:
    """0.2 M weights, of which 0.15 M are candidates."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512, hidden_size=96, intermediate_size=256, num_hidden_layers=1, num_attention_heads=4,
        tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(device).train()


class Way:
    """A model, its optimizer, and hooks before and after the update of the optimizer."""

    def __init__(self, name: str, model: LlamaForCausalLM, region: Region | None) -> None:
        self.name = name
        self.model = model
        fused = model.device.type != "mps"
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.1, fused=fused)
        self.before: Callable[[], Any] = lambda: None
        self.after: Callable[[], Any] = lambda: None
        self.bytes = 0
        self.region = region
        self.start = self._values()
        self.rms = {n: p.detach().square().mean().sqrt().item() for n, p in saved_parameters(model).items()}
        self.seconds: list[float] = []

    def _values(self) -> dict[str, Tensor]:
        if self.region is None:
            return {}
        parameters = self.region.match(self.model)
        return {n: parameters[n].detach().view(-1)[i.to(parameters[n].device)].clone() for n, i in self.region}

    def num_changed(self) -> int:
        """Number of weights of the region that differ from their start."""
        return sum(int((now != self.start[name]).sum()) for name, now in self._values().items())

    def drift(self) -> tuple[float, float]:
        """Largest distance of a frozen weight from its start, absolute and over the rms of its matrix at the start."""
        far = {name: (now - self.start[name]).abs().max().item() for name, now in self._values().items()}
        return max(far.values()), max(distance / self.rms[name] for name, distance in far.items())

    def step(self, ids: Tensor, clip: float = 1.0) -> None:
        """One whole training step, timed."""
        synchronize(ids)
        started = time.perf_counter()
        self.model(input_ids=ids, labels=ids).loss.backward()
        self.before()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip, foreach=True)
        self.optimizer.step()
        self.after()
        self.optimizer.zero_grad()
        synchronize(ids)
        self.seconds.append(time.perf_counter() - started)


def synchronize(tensor: Tensor) -> None:
    """Wait for the device."""
    if tensor.is_cuda:
        torch.cuda.synchronize()


def sparse(model: LlamaForCausalLM, region: Region) -> Way:
    """This project's guard, called through its hooks."""
    way = Way("guard", model, region)
    guard = CoreGuard(region)
    guard.on_train_start(SimpleNamespace(optimizers=[way.optimizer], strategy=None, global_step=0), way.model)  # type: ignore[arg-type]
    way.before = lambda: guard.on_before_optimizer_step(None, None, way.optimizer)  # type: ignore[arg-type]
    way.bytes = sum(part.data.nbytes + values.nbytes for _, part, values in guard._guarded)
    return way


def masks_of(way: Way) -> dict[nn.Parameter, Tensor]:
    """Dense bool masks, as the paper's code keeps them."""
    assert way.region is not None
    parameters = way.region.match(way.model)
    masks = {}
    for name, indices in way.region:
        mask = torch.zeros(parameters[name].numel(), dtype=torch.bool)
        mask[indices] = True
        masks[parameters[name]] = mask.view_as(parameters[name]).to(parameters[name].device)
    return masks


def masked_gradients(model: LlamaForCausalLM, region: Region) -> Way:
    """Gradients multiplied by a dense mask; no write-back."""
    way = Way("gradient mask alone", model, region)
    masks = masks_of(way)

    def before() -> None:
        for parameter, mask in masks.items():
            assert parameter.grad is not None
            parameter.grad.mul_(~mask)

    way.before = before
    way.bytes = sum(mask.nbytes for mask in masks.values())
    return way


def hooked_gradients(model: LlamaForCausalLM, region: Region) -> Way:
    """``parameter.register_hook`` with a dense float mask, as in many scripts; no write-back."""
    way = Way("masked gradient hooks", model, region)
    masks = {parameter: (~mask).to(parameter.dtype) for parameter, mask in masks_of(way).items()}
    for parameter, mask in masks.items():
        parameter.register_hook(partial(torch.mul, mask))
    way.bytes = sum(mask.nbytes for mask in masks.values())
    return way


@torch.no_grad()
def dense(model: LlamaForCausalLM, region: Region) -> Way:
    """``param.mul_(~mask); param.add_(saved)`` after each step."""
    way = Way("dense write-back", model, region)
    masks = masks_of(way)
    saved = {parameter: parameter.detach() * mask for parameter, mask in masks.items()}

    def after() -> None:
        with torch.no_grad():
            for parameter, mask in masks.items():
                parameter.mul_(~mask)
                parameter.add_(saved[parameter])

    way.after = after
    way.bytes = sum(mask.nbytes + saved[p].nbytes for p, mask in masks.items())
    return way


WAYS = (sparse, dense, masked_gradients, hooked_gradients)


def batches(vocab: int, tokens: int, count: int) -> Iterator[Tensor]:
    """Random ids in rows of at most 256."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield torch.randint(0, vocab, (max(1, tokens // 256), min(tokens, 256)), generator=generator)


def cost(options: argparse.Namespace) -> Table:
    """Print the first table, and return it."""
    shapes = candidates(named_shapes(new_model("cpu")))
    numel = sum(r * c for r, c in shapes.values())
    print(f"\n{numel:,} candidates\n")
    head = {f"ratio at {tokens} tokens": "{:.3f}" for tokens in options.tokens}
    last = {"changed of frozen": "{:,} of {:,}", "bytes a candidate": "{:.3f}"}
    table = Table({"way": "{}", "region": "{}", **head, **last})
    print(table.head())
    for fraction, granularity in REGIONS:
        region = random_region(shapes, fraction, 0, granularity)
        ways = [Way("plain", new_model(options.device), None), *(w(new_model(options.device), region) for w in WAYS)]
        ratios: dict[str, list[float]] = {way.name: [] for way in ways}
        for tokens in options.tokens:
            for number, ids in enumerate(batches(16384, tokens, options.rounds + 2)):
                first = number % len(ways)
                for way in ways[first:] + ways[:first]:  # no way is always the first
                    way.step(ids.to(options.device))
            for way in ways:
                pairs = zip(way.seconds[2:], ways[0].seconds[2:], strict=True)
                ratios[way.name].append(statistics.median(a / b for a, b in pairs))
            for way in ways:
                way.seconds.clear()
        for way in ways[1:]:
            cells = [*ratios[way.name], [way.num_changed(), len(region)], way.bytes / numel]
            print(table.add(way.name, f"{fraction:.0%} {granularity}", *cells), flush=True)
    return table


def drift(options: argparse.Namespace) -> Table:
    """Print the second table, and return it."""
    region = random_region(candidates(named_shapes(small_model("cpu"))), 0.05, 0)
    columns = {"changed of frozen": "{:,} of {:,}", "largest drift": "{:.2e}", "over the rms": "{:.1%}"}
    table = Table({"way": "{}", **columns})
    print(f"\nafter {options.steps} steps\n\n{table.head()}")
    for make in WAYS:
        way = make(small_model(options.device), region)
        for ids in batches(512, 64, options.steps):
            way.step(ids.to(options.device))
        far, relative = way.drift()
        print(table.add(way.name, [way.num_changed(), len(region)], far, relative), flush=True)
    return table


def main() -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 1024], help="tokens a step")
    parser.add_argument("--steps", type=int, default=1000, help="of the second table")
    parser.add_argument("--parts", nargs="+", default=["cost", "drift"], choices=["cost", "drift"])
    add_results_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU"
    print(f"torch {torch.__version__}, {device}, {options.threads} thread(s)")
    parts = {"cost": cost, "drift": drift}
    tables = {f"guard_{part}": parts[part](options) for part in ("cost", "drift") if part in options.parts}
    settings = {"device": options.device, "threads": options.threads, "rounds": options.rounds, "steps": options.steps}
    write_result("guard", tables, options.results, seeds=[0], settings=settings)


if __name__ == "__main__":
    main()
