"""Writing of tensors to a safetensors file one by one, with one tensor in memory instead of all."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lightning_langcore.utils.atomic_files import atomic_path
from lightning_langcore.utils.errors import LangcoreError


def write_safetensors(
    path: Path | str, shapes: Mapping[str, Sequence[int]], tensors: Iterable[Tensor], metadata: Mapping[str, str]
) -> None:
    """Write float32 tensors as safetensors one by one, atomically. Memory: one tensor.

    ``safetensors.torch.save_file`` needs all tensors at once, which for two float32 copies of 7B weights is 54 GB.

    Args:
        path: the file.
        shapes: name -> shape, in the order of ``tensors``.
        tensors: float32 tensors on the CPU.
        metadata: strings of the header.

    Raises:
        LangcoreError: a tensor of another type or shape than in ``shapes``, or another number of tensors.
        OSError: the disk is full.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            if tensor.dtype != torch.float32 or tuple(tensor.shape) != tuple(shape):
                raise LangcoreError(
                    f"{name}: expected float32 {tuple(shape)}, got {tensor.dtype} {tuple(tensor.shape)}"
                )
            file.write(tensor.contiguous().numpy().data)  # numpy's tofile would hide the error of a full disk
