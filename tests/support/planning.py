"""Trainings whose memory is planned, and what tensors they really hold.

``python -m tests.support.planning`` makes the table of docs/guides/memory.md.
"""

import weakref
from contextlib import nullcontext
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_langcore import ContinuedPretraining, CoreGuard, random_region
from lightning_langcore.models import loading
from lightning_langcore.models.parameters import named_shapes
from lightning_langcore.training.memory.footprint import Model, Optimizer, Training
from lightning_langcore.training.memory.planner import plan
from tests.support.training import Plain, loader

ADAMW = Optimizer(2, has_counter=True)
SGD = Optimizer(1)
SHAPE = {
    "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 2000, "max_position_embeddings": 256, "tie_word_embeddings": False,
}  # fmt: skip
SIZE = {"batch_size": 2, "block_size": 128}


def training(changes: dict[str, Any] | None = None, **more: Any) -> tuple[LlamaConfig, Training]:
    """A config and what is to be planned of it."""
    config = LlamaConfig(**(SHAPE | (changes or {})))
    config._attn_implementation = more.get("attention", "sdpa")
    model = planned_model(config)
    return config, Training(model, **({"optimizer": ADAMW, **SIZE} | more))


def planned_model(config: LlamaConfig) -> Model:
    """Shapes from a real model, not from the meta device."""
    c = config
    sizes = (c.num_hidden_layers, c.hidden_size, c.intermediate_size, c.num_attention_heads, c.num_key_value_heads)
    return Model(named_shapes(LlamaForCausalLM(config)), *sizes, c.head_dim, c.vocab_size)


def saved_bytes(config: LlamaConfig, planned: Training) -> int:
    """Bytes of the distinct storages that the model's forward pass saves for backward, its own weights apart."""
    model = LlamaForCausalLM(config).to(torch.bfloat16 if planned.width == 2 else torch.float32).train()
    if planned.checkpointing:
        loading.checkpoint_activations(model)
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    saved = {}

    def pack(tensor):
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    ids = torch.randint(0, config.vocab_size, (planned.batch_size, planned.block_size))
    half = torch.arange(planned.block_size // 2).repeat(2).expand_as(ids)
    more = {"position_ids": half} if planned.masked else {}
    cast = torch.autocast("cpu", torch.bfloat16, cache_enabled=False) if planned.autocast else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), cast:
        model(input_ids=ids, use_cache=False, **more)
    return sum(storage.nbytes() for key, storage in saved.items() if key not in own)


# most CPUs take tens of times as long for these in bfloat16; copies that a dispatch mode makes itself are not counted
PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)


class Held(TorchDispatchMode):
    """Bytes of all storages that operations have made and that still live; the most there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in PRODUCTS and args[0].dtype == torch.bfloat16:
            made = func(*(tensor.float() for tensor in args)).bfloat16()
        else:
            made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive or not size:
            return

        def gone(_):
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


BUILD = {
    ADAMW: partial(torch.optim.AdamW, lr=1e-3, fused=True),
    SGD: partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
}


def fit(config: LlamaConfig, planned: Training) -> tuple[int, pl.Trainer]:
    """Train two steps as planned: the most bytes that were held at once, and the trainer with all that is left.

    The first step ends with what the optimizer keeps, so the second holds what all later ones do.
    """
    accumulated = 2 if planned.accumulates else 1
    generator = torch.Generator().manual_seed(0)
    shape = (2 * accumulated, planned.batch_size, planned.block_size + 1)
    tokens = torch.randint(0, config.vocab_size, shape, generator=generator)
    precision = "bf16-mixed" if planned.autocast else "bf16-true" if planned.width == 2 else "32-true"
    callbacks = []
    with Held() as held:
        model = LlamaForCausalLM(config).train()
        if planned.checkpointing:
            loading.checkpoint_activations(model)
        if planned.guard is not None:
            callbacks = [CoreGuard(random_region(planned.guard.candidates, planned.guard.fraction, seed=0))]
        module = ContinuedPretraining(model, BUILD[planned.optimizer], chunked_loss=planned.chunked_loss)
        if planned.width == 2:
            module = module.bfloat16()  # else the float32 weights that are made first would count
        held.most = held.now
        trainer = pl.Trainer(
            **Plain(None, max_epochs=1, enable_checkpointing=False, accumulate_grad_batches=accumulated),
            precision=precision,
            callbacks=callbacks,
        )
        trainer.fit(module, loader([{"input_ids": t[:, :-1], "shift_labels": t[:, 1:]} for t in tokens]))
    return held.most, trainer


CASES = {
    "float32, AdamW": {},
    "float32, AdamW, checkpointing": {"checkpointing": True},
    "float32, SGD": {"optimizer": SGD},
    "float32, AdamW, accumulating": {"accumulates": True},
    "float32, AdamW, eager": {"attention": "eager"},
    "bf16-true, AdamW": {"width": 2},
    "bf16-true, SGD, checkpointing": {"width": 2, "optimizer": SGD, "checkpointing": True},
    "bf16-mixed, AdamW": {"autocast": True},
    "bf16-mixed, AdamW, checkpointing": {"autocast": True, "checkpointing": True},
    "float32, AdamW, chunked loss": {"chunked_loss": True, "batch_size": 8},
    "bf16-true, AdamW, checkpointing, chunked loss": {
        "width": 2, "checkpointing": True, "chunked_loss": True, "batch_size": 8,
    },
    "bf16-mixed, SGD, checkpointing, chunked loss": {
        "autocast": True, "optimizer": SGD, "checkpointing": True, "chunked_loss": True, "batch_size": 8,
    },
    "bf16-mixed, AdamW, accumulating, eager, checkpointing, chunked loss": {
        "autocast": True, "accumulates": True, "attention": "eager", "checkpointing": True, "chunked_loss": True,
    },
    "float32, AdamW, checkpointing, small vocabulary": {"checkpointing": True, "vocab_size": 100},
    "float32, AdamW, many tokens": {"batch_size": 32, "vocab_size": 100},
    "bf16-true, AdamW, many tokens": {"width": 2, "batch_size": 32, "vocab_size": 100},
    "bf16-mixed, AdamW, checkpointing, many tokens": {
        "autocast": True, "checkpointing": True, "batch_size": 32, "vocab_size": 100,
    },
}  # fmt: skip


def case(name: str) -> tuple[LlamaConfig, Training]:
    settings = dict(CASES[name])
    changes = {"vocab_size": settings.pop("vocab_size")} if "vocab_size" in settings else {}
    return training(changes, **settings)


def table() -> str:
    lines = ["| training | planned, MiB | measured, MiB | planned / measured |", "|---|---|---|---|"]
    for name in CASES:
        config, planned = case(name)
        measured, expected = fit(config, planned)[0], plan(planned).num_bytes
        lines.append(f"| {name} | {expected / 2**20:.2f} | {measured / 2**20:.2f} | {expected / measured:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(table())  # noqa: T201
