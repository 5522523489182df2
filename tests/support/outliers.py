"""Massive dimensions and super weights planted in a small model."""

import torch

from tests.support.models import VOCAB

DOWN = "model.layers.{}.mlp.down_proj.weight"
ROW, COLUMN = 21, 40


def ids(num_sequences=2, length=12, seed=0):
    return torch.randint(0, VOCAB, (num_sequences, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def plant_super_weight(model, layer=0, row=ROW, columns=(COLUMN,), value=30.0):
    """The columns' inputs spike at every token, and the row takes them with one weight each."""
    mlp = model.model.layers[layer].mlp
    gate, up = mlp.gate_proj.weight[COLUMN] * 100, mlp.up_proj.weight[COLUMN] * 100
    for column in columns:
        mlp.gate_proj.weight[column], mlp.up_proj.weight[column] = gate, up
        mlp.down_proj.weight[row, column] = value


@torch.no_grad()
def plant_dimension(model, dimension, token, value=500.0):
    model.model.embed_tokens.weight[token, dimension] = value
