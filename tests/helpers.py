"""Small models and batches that several tests share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from lightning_langcore import ContinuedPretraining, Region, random_region
from lightning_langcore.data.datamodule import ResumableLoader
from lightning_langcore.models.parameters import candidates, named_shapes
from lightning_langcore.regions.weight_set import WeightSet

VOCAB = 300


def tiny_llama(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """A LLaMA of about 40 000 weights, untied head, with fixed weights."""
    fields = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    fields |= {"tie_word_embeddings": False, **changes}
    config = LlamaConfig(vocab_size=VOCAB, max_position_embeddings=64, **fields)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).float().train()


def random_half(module: torch.nn.Module, seed: int = 0, fraction: float = 0.5) -> Region:
    return random_region(candidates(named_shapes(module)), fraction, seed)


def blocks(count: int, size: int = 16, rows: int = 2, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, VOCAB, (count, rows, size + 1), generator=generator)
    return [
        {"input_ids": t[:, :-1], "shift_labels": t[:, 1:], "num_documents": torch.ones(rows, dtype=torch.int64)}
        for t in tokens
    ]


class Rows(torch.utils.data.Dataset):
    def __init__(self, batches: Sequence[dict[str, torch.Tensor]]) -> None:
        self.rows = [{k: v[i] for k, v in b.items()} for b in batches for i in range(len(b["input_ids"]))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return self.rows[i]


def loader(batches: Sequence[dict[str, torch.Tensor]]) -> DataLoader:
    return ResumableLoader(Rows(batches), batch_size=len(batches[0]["input_ids"]))


def Plain(folder: Path | None, **more: Any) -> dict[str, Any]:  # noqa: N802 - reads like a Trainer
    """Arguments of a Trainer that prints and writes nothing."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    return {"default_root_dir": folder, "log_every_n_steps": 1, "devices": 1, **quiet, **more}


def fit(module: pl.LightningModule, batches: Sequence, callbacks: Sequence[pl.Callback], **more: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        **Plain(None, **({"max_epochs": 1, "enable_checkpointing": False} | more)), callbacks=list(callbacks)
    )
    trainer.fit(module, loader(batches))
    return trainer


def state_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """All state tensors, in the order of the parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return [v for p in parameters for v in optimizer.state[p].values() if isinstance(v, torch.Tensor)]


class ClipBlocks(ContinuedPretraining):
    """Writes down the gradient norm that clipping sees."""

    norm = 0.0

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        self.norm = float(torch.nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None]))


def row_column_counts(flat: np.ndarray, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights in each row and column of a matrix, from flat indices."""
    return WeightSet.of(torch.from_numpy(np.sort(flat).astype(np.int64)), (rows, cols)).row_column_counts()


def place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Largest(TorchDispatchMode):
    """The most numbers that any operation has made; what shares the memory of its arguments is not new."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        old = {place(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor) and place(leaf) not in old]
        self.numel = max([self.numel, *(leaf.numel() for leaf in made)])
        return out
