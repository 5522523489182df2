"""Cost of the loader per step, and speed and memory of packing text.

    python benchmarks/loader.py                     one thread; the phrasebook
    python benchmarks/loader.py --text FOLDER       your own text, as for data=files
    python benchmarks/loader.py --parts packing

Steps: a step on a batch in memory and a step on the next batch of the real loader alternate, in one process and on one
model, so that changes in the speed of the machine affect both. Before a step without the loader a batch is discarded,
so that workers have no more time for a batch than in training. The table shows the median over rounds of (step with the
loader) / (step without); the mean wait for a batch (a mean, because a reader pauses now and then to read more); 1 +
that wait divided by the median step; the longest wait; and the wait for the first batch, which includes filling the
buffers.

Packing: each run in its own process, the settings alternate, median over rounds. ``num_proc=1`` tokenizes in all
threads of the machine. Memory: peak of the anonymous pages of the process, and of its largest child including shared
pages.
"""

import argparse
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from checkpoints import Peak
from guard import synchronize
from monitor import CASES
from result_files import Table, add_results_option, write_result
from torch import Tensor

from lightning_langcore import SupervisedFineTuning
from lightning_langcore.data import FileSource, PhrasebookConversations, PhrasebookSource, Splitter, TextDataModule
from lightning_langcore.data.packing.documents import Repetition, pack
from lightning_langcore.data.sources.base import Document, Source
from lightning_langcore.metrics.functional import next_token_mean
from lightning_langcore.models.from_scratch import train_tokenizer
from lightning_langcore.models.loading import load_tokenizer

WARM_UP = 4  # rounds that are not counted
VOCAB = 4096


class Way(NamedTuple):
    """A loader and its number of workers."""

    name: str
    num_workers: int

    @property
    def more(self) -> dict[str, Any]:
        """Further arguments of the data module."""
        if self.name == "conversations":
            return {"conversations": PhrasebookConversations()}
        return {"on_the_fly": self.name == "on the fly"}


WAYS = [Way(name, num_workers) for name in ("packed", "on the fly", "conversations") for num_workers in (0, 2)]


class Run:
    """A model and its optimizer."""

    def __init__(self, model: Any) -> None:
        self.device = model.device
        self.module = SupervisedFineTuning(model, partial(torch.optim.AdamW, lr=1e-3))  # no positions: plain text
        fused = self.device.type != "mps"
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=fused)

    def step(self, batch: Mapping[str, Any]) -> None:
        """One whole training step."""
        batch = {name: x.to(self.device) if isinstance(x, Tensor) else x for name, x in batch.items()}
        logits = self.module(batch["input_ids"], batch.get("position_ids"))
        next_token_mean(logits, batch["shift_labels"]).backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def timed(self, batches: Iterator[Mapping[str, Any]]) -> tuple[float, float]:
        """Seconds of a step on the next batch including the wait, and of the wait alone."""
        synchronize(next(self.module.parameters()))
        started = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - started
        self.step(batch)
        synchronize(next(self.module.parameters()))
        return time.perf_counter() - started, waited


def source_of(options: argparse.Namespace, folder: Path) -> Source:
    """The phrasebook, or the text of ``--text``."""
    return FileSource(options.text, cache_dir=folder / "datasets") if options.text else PhrasebookSource()


def loader_of(way: Way, case: str, folder: Path, options: argparse.Namespace) -> Any:
    """Loader of batches with the case's shape, enough for all rounds."""
    _, rows, tokens = CASES[case]
    num_tokens = (2 * (options.rounds + WARM_UP) + 1) * rows * tokens
    data = TextDataModule(
        source_of(options, folder),
        Splitter(0.05, 0.05, {"base": 5, "locate": 2, "run": 3}),
        load_tokenizer(folder / "tokenizer"),
        folder / "packed",
        num_tokens=num_tokens,
        block_size=tokens,
        batch_size=rows,
        max_epochs=1000,
        num_workers=way.num_workers,
        repetition=Repetition(),
        shuffle_buffer=options.shuffle_buffer,
        **way.more,
    )
    data.prepare_data()
    data.setup()
    return data.train_dataloader()


def measure(case: str, run: Run, way: Way, folder: Path, options: argparse.Namespace) -> list[Any]:
    """One row of the table."""
    loader = loader_of(way, case, folder, options)
    started = time.perf_counter()
    batches = iter(loader)
    ready = repeat(next(batches))
    first = time.perf_counter() - started
    seconds: dict[str, list[float]] = {"ready": [], "loader": []}
    waits = []
    for number in range(options.rounds + WARM_UP):
        for kind in ("ready", "loader") if number % 2 else ("loader", "ready"):  # neither is always the first
            if kind == "ready":
                next(batches)
            taken, waited = run.timed(ready if kind == "ready" else batches)
            if number >= WARM_UP:
                seconds[kind].append(taken)
            if number >= WARM_UP and kind == "loader":
                waits.append(waited)
    ratio = statistics.median(a / b for a, b in zip(seconds["loader"], seconds["ready"], strict=True))
    step, wait = statistics.median(seconds["ready"]), statistics.mean(waits)
    times = [1e3 * step, ratio, 1e3 * wait, 1 + wait / step, 1e3 * max(waits), first]
    return [case, way.name, way.num_workers, *times]


