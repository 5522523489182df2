"""Perplexity evaluated in a training on several ranks."""

import json
from functools import partial

import lightning.pytorch as pl
import torch

from lightning_langcore import ContinuedPretraining, CoreGuard, MultilingualPerplexity
from lightning_langcore.data.evaluation_batches import EvalLoader
from lightning_langcore.data.packing.dataset import ResumableLoader
from tests.support.evaluation import LOADERS
from tests.support.models import random_half, tiny_llama
from tests.support.training import Plain, Rows, blocks


def run(folder, rank, num_ranks):
    """Rank 0 writes what it found."""
    found = train(rank, num_ranks)
    if rank == 0:
        (folder / "results.json").write_text(json.dumps(found))


def train(rank, num_ranks):
    """The same rows a step on any number of ranks: perplexity, val/loss, whether the guard kept its bits, drift."""
    batches = blocks(8, rows=2)
    if num_ranks == 1:
        batches = [{k: torch.cat([a[k], b[k]]) for k in a} for a, b in zip(batches[::2], batches[1::2], strict=True)]
    module = ContinuedPretraining(tiny_llama(), partial(torch.optim.SGD, lr=0.1, weight_decay=0.1))
    region = random_half(module)
    before = {n: region.match(module)[n].detach().view(-1)[i].clone() for n, i in region}
    perplexity, guard = MultilingualPerplexity(LOADERS, milestones=[0, 8]), CoreGuard(region)
    arguments = Plain(None, max_epochs=1, enable_checkpointing=False) | {"devices": num_ranks}
    trainer = pl.Trainer(**arguments, strategy="ddp" if num_ranks > 1 else "auto", callbacks=[perplexity, guard])
    sampler = torch.utils.data.DistributedSampler(Rows(batches), num_replicas=num_ranks, rank=rank, shuffle=False)
    trainer.fit(module, ResumableLoader(Rows(batches), len(batches[0]["input_ids"]), sampler=sampler))
    kept = all(torch.equal(region.match(module)[n].detach().view(-1)[i], before[n]) for n, i in region)
    texts = [batch for batches in LOADERS.values() for batch in batches][:3]  # on two ranks one is filled up
    [validated] = trainer.validate(module, EvalLoader(texts, rank, num_ranks), verbose=False)
    return perplexity.rows, validated["val/loss"], kept, guard.drift()
