"""Conversations packed into rows, and the losses of a training on them."""

import lightning.pytorch as pl
import torch

from tests.support.models import VOCAB

IGNORE = -100
LENGTHS = [[7, 1, 5, 3], [16], [4, 9]]  # conversations of each row; what is left of 16 is padding
WIDTH = 16


def packed(lengths=LENGTHS, seed=0):
    """A batch, and its conversations as pairs of tokens and flags, written down here anew."""
    generator = torch.Generator().manual_seed(seed)
    rows, alone = {"input_ids": [], "position_ids": [], "shift_labels": []}, []
    for row in lengths:
        ids, positions, labels = [], [], []
        for length in row:
            tokens = torch.randint(0, VOCAB, (length,), generator=generator).tolist()
            flags = [False, *(torch.rand(length - 1, generator=generator) < 0.5).tolist()]
            alone.append((tokens, flags))
            ids += tokens
            positions += range(length)
            learnt = [t if flag else IGNORE for t, flag in zip(tokens, flags, strict=True)]
            labels += [*learnt[1:], IGNORE]
        rest = WIDTH - len(ids)
        rows["input_ids"].append(ids + [0] * rest)
        rows["position_ids"].append(positions + list(range(rest)))
        rows["shift_labels"].append(labels + [IGNORE] * rest)
    return {name: torch.tensor(values) for name, values in rows.items()}, alone


class Losses(pl.Callback):
    def __init__(self):
        self.losses, self.gradients = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(trainer.callback_metrics["train/loss"]))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients.append({n: p.grad.clone() for n, p in pl_module.model.named_parameters()})


def with_documents(batch):
    return batch | {"num_documents": torch.ones(len(batch["input_ids"]), dtype=torch.int64)}
