"""Training tokens a second beside HF Trainer and a plain loop, and what each switch of the task adds.

    pip install accelerate                              HF Trainer wants it; without it the row is left out
    python benchmarks/throughput.py                     24 M weights, one thread, 4 x 256 tokens a step
    python benchmarks/throughput.py --ways lightning compile chunked+compile --rounds 30
    python benchmarks/throughput.py --ways packed padded
    python benchmarks/throughput.py --device cuda --model 1b --rows 8 --tokens 1024 --precision bf16-mixed

All ways train the same model from the same weights, with fused AdamW, decay and clipping at 1, and take turns in one
process, a step each, in an order that moves on every round: so that a machine that speeds up or slows down does so for
all. A step is what lies between the ends of two steps, the trainer's own work and its loader included.

Printed are the median of tokens / seconds, the median over rounds of that over HF Trainer's of the same round (else
over the first way's), its share of what a large ``torch.mm`` reached in the best round (6 flops a weight and token,
without the embeddings' table, and the causal half of attention), and the last loss, the same where all did the same.

``packed`` and ``padded`` read the same documents, on end or one a row up to the longest of the batch; their tokens are
those with a label. OMP_PROC_BIND is left alone: it would bind the loader's processes to the core of the first.
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
WARM = 3  # rounds that don't count


def one_billion(device: str) -> LlamaForCausalLM:
    """The shapes of Llama 3.2 1B: 1.24 B weights, 128 256 tokens of vocabulary."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device(device):
        return LlamaForCausalLM(config).train()


MODELS: dict[str, Callable[[str], LlamaForCausalLM]] = {"24m": new_model, "1b": one_billion}


class Turn:
    """One way's thread; it works only between ``give`` and the end of its step."""

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
        torch.set_num_threads(self.threads)  # a thread has its own number
        self._started = time.perf_counter()
        try:
            self._work(self)
        except Exception:
            traceback.print_exc()
        self._done.release()

    def give(self) -> None:
        """Let it do a step."""
        if self._thread.is_alive():
            self._go.release()
            self._done.acquire()

    def end(self, tokens: int, loss: float | Tensor = float("nan")) -> None:
        """Called by the way after each step."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._started)
        self.tokens.append(tokens)
        self.loss = float(loss)
        self._done.release()
        self._go.acquire()
        self._started = time.perf_counter()

    def rates(self) -> list[float]:
        """Tokens a second in each round that counts."""
        return [t / s for t, s in zip(self.tokens[WARM:], self.seconds[WARM:], strict=True)]


class Rows(torch.utils.data.Dataset):
    """Rows of a fixed width, or one document each."""

    def __init__(self, rows: list[Tensor]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Tensor:
        return self.rows[i]


def documents(options: argparse.Namespace, vocab: int) -> list[Tensor]:
    """Random tokens in lengths as web text has them: lognormal, median 90, cut at the context."""
    generator = torch.Generator().manual_seed(1)
    num_rows = (options.rounds + WARM + 1) * options.rows
    lengths = torch.exp(4.5 + 0.8 * torch.randn(num_rows * 4, generator=generator)).long().clamp(8, options.tokens)
    return [torch.randint(0, vocab, (int(length) + 1,), generator=generator) for length in lengths]


def rows(options: argparse.Namespace, vocab: int) -> list[Tensor]:
    """The documents on end, again and again, in rows of one token more than the context."""
    flat = torch.cat(documents(options, vocab)).repeat(10)
    width = options.tokens + 1
    return list(flat[: len(flat) // width * width].view(-1, width)[: (options.rounds + WARM + 1) * options.rows])


def shifted(batch: list[Tensor]) -> dict[str, Tensor]:
    """Rows, padded to the longest -> a batch of this project."""
    ids = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
    labels = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=IGNORE)
    return {"input_ids": ids[:, :-1], "shift_labels": labels[:, 1:]}


def for_transformers(batch: list[Tensor]) -> dict[str, Tensor]:
    """The same tokens; ``labels`` is there because the loss wants one, ``shift_labels`` is what it uses."""
    made = {name: values.contiguous() for name, values in shifted(batch).items()}
    return made | {"labels": made["input_ids"]}


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
    """Nothing but torch."""
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
    """Not a training: the machine's flops a second in one large product, as if they were tokens."""
    size = 8192 if options.device == "cuda" else 2048
    dtype = torch.float32 if precision == "32-true" else torch.bfloat16
    left, right = (torch.randn(size, size, device=options.device, dtype=dtype) for _ in range(2))
    for _ in range(options.rounds + WARM):
        left @ right
        turn.end(2 * size**3)


def flops_per_token(model: LlamaForCausalLM, context: int) -> float:
    """Forward and backward: 6 a weight in a product, and queries, keys and values of the causal half of a row."""
    config = model.config
    layers = sum(p.numel() for p in model.model.layers.parameters() if p.ndim >= 2)
    products = layers + config.vocab_size * config.hidden_size
    return 6 * products + 6 * config.num_hidden_layers * config.hidden_size * context


def measure(options: argparse.Namespace, precision: str) -> Iterator[str]:
    """The lines of one table."""
    makers: dict[str, Callable[..., None]] = {"loop": loop, "hf": hf, "peak": peak}
    turns = []
    for name in [*options.ways, "peak"]:
        make = makers.get(name, lightning)

        def work(turn: Turn, make: Callable[..., None] = make) -> None:
            make(turn, options, precision, turn.name)

        turns.append(Turn(name, work, options.device, options.threads))
    for number in range(options.rounds + WARM + 1):  # one more, in which they end
        shift = number % len(turns)
        for turn in turns[shift:] + turns[:shift]:
            turn.give()
    *ways, matmul = turns
    ways = [turn for turn in ways if len(turn.seconds) > WARM]
    base = next((turn for turn in ways if turn.name == "hf"), ways[0])
    cost = flops_per_token(MODELS[options.model]("meta"), options.tokens)
    most = max(matmul.rates())
    yield f"| {precision} | tokens/s | over {base.name} | of {most / 1e9:,.0f} GFLOP/s | last loss |"
    yield "|---|---|---|---|---|"
    for turn in ways:
        rate = statistics.median(turn.rates())
        ratio = statistics.median(a / b for a, b in zip(turn.rates(), base.rates(), strict=True))
        yield f"| {turn.name} | {rate:,.0f} | {ratio:.3f} | {rate * cost / most:.0%} | {turn.loss:.4f} |"
    yield ""


def main() -> None:
    """Print a table in Markdown for each precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--model", default="24m", choices=MODELS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=4, help="rows a step")
    parser.add_argument("--tokens", type=int, default=256, help="tokens a row")
    parser.add_argument("--precision", nargs="+", default=["32-true", "bf16-mixed"])
    parser.add_argument("--ways", nargs="+", default=["loop", "hf", "lightning", "chunked"], choices=WAYS)
    options = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore", ".*num_workers.*|.*pin_memory.*")
    if "hf" in options.ways and importlib.util.find_spec("accelerate") is None:
        print("HF Trainer is left out, for it needs accelerate: pip install accelerate\n")
        options.ways.remove("hf")
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU"
    size = f"{options.model}, {options.rows} x {options.tokens} tokens, {options.rounds} rounds"
    print(f"torch {torch.__version__}, {device}, {options.threads} thread(s), {size}\n")
    for precision in options.precision:
        for line in measure(options, precision):
            print(line, flush=True)


if __name__ == "__main__":
    main()
