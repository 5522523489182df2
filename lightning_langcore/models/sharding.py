"""The local part of a sharded parameter on this rank, and its place in the whole parameter.

whole parameter (5 x 4), sharded over 2 ranks by rows      box on rank 1: start (3, 0), shape (2, 4)
0 0 0 0                                                    a rank without rows has a box of shape (0, 4)
0 0 0 0
0 0 0 0
1 1 1 1
1 1 1 1
"""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import torch
from torch import Tensor, distributed

from lightning_langcore.utils.errors import LangcoreError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


class Box(NamedTuple):
    """Place of a local part in the whole tensor.

    Attributes:
        start: first row, column ...
        shape: number of rows, columns ...
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]

    def of(self, whole: Tensor) -> Tensor:
        """The part of a whole tensor inside the box, as a view."""
        for dim, (start, length) in enumerate(zip(self.start, self.shape, strict=True)):
            whole = whole.narrow(dim, start, length)
        return whole


def is_sharded(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Whether other ranks hold other parts of the tensor (FSDP2, tensor parallel)."""
    module = sys.modules.get("torch.distributed.tensor")  # not imported: no DTensor; importing it would take a second
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Tensor) -> Tensor:
    """The local part of a sharded tensor, sharing its memory; a plain tensor is returned whole."""
    return tensor.to_local().detach() if is_sharded(tensor) else tensor.detach()


def whole(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor, as a copy; a plain tensor is not copied. Collective: all ranks must call it."""
    return tensor.full_tensor().detach() if is_sharded(tensor) else tensor.detach()


def box(tensor: Tensor) -> Box:
    """Place of :func:`local` in the whole tensor.

    Raises:
        LangcoreError: the local part is not a box of rows and columns (FSDP2 and tensor parallel over one dimension).
    """
    if not is_sharded(tensor):
        return Box((0,) * tensor.ndim, tuple(tensor.shape))
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    if any(type(placement) not in (Shard, Replicate) for placement in tensor.placements):
        raise LangcoreError(
            f"a parameter of shape {tuple(tensor.shape)} is sharded as {tensor.placements}: use FSDP2 with"
            " tensor_parallel_size=1"
        )
    shape, start = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return Box(tuple(start), tuple(shape))


def gathered(part: Tensor, like: Tensor) -> Tensor:
    """The whole tensor on the CPU, gathered from local parts. Collective: all ranks must call it.

    Args:
        part: local part of this rank.
        like: tensor that is sharded in the same way.
    """
    if not is_sharded(like):
        return part.cpu()
    from torch.distributed.tensor import DTensor

    local_part = part.to(like.to_local().device)
    sharded = DTensor.from_local(local_part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())
    return sharded.full_tensor().cpu()


def sum_over_ranks(values: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """The sum over all ranks if one of the parameters is sharded; otherwise the values unchanged.

    Args:
        values: values of this rank; the shape is the same on all ranks.
        parameters: parameters that the values were computed from.
    """
    return _reduced(values, parameters, distributed.ReduceOp.SUM)


def max_over_ranks(value: float, parameters: Iterable[Tensor]) -> float:
    """The maximum over all ranks if one of the parameters is sharded; otherwise the value unchanged."""
    return float(_reduced(torch.tensor(value, dtype=torch.float64), parameters, distributed.ReduceOp.MAX))


def _reduced(values: Tensor, parameters: Iterable[Tensor], operation: "distributed.ReduceOp.RedOpType") -> Tensor:
    sharded = next((p for p in parameters if is_sharded(p)), None)
    if sharded is None or not is_sharded(sharded):
        return values
    from torch.distributed.tensor import Shard

    total, mesh = values.to(sharded.to_local().device), sharded.device_mesh
    for dim, placement in enumerate(sharded.placements):
        if isinstance(placement, Shard):  # not over replicas, which would be counted twice
            distributed.all_reduce(total, operation, mesh.get_group(dim))
    return total.to(values.device)
