"""Train or find the small default base model, and compare it with n-gram models on the test text."""

import math
import time
from pathlib import Path

from rich.table import Table
from transformers import PreTrainedTokenizerBase

from lightning_langcore.data.evaluation_batches import take_tokens
from lightning_langcore.data.tokenization import begin_token, encode
from lightning_langcore.jobs.config.groups.model import TrainedModel
from lightning_langcore.jobs.config.settings import Run, Settings
from lightning_langcore.jobs.steps import prepare, texts
from lightning_langcore.jobs.steps.evaluation import add_rows, evaluate_languages, make_fabric
from lightning_langcore.jobs.steps.loggers import logged
from lightning_langcore.metrics.ngram_baselines import KneserNeyTrigram, Unigram
from lightning_langcore.models import loading
from lightning_langcore.results.number_format import number
from lightning_langcore.results.record import Results
from lightning_langcore.utils import tables
from lightning_langcore.utils.progress import track

COLUMNS = ("unigram", "trigram", "model")


def run(settings: Settings) -> Results:
    """Train or find the base model and compare; writes ``base.csv``, perplexities of the test text by language.

    Raises:
        LangcoreError: invalid or unsupported settings.
    """
    started = time.monotonic()
    this, output = prepare.begin(settings), settings.output
    tokenizer = loading.load_tokenizer(this.base_path)
    model = loading.load_model(this.base_path, settings.model.dtype, settings.model.attention)
    results = Results(
        output,
        experiment=settings.name,
        seed=settings.seed,
        model={"name": settings.model.name, "num_weights": sum(p.numel() for p in model.parameters())},
    )
    loaders = texts.make_datamodule(this.settings, this.source, tokenizer).eval_loaders()["test"]
    fabric = make_fabric(settings.trainer)
    model = model.to(fabric.device)  # type: ignore[arg-type]
    table = {}
    with logged(settings, "pretrain_base", results):
        for language, batches in track(loaders.items(), "evaluating the base model", unit="languages"):
            figures = evaluate_languages(model, {language: batches}, fabric)[language]
            add_rows(results, {language: figures}, stage="base", seed=settings.seed)
            table[language] = {**_ngrams(this, tokenizer, language), "model": figures["ppl"]}
        results.status = "completed"
        results.seconds = {"total": time.monotonic() - started}
        results.write()
    _write(table, output / "base.csv")
    _print(table)
    return results


def _ngrams(this: Run, tokenizer: PreTrainedTokenizerBase, language: str) -> dict[str, float]:
    """Test perplexity of n-gram models of one language, trained on as many of its tokens as the base model."""
    settings, source = this.settings, this.source
    splitter = texts.make_splitter(settings)
    model = settings.model
    total_tokens = model.base.tokens if isinstance(model, TrainedModel) else settings.data.num_tokens
    budget = total_tokens // len(source.languages)
    rows, total = [], 0
    for row in encode(splitter.texts(source, language, "base"), tokenizer):
        rows.append(row)
        total += len(row)
        if total >= budget:
            break
    test = splitter.texts(source, language, "test")
    documents = [tokens for tokens, _ in take_tokens(test, tokenizer, settings.data.num_eval_tokens.test)]
    count = sum(len(tokens) for tokens in documents)
    unigram = Unigram(rows, len(tokenizer))
    trigram = KneserNeyTrigram(rows, len(tokenizer), begin_token(tokenizer))
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
