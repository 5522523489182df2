"""Perplexity of many languages compared with lm-eval's ``loglikelihood_rolling``: equality, time and memory.

    pip install "lm-eval[hf]"                       for the comparison; not needed for --parts memory
    python benchmarks/perplexity.py                 eight languages of the phrasebook, the tiny default's model and one
                                                    of 24 M weights, both random; one thread
    python benchmarks/perplexity.py --text FOLDER   <lang>.txt, .jsonl or .parquet of your own
    python benchmarks/perplexity.py --models FOLDER a model and its tokenizer; its context, up to --context
    python benchmarks/perplexity.py --device cuda
    python benchmarks/perplexity.py --parts memory  memory to evaluate a batch, by vocabulary

All ways alternate in one process, from text to bits per byte. Ours calls the functions that the jobs call; lm-eval runs
with each of several batch sizes. The table shows the largest difference of bits per byte, which must stay below 1e-4,
and the median over rounds of (seconds of a way) / (seconds of the first way in the same round). On the CPU these are
seconds of processor time, because other programs may be running.
"""

import argparse
import logging
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from guard import new_model
from lightning.fabric import Fabric
from monitor import tiny_model
from result_files import Table, add_results_option, write_result
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from lightning_langcore.data import phrasebook
from lightning_langcore.data.evaluation_batches import eval_batches
from lightning_langcore.data.sources.files import FileSource
from lightning_langcore.data.sources.phrasebook import PhrasebookSource
from lightning_langcore.jobs.steps.evaluation import evaluate_languages
from lightning_langcore.models import from_scratch, loading

Texts = Mapping[str, Sequence[str]]
RANDOM = {"tiny": tiny_model, "24m": new_model}
VOCABULARIES = (32_000, 128_256, 256_000)
MEMORY_ROWS, MEMORY_TOKENS, MEMORY_HIDDEN = 4, 512, 64


def read_texts(folder: Path | None, num_documents: int) -> dict[str, list[str]]:
    """Documents by language, from the phrasebook or from a folder."""
    if folder is None:
        return {lang: [phrasebook.document(lang, i) for i in range(num_documents)] for lang in phrasebook.LANGUAGES}
    source = FileSource(folder)
    return {lang: [d.text for d in islice(source.documents(lang), num_documents)] for lang in source.languages}


def load(name: str, device: str, texts: Texts) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in evaluation mode and its tokenizer."""
    if name in RANDOM:
        tokenizer = from_scratch.train_tokenizer((text for own in texts.values() for text in own), 4096)
        return RANDOM[name](device).eval(), tokenizer
    model: Any = loading.load_model(name)
    return model.to(device).eval(), loading.load_tokenizer(name)


def ours(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Texts, context: int, batch_tokens: int
) -> dict[str, float]:
    """Bits per byte by language."""
    fabric = Fabric(accelerator=model.device.type, devices=1)
    loaders = {lang: eval_batches(own, tokenizer, context, batch_tokens=batch_tokens) for lang, own in texts.items()}
    return {lang: found["bits_per_byte"] for lang, found in evaluate_languages(model, loaders, fabric).items()}


def lm_eval(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Texts, context: int, batch_size: int
) -> dict[str, float]:
    """Bits per byte by language, computed as ``bits_per_byte`` of lm-eval's tasks."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    scorer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=context, backend="causal")
    found = {}
    for lang, own in texts.items():
        requests = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(own)]
        with redirect_stderr(StringIO()):  # lm-eval prints a bar for each batch even with disable_tqdm
            nats = -sum(scorer.loglikelihood_rolling(requests, disable_tqdm=True))
        found[lang] = nats / (math.log(2) * sum(len(text.encode()) for text in own))
    return found


