"""The outliers of the base model, found by one forward pass over the run's own text.

Outliers are massive-activation dimensions (hidden dimensions whose values are orders of magnitude above the median)
and super weights (single weights of a down projection that cause them).
"""

from itertools import islice

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_langcore.data.tokenization import begin_token, encode
from lightning_langcore.importance.outliers import Outliers, find_outliers, outlier_region
from lightning_langcore.jobs.config.settings import Run
from lightning_langcore.jobs.steps import texts
from lightning_langcore.jobs.steps.evaluation import make_fabric
from lightning_langcore.models import loading
from lightning_langcore.regions.region import Region
from lightning_langcore.utils.progress import say


def find(run: Run, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Outliers:
    """Find the outliers on one block of validation text of each evaluated language, which starts with the BOS token."""
    criteria = run.settings.region.outliers
    with make_fabric(run.settings.trainer).autocast():
        found = find_outliers(model, _blocks(run, tokenizer).to(model.device), **criteria.model_dump())
    say(summary(found))
    return found


def region_of_base(run: Run) -> Region:
    """The weights that read and write the base's massive-activation dimensions, and its super weights."""
    chosen = run.settings.model
    model = loading.load_model(run.base_path, chosen.dtype, chosen.attention)
    model.to(make_fabric(run.settings.trainer).device)  # type: ignore[arg-type]
    return outlier_region(model, find(run, model, loading.load_tokenizer(run.base_path)))


def summary(found: Outliers) -> str:
    """One line with the outliers that were found, or with the values that came closest to the criteria."""
    if found.dimensions:
        listed = ", ".join(f"{d.dimension} (|h| {abs(d.value):.0f}, {d.ratio:,.0f} x median)" for d in found.dimensions)
        dimensions = f"massive-activation dimensions: {listed}"
    else:
        top = found.ranking[0]
        dimensions = (
            f"no massive activation: the largest is |h| {abs(top.value):.3g} in dimension {top.dimension},"
            f" {top.ratio:,.1f} x the median"
        )
    if found.super_weights:
        weights = ", ".join(f"{w.name}[{w.row},{w.column}]" for w in found.super_weights)
        return f"{dimensions}; super weights: {weights}"
    best = found.best_weight
    if best is None:
        return dimensions
    return (
        f"{dimensions}; no super weight: the best candidate {best.name}[{best.row},{best.column}] makes"
        f" {best.explained:.0%} of a value that is {best.output_spike:.1f} x the median"
    )


def _blocks(run: Run, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Token ids of shape (languages, T): T is ``data.block_size``, or the length of the shortest text."""
    data, splitter = run.settings.data, texts.make_splitter(run.settings)
    rows = []
    for language in data.eval_languages or run.source.languages:
        row = [begin_token(tokenizer)]
        for tokens in encode(islice(splitter.texts(run.source, language, "validation"), 64), tokenizer, batch_size=4):
            row += tokens
            if len(row) >= data.block_size:
                break
        rows.append(row[: data.block_size])
    width = min(map(len, rows))
    return torch.tensor([row[:width] for row in rows])
