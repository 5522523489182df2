"""Training tokens per second compared with HF Trainer and a plain loop, and the effect of each switch of the task.

    pip install accelerate                              required by HF Trainer; without it that row is skipped
    python benchmarks/throughput.py                     24 M weights, one thread, 4 x 256 tokens a step
    python benchmarks/throughput.py --ways lightning compile chunked+compile --rounds 30
    python benchmarks/throughput.py --ways packed padded
    python benchmarks/throughput.py --device cuda --model 1b --rows 8 --tokens 1024 --precision bf16-mixed

All ways train the same model from the same weights, with fused AdamW, decay and clipping at 1. They alternate in one
process, a step each, in an order that rotates every round, so that changes in the speed of the machine affect all of
them. A step is measured from the end of the step before to its own end, including the work of trainer and loader.

The table shows the median of tokens / seconds; the median over rounds of the ratio to HF Trainer in the same round (to
the first way if HF Trainer does not run); the share of the speed of a large ``torch.mm`` in its best round (6 flops per
weight and token without the embedding table, and the causal half of attention); and the last loss, which is equal for
ways that do the same.

``packed`` and ``padded`` read the same documents, concatenated or one per row padded to the longest of the batch; only
tokens with a label are counted. OMP_PROC_BIND is not set, because it would bind the processes of the loader to one
core.
"""

import argparse
import importlib.util
import platform
import statistics
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from guard import new_model
from result_files import Table, add_results_option, write_result
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, TrainerCallback, TrainingArguments
from transformers import Trainer as HFTrainer

from lightning_langcore import ContinuedPretraining
from lightning_langcore.jobs.steps.trainer import quiet
from lightning_langcore.metrics.functional import IGNORE

ADAMW = {"lr": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.95), "fused": True}
SWITCHES = {
    "lightning": {},
    "chunked": {"chunked_loss": True},
    "compile": {"compile": True},
    "chunked+compile": {"chunked_loss": True, "compile": True},
    "packed": {},
    "padded": {},
}
WAYS = ["loop", "hf", *SWITCHES]
WARM = 3  # rounds that are not counted


def one_billion(device: str) -> LlamaForCausalLM:
    """A model with the shapes of Llama 3.2 1B: 1.24 B weights, 128 256 tokens of vocabulary."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device(device):
        return LlamaForCausalLM(config).train()


MODELS: dict[str, Callable[[str], LlamaForCausalLM]] = {"24m": new_model, "1b": one_billion}


class Turn:
    """The thread of one way; it runs only between ``give`` and the end of its step."""

    def __init__(self, name: str, work: Callable[["Turn"], Any], device: str, threads: int) -> None:
        self.name, self.device, self.threads = name, device, threads
        self.seconds: list[float] = []
        self.tokens: list[int] = []
        self.loss = float("nan")
        self._work = work
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._go.acquire()
        torch.set_num_threads(self.threads)  # the number is set per thread
        self._started = time.perf_counter()
        try:
            self._work(self)
        except Exception:
            traceback.print_exc()
        self._done.release()

    def give(self) -> None:
        """Let the thread make one step."""
        if self._thread.is_alive():
            self._go.release()
            self._done.acquire()

    def end(self, tokens: int, loss: float | Tensor = float("nan")) -> None:
        """Record a step; the way calls this after each step."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._started)
        self.tokens.append(tokens)
        self.loss = float(loss)
        self._done.release()
        self._go.acquire()
        self._started = time.perf_counter()

    def rates(self) -> list[float]:
        """Tokens per second in each counted round."""
        return [t / s for t, s in zip(self.tokens[WARM:], self.seconds[WARM:], strict=True)]


