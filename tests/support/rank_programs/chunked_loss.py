"""Two steps with either loss on several ranks."""

import json
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard

from lightning_langcore import ContinuedPretraining
from tests.support.models import tiny_llama
from tests.support.training import Plain, blocks, loader

SGD = partial(torch.optim.SGD, lr=0.1)


class Apart(ContinuedPretraining):
    """Its head is sharded by itself, so that only calling the head brings its weight together."""

    def configure_model(self):
        if not hasattr(self.model.lm_head, "unshard"):
            fully_shard(self.model.lm_head, mesh=self.device_mesh["data_parallel"])
        super().configure_model()


def run(folder, rank, num_ranks):
    """On each rank: two steps with either loss, compiled too, sharded and not; rank 0 writes losses and weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
        results = train(num_ranks)
    if rank == 0:
        (folder / "results.json").write_text(json.dumps(results))


def train(num_ranks):
    """The last loss and the weights at the end of each case."""
    chunked, compiled = {"chunked_loss": True}, {"chunked_loss": True, "compile": True}
    cases = [
        (ContinuedPretraining, "fsdp2", [{}, chunked, compiled]),
        (Apart, "fsdp2", [chunked]),
        (ContinuedPretraining, "ddp", [chunked, compiled]),
    ]
    results = []
    for kind, strategy, settings in cases:
        for setting in settings:
            module = kind(tiny_llama(), SGD, **setting)
            shards = ModelParallelStrategy(data_parallel_size=num_ranks, tensor_parallel_size=1)
            more = {"strategy": shards if strategy == "fsdp2" else strategy, "devices": num_ranks, "max_steps": 2}
            trainer = Trainer(**Plain(None, enable_checkpointing=False, **more))
            trainer.fit(module, loader(blocks(8)))
            weights = dict(module.model.named_parameters())
            whole = {name: (p.full_tensor() if strategy == "fsdp2" else p).tolist() for name, p in weights.items()}
            results.append([float(trainer.callback_metrics["train/loss"]), whole])
    return results
