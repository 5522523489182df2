"""A part of a parameter that ``save_pretrained`` writes as a tensor of its own, such as one expert of many."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ParameterPart:
    """Consecutive weights of a parameter in row-major order, in a shape of their own.

    A parameter (experts x rows x columns) is written as a tensor (rows x columns) for each expert, whose part has the
    offset expert x rows x columns.

    Args:
        parameter: the whole parameter, maybe sharded; or another tensor of its shape, as its gradient.
        offset: number of the parameter's weights before the part.
        shape: shape of the part.
    """

    parameter: Tensor
    offset: int
    shape: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.parameter.dtype

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.parameter.device

    @property
    def grad(self) -> "ParameterPart | None":
        """The same part of the parameter's gradient."""
        gradient = self.parameter.grad
        return None if gradient is None else self.of(gradient)

    def of(self, tensor: Tensor) -> "ParameterPart":
        """The same part of another tensor of the parameter's shape."""
        return ParameterPart(tensor, self.offset, self.shape)

    def numel(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


Weight: TypeAlias = Tensor | ParameterPart
"""What ``save_pretrained`` writes as one tensor: a whole parameter, or a part of one."""


def gradient_of(weight: Weight) -> Weight:
    """The gradient of a weight that has one."""
    gradient = weight.grad
    assert gradient is not None
    return gradient


def parameter_of(weight: Weight) -> Tensor:
    """The parameter that holds the weight: itself, or the one whose part it is."""
    return weight.parameter if isinstance(weight, ParameterPart) else weight
