"""The part of a sharded parameter that lies on this rank, and the whole that it is part of.

whole parameter (5 x 4), sharded over 2 ranks by rows      box on rank 1: start (3, 0), shape (2, 4)
0 0 0 0                                                    a rank that has no row left has a box of shape (0, 4)
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

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


class Box(NamedTuple):
    """Where this rank's part lies in the whole: its first row, column ..., and how many there are of each."""

    start: tuple[int, ...]
    shape: tuple[int, ...]

    def of(self, whole: Tensor) -> Tensor:
        """The part of a whole tensor: a view."""
        for dim, (start, length) in enumerate(zip(self.start, self.shape, strict=True)):
            whole = whole.narrow(dim, start, length)
        return whole


def is_sharded(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Whether other ranks hold other parts of it (FSDP2, tensor parallel)."""
    module = sys.modules.get("torch.distributed.tensor")  # importing it costs a second; nothing is sharded without it
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Tensor) -> Tensor:
    """This rank's part, sharing memory; a plain tensor as it is."""
    return tensor.to_local().detach() if is_sharded(tensor) else tensor.detach()


def whole(tensor: Tensor) -> Tensor:
    """The whole of it: a copy that all ranks must ask for together; a plain tensor as it is."""
    return tensor.full_tensor().detach() if is_sharded(tensor) else tensor.detach()


def box(tensor: Tensor) -> Box:
    """Where :func:`local` lies in the whole.

    Raises:
        ValueError: the part is no box of rows and columns (FSDP2 and tensor parallel over one dimension).
    """
    if not is_sharded(tensor):
        return Box((0,) * tensor.ndim, tuple(tensor.shape))
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    if any(type(placement) not in (Shard, Replicate) for placement in tensor.placements):
        raise ValueError(
            f"a parameter of shape {tuple(tensor.shape)} is sharded as {tensor.placements}: use FSDP2 with"
            " tensor_parallel_size=1"
        )
    shape, start = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return Box(tuple(start), tuple(shape))


def gathered(part: Tensor, like: Tensor) -> Tensor:
    """The whole on the CPU, of which each rank has a part laid out as ``like``; all ranks must ask for it together."""
    if not is_sharded(like):
        return part.cpu()
    from torch.distributed.tensor import DTensor

    here = part.to(like.to_local().device)
    placed = DTensor.from_local(here, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())
    return placed.full_tensor().cpu()


def sum_over_ranks(values: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """The sum over all ranks where one of the parameters is sharded; else the values as they are.

    Args:
        values: of this rank; the same shape on each.
        parameters: what the values were made from.
    """
    return _reduced(values, parameters, distributed.ReduceOp.SUM)


def max_over_ranks(value: float, parameters: Iterable[Tensor]) -> float:
    """The largest over all ranks where one of the parameters is sharded; else the value as it is."""
    return float(_reduced(torch.tensor(value, dtype=torch.float64), parameters, distributed.ReduceOp.MAX))


def _reduced(values: Tensor, parameters: Iterable[Tensor], operation: "distributed.ReduceOp.RedOpType") -> Tensor:
    sharded = next((p for p in parameters if is_sharded(p)), None)
    if sharded is None or not is_sharded(sharded):
        return values
    from torch.distributed.tensor import Shard

    total, mesh = values.to(sharded.to_local().device), sharded.device_mesh
    for dim, placement in enumerate(sharded.placements):
        if isinstance(placement, Shard):  # ranks that hold copies must not be counted twice
            distributed.all_reduce(total, operation, mesh.get_group(dim))
    return total.to(values.device)
