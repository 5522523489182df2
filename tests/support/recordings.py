"""Statistics recorded from uneven batches."""

import torch
from safetensors.torch import load_file

from lightning_langcore.importance.recording import STATISTICS, record
from lightning_langcore.models.parameters import candidates, named_shapes
from tests.support.training import blocks

PLENTY = 1 << 40
FIRST, LAST = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"


def uneven(count=3, rows=3):
    """Rows with 16, 6 and 11 scored tokens, padded on the right; in one batch a row has none, in one nothing has."""
    batches = [{k: b[k].clone() for k in ("input_ids", "shift_labels")} for b in blocks(count, rows=rows, seed=5)]
    for batch in batches:
        batch["shift_labels"][1, 6:] = -100
        batch["shift_labels"][2, 11:] = -100
        batch["shift_labels"][2, :2] = -100
    batches[1]["shift_labels"][1] = -100
    batches.insert(2, {"input_ids": torch.ones(2, 4, dtype=torch.int64), "shift_labels": torch.full((2, 4), -100)})
    return batches


def recorded(tmp_path, model, batches, statistics=STATISTICS, shapes=None, limit=PLENTY, **more):
    path = tmp_path / f"{limit}.safetensors"
    record(model, batches, shapes or candidates(named_shapes(model)), statistics, path, limit, **more)
    return load_file(path)
