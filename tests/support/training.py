"""Batches of random tokens, and trainings on them that print and write nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from lightning_langcore import ContinuedPretraining
from lightning_langcore.data.packing.dataset import ResumableLoader
from tests.support.models import VOCAB


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