def documents_of(source: Source, count: int) -> Iterator[Document]:
    """``count`` documents in equal parts of the languages, one at a time; a shorter language is read repeatedly."""

    def again(language: str) -> Iterator[Document]:
        while True:
            yield from source.documents(language)

    for language in source.languages:
        yield from islice(again(language), count // len(source.languages))


def pack_once(options: argparse.Namespace, folder: Path, count: int, num_proc: int) -> tuple[float, ...]:
    """Tokens, seconds of packing, seconds of reading only, and megabytes of this process and of its largest child."""
    source, tokenizer = source_of(options, folder), load_tokenizer(folder / "tokenizer")
    started = time.perf_counter()
    for _ in documents_of(source, count):
        pass
    reading = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as name:
        peak = Peak()
        peak.start()
        started = time.perf_counter()
        packed = pack(
            documents_of(source, count), tokenizer, Path(name) / "packed", None, Repetition(), num_proc=num_proc
        )
        seconds = time.perf_counter() - started
        peak.stop.set()
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 if platform.system() == "Linux" else 1024)
        return len(packed.tokens), seconds, reading, peak.bytes / 1e6, child * 1024 / 1e6


def packing(options: argparse.Namespace, folder: Path) -> Table:
    """Print the table of packing, and return it."""
    speeds = {"tokens": "{:,.0f}", "tokens a second": "{:,.0f}", "reading alone, share": "{:.2f}"}
    memory = {"peak, MB": "{:,.0f}", "largest child, MB": "{:,.0f}"}
    table = Table({"text": "{}", "documents": "{:,}", "num_proc": "{}", **speeds, **memory})
    print(table.head())
    settings = [(count, num_proc) for count in (options.documents, 4 * options.documents) for num_proc in (1, 2)]
    found: dict[tuple[int, int], list[tuple[float, ...]]] = {setting: [] for setting in settings}
    for _ in range(options.pack_rounds):
        for setting in settings:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                found[setting].append(pool.submit(pack_once, options, folder, *setting).result())
    for (count, num_proc), runs in found.items():
        tokens, _, _, peak, child = (statistics.median(column) for column in zip(*runs, strict=True))
        speed = statistics.median(run[0] / run[1] for run in runs)
        reading = statistics.median(run[2] / run[1] for run in runs)
        cells = [count, num_proc, tokens, speed, reading, peak, child if num_proc > 1 else None]
        print(table.add(text_name(options), *cells), flush=True)
    return table


def text_name(options: argparse.Namespace) -> str:
    """The phrasebook, or the name of the folder."""
    return Path(options.text).name if options.text else "phrasebook"


def steps(options: argparse.Namespace, folder: Path) -> Table:
    """Print the table of steps, and return it."""
    times = {"ready step, ms": "{:.1f}", "ratio": "{:.3f}", "wait, ms": "{:.2f}", "1 + share": "{:.3f}"}
    more = {"longest, ms": "{:.1f}", "first batch, s": "{:.2f}"}
    table = Table({"model": "{}", "loader": "{}", "workers": "{}", **times, **more})
    print(table.head())
    for case, (make, _, _) in CASES.items():
        run = Run(make(options.device))
        for way in WAYS:
            print(table.add(*measure(case, run, way, folder, options)), flush=True)
    return table


def save_tokenizer(options: argparse.Namespace, folder: Path) -> None:
    """Save a tokenizer of the tiny default's size, trained on 500 documents per language."""
    source = source_of(options, folder)
    texts = (document.text for document in documents_of(source, 500 * len(source.languages)))
    train_tokenizer(texts, VOCAB).save_pretrained(folder / "tokenizer")


def main() -> None:
    """Print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--text", help="folder of <lang>.txt, .jsonl or .parquet; by default the phrasebook")
    parser.add_argument(
        "--shuffle-buffer", type=int, default=32, help="documents per part, on the fly; small, so that it is refilled"
    )
    parser.add_argument("--documents", type=int, default=20_000, help="documents to pack, and four times as many")
    parser.add_argument("--pack-rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=("steps", "packing"), default=["packing", "steps"])
    add_results_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU"
    print(f"torch {torch.__version__}, {device}, {options.threads} thread(s), {options.text or 'the phrasebook'}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_tokenizer(options, folder)
        parts = {"packing": packing, "steps": steps}
        tables = {f"loader_{part}": parts[part](options, folder) for part in parts if part in options.parts}
        text = {"name": text_name(options), "digest": source_of(options, folder).digest()}
    settings = {name: getattr(options, name) for name in ("device", "threads", "rounds", "shuffle_buffer")}
    write_result("loader", tables, options.results, text=text, settings=settings)


if __name__ == "__main__":
    main()
