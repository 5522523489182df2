"""The local part of a sharded parameter on this rank, and its place in the whole parameter.

whole parameter (5 x 4), sharded over 2 ranks by rows      box on rank 1: start (3, 0), shape (2, 4)
0 0 0 0                                                    a rank without rows has a box of shape (0, 4)
0 0 0 0
0 0 0 0
1 1 1 1
1 1 1 1

A :class:`ParameterPart`, such as one expert of many, is sharded as its parameter is.
"""

import math
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import torch
from torch import Tensor, distributed

from lightning_langcore.models.parameter_part import ParameterPart, Weight, parameter_of
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


def is_sharded(weight: Weight) -> bool:
    """Whether other ranks hold other parts of the tensor (FSDP2, tensor parallel)."""
    return _is_dtensor(parameter_of(weight))


def _is_dtensor(tensor: Tensor) -> "TypeGuard[DTensor]":
    module = sys.modules.get("torch.distributed.tensor")  # not imported: no DTensor; importing it would take a second
    return module is not None and isinstance(tensor, module.DTensor)


def local(weight: Weight) -> Tensor:
    """The local part of a sharded tensor, sharing its memory; a plain tensor is returned whole.

    Raises:
        LangcoreError: a part of a parameter that is not contiguous.
    """
    tensor = parameter_of(weight)
    found = tensor.to_local().detach() if _is_dtensor(tensor) else tensor.detach()
    if not isinstance(weight, ParameterPart):
        return found
    own = box(weight)
    length = math.prod(own.shape)
    before = weight.offset + _row_size(weight) * own.start[0] - _offset(tensor)
    return flat(found)[before : before + length].view(own.shape) if length else found.new_empty(own.shape)


def same_part(weight: Weight, tensor: Tensor) -> Tensor:
    """What belongs to the weight in another tensor of its parameter's shape, such as the gradient, for reading."""
    return local(weight.of(tensor.contiguous())) if isinstance(weight, ParameterPart) else tensor


def whole(weight: Weight) -> Tensor:
    """The whole of a sharded tensor, as a copy; a plain tensor is not copied. Collective: all ranks must call it."""
    tensor = parameter_of(weight)
    if not _is_dtensor(tensor):
        return local(weight)
    if isinstance(weight, ParameterPart):
        return _joined(local(weight), weight)
    return tensor.full_tensor().detach()


def box(weight: Weight) -> Box:
    """Place of :func:`local` in the whole tensor.

    Raises:
        LangcoreError: the local part is not a box of rows and columns (FSDP2 and tensor parallel over one dimension).
    """
    tensor = parameter_of(weight)
    if not _is_dtensor(tensor):
        return Box((0,) * len(weight.shape), tuple(weight.shape))
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    if any(type(placement) not in (Shard, Replicate) for placement in tensor.placements):
        raise LangcoreError(
            f"a parameter of shape {tuple(tensor.shape)} is sharded as {tensor.placements}: use FSDP2 with"
            " tensor_parallel_size=1"
        )
    shape, start = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    found = Box(tuple(start), tuple(shape))
    return _box_within(weight, tensor, found) if isinstance(weight, ParameterPart) else found


def flat(tensor: Tensor) -> Tensor:
    """A one-dimensional view that shares memory with ``tensor``; the indices of a region refer to its order.

    Raises:
        LangcoreError: the tensor is not contiguous, so that no such view exists.
    """
    if not tensor.is_contiguous():
        raise LangcoreError(
            f"a parameter of shape {tuple(tensor.shape)} is not contiguous: make it contiguous before training"
        )
    return tensor.detach().view(-1)


def gathered(part: Tensor, like: Weight) -> Tensor:
    """The whole tensor on the CPU, gathered from local parts. Collective: all ranks must call it.

    Args:
        part: local part of this rank.
        like: tensor that is sharded in the same way.
    """
    tensor = parameter_of(like)
    if not _is_dtensor(tensor):
        return part.cpu()
    local_part = part.to(tensor.to_local().device)
    if isinstance(like, ParameterPart):
        return _joined(local_part, like).cpu()
    from torch.distributed.tensor import DTensor

    mesh, placements = tensor.device_mesh, tensor.placements
    sharded = DTensor.from_local(local_part, mesh, placements, shape=tensor.shape, stride=tensor.stride())
    return sharded.full_tensor().cpu()


def sum_over_ranks(values: Tensor, weights: Iterable[Weight]) -> Tensor:
    """The sum over all ranks if one of the parameters is sharded; otherwise the values unchanged.

    Args:
        values: values of this rank; the shape is the same on all ranks.
        weights: parameters that the values were computed from.
    """
    return _reduced(values, weights, distributed.ReduceOp.SUM)


def max_over_ranks(value: float, weights: Iterable[Weight]) -> float:
    """The maximum over all ranks if one of the parameters is sharded; otherwise the value unchanged."""
    return float(_reduced(torch.tensor(value, dtype=torch.float64), weights, distributed.ReduceOp.MAX))


def _reduced(values: Tensor, weights: Iterable[Weight], operation: "distributed.ReduceOp.RedOpType") -> Tensor:
    sharded = next((tensor for tensor in map(parameter_of, weights) if _is_dtensor(tensor)), None)
    if sharded is None or not _is_dtensor(sharded):
        return values
    from torch.distributed.tensor import Shard

    total, mesh = values.to(sharded.to_local().device), sharded.device_mesh
    for dim, placement in enumerate(sharded.placements):
        if isinstance(placement, Shard):  # not over replicas, which would be counted twice
            distributed.all_reduce(total, operation, mesh.get_group(dim))
    return total.to(values.device)


def _row_size(weight: ParameterPart) -> int:
    return math.prod(weight.shape[1:])


def _offset(parameter: Tensor) -> int:
    """Place of the first local weight in the flattened parameter, which is sharded by rows or not at all."""
    return box(parameter).start[0] * math.prod(parameter.shape[1:]) if _is_dtensor(parameter) else 0


def _box_within(weight: ParameterPart, parameter: Tensor, own: Box) -> Box:
    """The rows of a part that this rank holds, if it holds the rows ``own`` of the parameter."""
    row = math.prod(parameter.shape[1:])
    first = max(own.start[0] * row, weight.offset)
    last = min((own.start[0] + own.shape[0]) * row, weight.offset + weight.numel())
    start, length = first - weight.offset, max(0, last - first)
    if tuple(own.shape[1:]) != tuple(parameter.shape[1:]) or start % _row_size(weight) or length % _row_size(weight):
        raise LangcoreError(
            f"a parameter of shape {tuple(parameter.shape)} is not sharded by rows of its parts: use FSDP2 with"
            " tensor_parallel_size=1"
        )
    begin = start // _row_size(weight) if length else 0
    return Box((begin, *(0 for _ in weight.shape[1:])), (length // _row_size(weight), *weight.shape[1:]))


def _joined(part: Tensor, like: ParameterPart) -> Tensor:
    """The whole of a part of a sharded parameter, on the device of ``part``.

    Each byte is summed with zeros, so that no bit changes: a sum of floats would lose the sign of -0.0.
    """
    total = torch.zeros(tuple(like.shape), dtype=part.dtype, device=part.device)
    box(like).of(total).copy_(part)
    return sum_over_ranks(total.view(-1).view(torch.uint8), [like]).view(part.dtype).view(tuple(like.shape))
