"""A mixture of experts, sharded over ranks: the parts of its parameters, and its weights read from files."""

import json

import torch
from torch.distributed.device_mesh import init_device_mesh

from lightning_langcore import named_shapes
from lightning_langcore.models import fsdp2, sharding
from lightning_langcore.models.parameters import saved_parameters
from lightning_langcore.models.safetensors_reader import Weights


def run(folder, rank, num_ranks):
    """On each rank: load a base of three experts; what rank 0 holds and gathers is compared with the files."""
    mesh = init_device_mesh("cpu", (num_ranks, 1), mesh_dim_names=("data_parallel", "tensor_parallel"))
    model = fsdp2.empty_model(folder / "base", attention="eager")
    fsdp2.shard_(model, mesh)
    stored, weights = Weights(folder / "base"), saved_parameters(model)
    found = {"names": weights.keys() == stored.shapes.keys(), "shapes": named_shapes(model) == stored.shapes}
    wholes = {name: sharding.whole(weight) for name, weight in weights.items()}
    found["whole"] = all(same_bits(wholes[name], stored[name]) for name in weights)
    gathered = {name: sharding.gathered(-sharding.local(weight), weight) for name, weight in weights.items()}
    found["gathered"] = all(same_bits(gathered[name], -stored[name]) for name in weights)
    local = {name: sharding.local(weight) for name, weight in weights.items()}
    found["local"] = all(same_bits(local[n], sharding.box(weights[n]).of(stored[n])) for n in weights)
    sizes = sum(part.numel() for part in local.values())
    found["num_weights"] = int(sharding.sum_over_ranks(torch.tensor(sizes), weights.values()))
    if rank == 0:
        (folder / "results.json").write_text(json.dumps(found))


def same_bits(one, two):
    return torch.equal(one.contiguous().view(torch.uint8), two.contiguous().view(torch.uint8))