def compare(name: str, options: argparse.Namespace) -> Table:
    """Print the differences and the speed of all ways for one model, and return the table."""
    try:
        import lm_eval as installed  # noqa: F401 - only whether it is installed
    except ImportError:
        sys.exit('lm-eval is not installed: pip install "lm-eval[hf]", best in a separate environment')
    texts = read_texts(options.text, options.documents)
    model, tokenizer = load(name, options.device, texts)
    context = min(options.context, model.config.max_position_embeddings)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    ways: dict[str, Callable[[], dict[str, float]]] = {}
    for size in options.batch_tokens:
        ways[f"ours, batches of {size} tokens"] = lambda size=size: ours(model, tokenizer, texts, context, size)
    for size in options.batch_sizes:
        ways[f"lm-eval, batches of {size} windows"] = lambda size=size: lm_eval(model, tokenizer, texts, context, size)
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    found: dict[str, dict[str, float]] = {}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    order = list(ways)
    for number in range(options.rounds + 1):
        for way in order[number % len(order) :] + order[: number % len(order)]:  # no way is always the first
            started = clock()
            found[way] = ways[way]()
            seconds[way].append(clock() - started)
    tokens = sum(
        len(ids) for own in texts.values() for ids in tokenizer(list(own), add_special_tokens=False)["input_ids"]
    )
    median = {way: statistics.median(times[1:]) for way, times in seconds.items()}  # the first round warms up
    print(f"{name}: {len(texts)} languages of {options.documents} documents, {tokens:,} tokens, context {context}\n")
    columns = {"way": "{}", "tokens/s": "{:,.0f}", "time / that of the first": "{:.2f}"}
    table = Table({**columns, "largest difference of bits per byte": "{:.1e}"})
    print(table.head())
    for way in order:
        pairs = zip(seconds[way][1:], seconds[order[0]][1:], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        apart = max(abs(found[way][lang] - found[order[0]][lang]) for lang in texts)
        print(table.add(way, tokens / median[way], ratio, apart))
        if apart > 1e-4:
            sys.exit(f"{way}: bits per byte differ by {apart}")
    return table


# --- memory


class Peak(threading.Thread):
    """Peak number of bytes in anonymous pages while the thread runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.stop = threading.Event()

    def run(self) -> None:
        """Sample every millisecond."""
        while not self.stop.wait(0.001):
            self.bytes = max(self.bytes, anonymous())


def anonymous() -> int:
    """Bytes of this process in anonymous pages."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def evaluate_once(way: str, vocabulary: int, device: str) -> int:
    """Bytes that evaluating a batch of 4 x 512 tokens takes in addition to model and batch."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=MEMORY_HIDDEN, intermediate_size=128, num_hidden_layers=1,
        num_attention_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(device).eval()
    ids = torch.randint(0, vocabulary, (MEMORY_ROWS, MEMORY_TOKENS + 1), device=device)
    batch = {"input_ids": ids[:, :-1], "shift_labels": ids[:, 1:], "num_bytes": 1}
    fabric = Fabric(accelerator=device, devices=1)

    def evaluate() -> None:
        if way == "ours":
            evaluate_languages(model, {"en": [batch]}, fabric)
            return
        with torch.no_grad():  # as lm-eval's _loglikelihood_tokens does
            log_p = F.log_softmax(model(batch["input_ids"]).logits, dim=-1)
            for row, labels in zip(log_p, batch["shift_labels"], strict=True):
                row.argmax(-1).eq(labels).all()
                row.gather(1, labels[:, None]).sum()

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        evaluate()
        return torch.cuda.max_memory_allocated() - before
    peak, before = Peak(), anonymous()
    peak.start()
    evaluate()
    peak.stop.set()
    peak.join()
    return peak.bytes - before


def memory(device: str) -> Table:
    """Print gigabytes by vocabulary, each measured in its own process, and return the table."""
    tokens = MEMORY_ROWS * MEMORY_TOKENS
    print(f"a batch of {tokens} tokens, float32; GB in addition to model and batch\n")
    columns = {"all logits": "{:.2f}", "log_softmax of all, as lm-eval": "{:.2f}", "ours": "{:.2f}"}
    table = Table({"vocabulary": "{:,}", **columns})
    print(table.head())
    for vocabulary in VOCABULARIES:
        cells = []
        for way in ("lm-eval", "ours"):
            command = [sys.executable, __file__, "--device", device, "--one", way, str(vocabulary)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            cells.append(int(done.stdout.split()[-1]) / 1e9)
        print(table.add(vocabulary, 4 * tokens * vocabulary / 1e9, *cells), flush=True)
    return table


def main() -> None:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["time", "memory"], choices=["time", "memory"])
    parser.add_argument("--text", type=Path, help="folder of <lang>.txt, .jsonl or .parquet")
    parser.add_argument("--models", nargs="+", default=list(RANDOM), help="tiny, 24m, folders or hub ids")
    parser.add_argument("--context", type=int, default=256, help="tokens")
    parser.add_argument("--documents", type=int, default=64, help="documents of each language")
    parser.add_argument(
        "--batch-tokens", nargs="+", type=int, default=[4096], help="of ours; the first is the reference"
    )
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8, 32], help="of lm-eval, in windows")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "VOCABULARY"), help=argparse.SUPPRESS)
    add_results_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(evaluate_once(options.one[0], int(options.one[1]), options.device))
        return
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU"
    print(f"torch {torch.__version__}, {device}, {options.threads} thread(s)\n")
    tables, text = {}, None
    if "time" in options.parts:
        for name in options.models:
            tables["perplexity_" + re.sub(r"\W", "_", Path(name).name)] = compare(name, options)
            print(flush=True)
        source = FileSource(options.text) if options.text else PhrasebookSource()
        text = {"name": options.text.name if options.text else "phrasebook", "digest": source.digest()}
    if "memory" in options.parts:
        tables["perplexity_memory"] = memory(options.device)
    settings = {name: getattr(options, name) for name in ("device", "threads", "rounds", "context", "documents")}
    write_result("perplexity", tables, options.results, text=text, settings=settings)


if __name__ == "__main__":
    main()