class Rows(torch.utils.data.Dataset):
    """Rows of fixed width, or one document per row."""

    def __init__(self, rows: list[Tensor]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Tensor:
        return self.rows[i]


def documents(options: argparse.Namespace, vocab: int) -> list[Tensor]:
    """Documents of random tokens with lengths as in web text: lognormal, median 90, cut at the context."""
    generator = torch.Generator().manual_seed(1)
    num_rows = (options.rounds + WARM + 1) * options.rows
    lengths = torch.exp(4.5 + 0.8 * torch.randn(num_rows * 4, generator=generator)).long().clamp(8, options.tokens)
    return [torch.randint(0, vocab, (int(length) + 1,), generator=generator) for length in lengths]


def rows(options: argparse.Namespace, vocab: int) -> list[Tensor]:
    """Rows of the concatenated documents, repeated; each has one token more than the context."""
    flat = torch.cat(documents(options, vocab)).repeat(10)
    width = options.tokens + 1
    return list(flat[: len(flat) // width * width].view(-1, width)[: (options.rounds + WARM + 1) * options.rows])


def shifted(batch: list[Tensor]) -> dict[str, Tensor]:
    """A batch of this project from rows, padded to the longest."""
    ids = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
    labels = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=IGNORE)
    return {"input_ids": ids[:, :-1], "shift_labels": labels[:, 1:]}


def for_transformers(batch: list[Tensor]) -> dict[str, Tensor]:
    """The same batch for transformers: it requires ``labels`` and uses ``shift_labels`` where they are given."""
    batch_of_ours = {name: values.contiguous() for name, values in shifted(batch).items()}
    return batch_of_ours | {"labels": batch_of_ours["input_ids"]}


def lightning(turn: Turn, options: argparse.Namespace, precision: str, name: str) -> None:
    """This project's module in Lightning's Trainer."""

    class EndOfStep(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            turn.end(int((batch["shift_labels"] != IGNORE).sum()), outputs["loss"].detach())

    model = MODELS[options.model](options.device)
    module = ContinuedPretraining(model, partial(torch.optim.AdamW, **ADAMW), **SWITCHES[name])
    make = documents if name == "padded" else rows
    loader = DataLoader(Rows(make(options, model.config.vocab_size)), options.rows, collate_fn=shifted, num_workers=0)
    trainer = pl.Trainer(
        accelerator="gpu" if options.device == "cuda" else "cpu", devices=1, precision=precision, gradient_clip_val=1.0,
        max_steps=options.rounds + WARM, max_epochs=-1, logger=False, enable_checkpointing=False, log_every_n_steps=10,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[EndOfStep()],
    )  # fmt: skip
    trainer.fit(module, loader)


def hf(turn: Turn, options: argparse.Namespace, precision: str, _: str) -> None:
    """HF Trainer with the same optimizer, precision, clipping and rows."""

    class EndOfStep(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            turn.end(options.rows * options.tokens, turn.loss)

    class InOrder(HFTrainer):
        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

        def training_step(self, *args: Any, **more: Any) -> Tensor:
            loss = super().training_step(*args, **more)
            turn.loss = loss.detach()
            return loss

    model = MODELS[options.model](options.device)
    arguments = TrainingArguments(
        output_dir="outputs/throughput", max_steps=options.rounds + WARM, per_device_train_batch_size=options.rows,
        optim="adamw_torch_fused", learning_rate=ADAMW["lr"], weight_decay=ADAMW["weight_decay"], adam_beta1=0.9,
        adam_beta2=0.95, adam_epsilon=1e-8, max_grad_norm=1.0, lr_scheduler_type="constant",
        bf16=precision == "bf16-mixed", use_cpu=options.device == "cpu", report_to=[], save_strategy="no",
        logging_steps=10**6, disable_tqdm=True, remove_unused_columns=False, dataloader_num_workers=0,
    )  # fmt: skip
    data = Rows(rows(options, model.config.vocab_size))
    trainer = InOrder(model, arguments, for_transformers, data, callbacks=[EndOfStep()])
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def loop(turn: Turn, options: argparse.Namespace, precision: str, _: str) -> None:
    """A plain loop in torch."""
    model = MODELS[options.model](options.device)
    weights = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": weights}, {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, **ADAMW)
    batches = DataLoader(Rows(rows(options, model.config.vocab_size)), options.rows, collate_fn=shifted)
    for batch, _ in zip(batches, range(options.rounds + WARM), strict=False):
        ids, labels = (batch[name].to(options.device) for name in ("input_ids", "shift_labels"))
        with torch.autocast(options.device, torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits = model(input_ids=ids, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        turn.end(ids.numel(), loss.detach())


def peak(turn: Turn, options: argparse.Namespace, precision: str, _: str) -> None:
    """Flops of one large matrix product, recorded as tokens: the peak speed of the machine."""
    size = 8192 if options.device == "cuda" else 2048
    dtype = torch.float32 if precision == "32-true" else torch.bfloat16
    left, right = (torch.randn(size, size, device=options.device, dtype=dtype) for _ in range(2))
    for _ in range(options.rounds + WARM):
        left @ right
        turn.end(2 * size**3)


def flops_per_token(model: LlamaForCausalLM, context: int) -> float:
    """Flops of forward and backward: 6 per weight in a product, and the causal half of attention."""
    config = model.config
    layers = sum(p.numel() for p in model.model.layers.parameters() if p.ndim >= 2)
    products = layers + config.vocab_size * config.hidden_size
    return 6 * products + 6 * config.num_hidden_layers * config.hidden_size * context


def measure(options: argparse.Namespace, precision: str) -> Iterator[tuple[str, str, str, *tuple[float, ...]]]:
    """Rows of the table: way and reference, tokens/s, ratio, share of the peak, peak in GFLOP/s, last loss."""
    makers: dict[str, Callable[..., None]] = {"loop": loop, "hf": hf, "peak": peak}
    turns = []
    for name in [*options.ways, "peak"]:
        make = makers.get(name, lightning)

        def work(turn: Turn, make: Callable[..., None] = make) -> None:
            make(turn, options, precision, turn.name)

        turns.append(Turn(name, work, options.device, options.threads))
    for number in range(options.rounds + WARM + 1):  # in the last round they end
        shift = number % len(turns)
        for turn in turns[shift:] + turns[:shift]:
            turn.give()
    *ways, matmul = turns
    ways = [turn for turn in ways if len(turn.seconds) > WARM]
    base = next((turn for turn in ways if turn.name == "hf"), ways[0])
    cost = flops_per_token(MODELS[options.model]("meta"), options.tokens)
    most = max(matmul.rates())
    for turn in ways:
        rate = statistics.median(turn.rates())
        ratio = statistics.median(a / b for a, b in zip(turn.rates(), base.rates(), strict=True))
        yield precision, turn.name, base.name, rate, ratio, rate * cost / most, most / 1e9, turn.loss


def main() -> None:
    """Print a table in Markdown for each precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--model", default="24m", choices=MODELS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=4, help="rows per step")
    parser.add_argument("--tokens", type=int, default=256, help="tokens per row")
    parser.add_argument("--precision", nargs="+", default=["32-true", "bf16-mixed"])
    parser.add_argument("--ways", nargs="+", default=["loop", "hf", "lightning", "chunked"], choices=WAYS)
    add_results_option(parser)
    options = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore", ".*num_workers.*|.*pin_memory.*")
    if "hf" in options.ways and importlib.util.find_spec("accelerate") is None:
        print("HF Trainer is skipped, because it needs accelerate: pip install accelerate\n")
        options.ways.remove("hf")
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU"
    size = f"{options.model}, {options.rows} x {options.tokens} tokens, {options.rounds} rounds"
    print(f"torch {torch.__version__}, {device}, {options.threads} thread(s), {size}\n")
    speeds = {"tokens/s": "{:,.0f}", "ratio": "{:.3f}", "share of the peak": "{:.0%}", "peak, GFLOP/s": "{:,.0f}"}
    table = Table({"precision": "{}", "way": "{}", "over": "{}", **speeds, "last loss": "{:.4f}"})
    print(table.head())
    for precision in options.precision:
        for row in measure(options, precision):
            print(table.add(*row), flush=True)
    settings = {name: getattr(options, name) for name in ("device", "model", "threads", "rounds", "rows", "tokens")}
    topic = "throughput_padding" if "padded" in options.ways else "throughput"
    write_result(topic, {topic: table}, options.results, settings=settings)


if __name__ == "__main__":
    main()
