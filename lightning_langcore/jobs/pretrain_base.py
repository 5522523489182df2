"""Train or find the small default base model, and compare it with n-gram models on the test text."""

import math
import time
from pathlib import Path

from omegaconf import DictConfig
from rich.table import Table
from transformers import PreTrainedTokenizerBase

from lightning_langcore.data import Source, Splitter
from lightning_langcore.data.evaluation_batches import take_tokens
from lightning_langcore.data.tokenization import encode
from lightning_langcore.jobs.steps import prepare
from lightning_langcore.jobs.steps.evaluation import add_rows, evaluate_languages, make_fabric
from lightning_langcore.jobs.steps.loggers import logged
from lightning_langcore.metrics.ngram_baselines import KneserNeyTrigram, Unigram
from lightning_langcore.models import loading
from lightning_langcore.results.number_format import number
from lightning_langcore.results.record import Results
from lightning_langcore.utils import tables
from lightning_langcore.utils.progress import track

COLUMNS = ("unigram", "trigram", "model")


def run(cfg: DictConfig) -> Results:
    """Train or find the base model and compare; writes ``base.csv``, perplexities of the test text by language.

    Raises:
        LangcoreError: invalid or unsupported settings.
    """
    started = time.monotonic()
    output, source, base_path = prepare.begin(cfg)
    tokenizer = loading.load_tokenizer(base_path)
    model = loading.load_model(base_path, cfg.model.dtype, cfg.model.attention)
    results = Results(
        output,
        experiment=cfg.name,
        seed=cfg.seed,
        model={"name": cfg.model.name, "num_weights": sum(p.numel() for p in model.parameters())},
    )
    loaders = prepare.make_datamodule(cfg, source, tokenizer).eval_loaders()["test"]
    fabric = make_fabric(cfg)
    model = model.to(fabric.device)  # type: ignore[arg-type]
    table = {}
    with logged(cfg, "pretrain_base", results):
        for language, batches in track(loaders.items(), "evaluating the base model", unit="languages"):
            figures = evaluate_languages(model, {language: batches}, fabric)[language]
            add_rows(results, {language: figures}, stage="base", seed=cfg.seed)
            table[language] = {**_ngrams(cfg, source, tokenizer, language), "model": figures["ppl"]}
        results.status = "completed"
        results.seconds = {"total": time.monotonic() - started}
        results.write()
    _write(table, output / "base.csv")
    _print(table)
    return results


def _ngrams(cfg: DictConfig, source: Source, tokenizer: PreTrainedTokenizerBase, language: str) -> dict[str, float]:
    """Test perplexity of n-gram models of one language, trained on as many of its tokens as the base model."""
    splitter: Splitter = prepare.make_splitter(cfg)
    budget = cfg.model.base.get("tokens", cfg.data.num_tokens) // len(source.languages)
    rows, total = [], 0
    for row in encode(splitter.texts(source, language, "base"), tokenizer):
        rows.append(row)
        total += len(row)
        if total >= budget:
            break
    test = splitter.texts(source, language, "test")
    documents = [tokens for tokens, _ in take_tokens(test, tokenizer, cfg.data.num_eval_tokens.test)]
    count = sum(len(tokens) for tokens in documents)
    unigram = Unigram(rows, len(tokenizer))
    trigram = KneserNeyTrigram(rows, len(tokenizer), tokenizer.bos_token_id)
    return {
        name: math.exp(sum(model.nats(tokens) for tokens in documents) / count)
        for name, model in (("unigram", unigram), ("trigram", trigram))
    }


def _write(table: dict[str, dict[str, float]], path: Path) -> None:
    rows = ([language, *(f"{row[c]:.4f}" for c in COLUMNS)] for language, row in table.items())
    tables.write_csv(path, ["lang", *COLUMNS], rows)


def _print(table: dict[str, dict[str, float]]) -> None:
    shown = Table(title="Test perplexity: the base model and n-gram models of each language")
    for name in ("lang", *COLUMNS):
        shown.add_column(name, justify="left" if name == "lang" else "right")
    for language, row in table.items():
        shown.add_row(language, *(number(row[c]) for c in COLUMNS))
    tables.console().print(shown)
