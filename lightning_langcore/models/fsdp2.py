"""FSDP2: a model sharded over ranks; no rank ever holds the whole model."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from transformers import GenerationConfig, PreTrainedModel

from lightning_langcore.models import loading, sharding
from lightning_langcore.models.parameters import in_a_layer, saved_parameters, stored_weights
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.utils.errors import LangcoreError


def empty_model(path: Path | str, dtype: loading.Dtype = "float32", attention: str = "sdpa") -> PreTrainedModel:
    """A model like that of :func:`~lightning_langcore.models.loading.load_model`, with parameters on the meta device.

    Args:
        path: folder saved by ``save_pretrained``; :func:`shard_` reads the weights from it.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        attention: transformers' ``attn_implementation``.

    Raises:
        LangcoreError: see :func:`lightning_langcore.models.loading.load_model`.
    """
    loading.check(path, dtype)
    model = loading.model_without_weights(loading.load_config(path), dtype, attention)
    with suppress(OSError):  # a model without the file has the defaults of its config
        model.generation_config = GenerationConfig.from_pretrained(path)  # which load_model reads, and save writes
    return model.train()


def shard_(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Shard each layer, then the remaining parameters, over the mesh with FSDP2; in place, parameter names stay.

    Parameters on the meta device are then filled from the files at ``model.name_or_path``: each rank reads its own
    rows, and no rank ever holds the whole model.

    Args:
        model: a model on the CPU, or on the meta device as of :func:`empty_model`.
        mesh: mesh of Lightning, with the dimensions ``data_parallel`` and ``tensor_parallel``.

    Raises:
        LangcoreError: a tensor-parallel size other than 1; a parameter that is not in the files, or has another shape.
    """
    if mesh["tensor_parallel"].size() != 1:
        raise LangcoreError(
            f"trainer.strategy.tensor_parallel_size={mesh['tensor_parallel'].size()}: weights are sharded over"
            " data_parallel_size only; set tensor_parallel_size=1"
        )
    mesh = mesh["data_parallel"]
    for name, module in model.named_modules():
        if in_a_layer(f"{name}.") and name.rpartition(".")[2].isdigit():
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    if any(p.is_meta for p in model.parameters()):
        _fill(model, mesh)


def full_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """All weights, unsharded, on the CPU of rank 0; empty on other ranks. Collective: all ranks must call it."""
    state: Any = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return state


@torch.no_grad()
def _fill(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    stored = stored_weights(model, Weights(str(model.name_or_path)))
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.to_empty(device=mesh.device_type)
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
    for name, parameter in saved_parameters(model).items():
        if stored.shapes.get(name) != tuple(parameter.shape):
            raise LangcoreError(
                f"model.path={model.name_or_path}: its files do not hold {name} in shape {tuple(parameter.shape)}: load"
                " the model once on one device and save it with save_pretrained"
            )
        box = sharding.box(parameter)
        sharding.local(parameter).copy_(stored.part(name, box.start, box.shape))
