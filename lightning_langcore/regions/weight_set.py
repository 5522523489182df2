"""A set of weights of one parameter, in the smallest of four encodings, and operations on these weights.

parameter (rows x cols)      idx         flat indices, row-major, ascending: 4 bytes per weight (8 beyond 2^31 - 1)
. . x .                      bits        one bit for every weight of the parameter, little-endian
x . . .                      rows, cols  numbers of whole rows or columns: 4 bytes per row or column
. . . x                      in the picture: idx 2, 4, 11
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_langcore.models.sharding import flat
from lightning_langcore.utils.errors import LangcoreError

ENCODINGS = ("idx", "bits", "rows", "cols")
INT32_MAX = 2**31 - 1
_CHUNK = 1 << 20  # indices per chunk
IDX_FOR_FAST_ACCESS = 1 / 8
"""Largest share of a parameter for which indices replace a bitmap for fast access: at most half a byte per weight."""


class WeightSet:
    """A set of single weights of one parameter; immutable.

    Args:
        encoding: ``idx``, ``bits``, ``rows`` or ``cols``, see the docstring of the module.
        data: 1-D; int32 or int64 and strictly ascending, or uint8 for ``bits``.
        shape: shape of the whole parameter.

    Raises:
        LangcoreError: data that do not fit encoding and shape; the message does not name the parameter.

    Example:
        >>> import torch
        >>> from lightning_langcore import WeightSet
        >>> rows = WeightSet("rows", torch.tensor([1], dtype=torch.int32), shape=(3, 4))
        >>> (rows & WeightSet.of(torch.tensor([2, 4, 11]), (3, 4))).indices()
        tensor([4])
    """

    def __init__(self, encoding: str, data: Tensor, shape: Sequence[int]) -> None:
        self.encoding = encoding
        self.shape = tuple(shape)
        self.numel = math.prod(self.shape)
        self.data = self._checked(data)
        self._length = self._count()

    @classmethod
    def of(cls, indices: Tensor, shape: Sequence[int]) -> "WeightSet":
        """A set from ascending flat indices, in the smaller of ``idx`` and ``bits``."""
        return cls("idx", indices, shape).compact()

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WeightSet):
            return NotImplemented
        if self.shape != other.shape or len(self) != len(other):
            return False
        one, two = (self, other) if self.encoding == other.encoding else (self.compact(), other.compact())
        return torch.equal(one.data, two.data)

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: "WeightSet") -> "WeightSet":
        return self._combine(other, np.union1d, np.bitwise_or)

    def __and__(self, other: "WeightSet") -> "WeightSet":
        return self._combine(other, np.intersect1d, np.bitwise_and)

    def __sub__(self, other: "WeightSet") -> "WeightSet":
        return self._combine(other, np.setdiff1d, lambda a, b: a & ~b)

    def indices(self) -> Tensor:
        """Flat row-major indices, ascending, int64, on the device of the data."""
        if self.encoding == "idx":
            return self.data.long()
        if self.encoding == "bits":
            return _where(self.data, self.numel)
        numbers, (rows, cols) = self.data.long(), self.shape
        if self.encoding == "rows":
            return (numbers[:, None] * cols + torch.arange(cols, device=numbers.device)).flatten()
        return (torch.arange(rows, device=numbers.device)[:, None] * cols + numbers).flatten()

    def bitmap(self) -> Tensor:
        """One bit for every weight of the parameter, uint8, little-endian, on the CPU."""
        if self.encoding == "bits":
            return self.data.cpu()
        mask = np.zeros(self.numel, dtype=bool)
        if self.encoding == "idx":
            mask[self.data.cpu().numpy()] = True
        elif self.encoding == "rows":
            mask.reshape(self.shape)[self.data.cpu().numpy()] = True
        else:
            mask.reshape(self.shape)[:, self.data.cpu().numpy()] = True
        return torch.from_numpy(np.packbits(mask, bitorder="little"))

    def compact(self) -> "WeightSet":
        """The same weights as ``idx`` or ``bits``, whichever is smaller: equal sets get equal encodings."""
        width = 4 if self.numel <= INT32_MAX else 8
        encoding = "idx" if len(self) * width <= (self.numel + 7) // 8 else "bits"
        if encoding == self.encoding:
            return self
        return WeightSet(encoding, self.indices() if encoding == "idx" else self.bitmap(), self.shape)

    def for_fast_access(self) -> "WeightSet":
        """The same weights for operations at every step: indices instead of a bitmap if they are few."""
        if self.encoding == "bits" and len(self) <= IDX_FOR_FAST_ACCESS * self.numel:
            return WeightSet("idx", self.indices(), self.shape)
        return self

    def within(self, start: Sequence[int], shape: Sequence[int]) -> "WeightSet":
        """The weights in a box of the parameter, with indices relative to the box: the local part of a sharded tensor.

        Args:
            start: first row, column, ... of the box.
            shape: shape of the box; a dimension is 0 on a rank without weights.
        """
        if tuple(shape) == self.shape:
            return self
        if self.encoding in ("rows", "cols"):
            dim = 0 if self.encoding == "rows" else 1
            numbers = self.data[(self.data >= start[dim]) & (self.data < start[dim] + shape[dim])] - start[dim]
            return WeightSet(self.encoding, numbers, shape)
        indices = self.indices()
        if tuple(shape[1:]) == self.shape[1:]:  # whole rows are contiguous
            length = math.prod(shape[1:])
            first, last = torch.searchsorted(indices, torch.tensor([start[0] * length, (start[0] + shape[0]) * length]))
            return WeightSet.of(indices[first:last] - start[0] * length, shape)
        inside, place = torch.ones_like(indices, dtype=torch.bool), torch.zeros_like(indices)
        for index, origin, size in zip(torch.unravel_index(indices, self.shape), start, shape, strict=True):
            inside &= (index >= origin) & (index < origin + size)
            place = place * size + (index - origin)
        return WeightSet.of(place[inside], shape)

    def to(self, device: torch.device | str) -> "WeightSet":
        """The same set with its data on a device."""
        moved = object.__new__(WeightSet)
        moved.__dict__.update(self.__dict__, data=self.data.to(device))
        return moved

    def gather(self, tensor: Tensor) -> Tensor:
        """Copy the values at the set's indices from a tensor of the set's shape: 1-D, in the order of the indices."""
        tensor = tensor.detach()
        if self.encoding == "rows":
            return tensor.index_select(0, self.data).flatten()
        if self.encoding == "cols":
            return tensor.index_select(1, self.data).flatten()
        return flat(tensor).index_select(0, self._positions())

    def fill_(self, tensor: Tensor, value: float) -> None:
        """Write one value at the set's indices."""
        tensor = tensor.detach()
        if self.encoding == "rows":
            tensor.index_fill_(0, self.data.long(), value)
        elif self.encoding == "cols":
            tensor.index_fill_(1, self.data.long(), value)
        else:
            flat(tensor).index_fill_(0, self._positions().long(), value)

    def scatter_(self, tensor: Tensor, values: Tensor) -> None:
        """Write values, in the order of :meth:`gather`, at the set's indices; bits are copied, also of NaN and -0.0."""
        tensor = tensor.detach()
        if self.encoding == "rows":
            tensor.index_copy_(0, self.data.long(), values.view(-1, self.shape[1]))
        elif self.encoding == "cols":
            tensor.index_copy_(1, self.data.long(), values.view(self.shape[0], -1))
        else:
            flat(tensor).index_copy_(0, self._positions().long(), values)

    def row_column_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of the set's weights in each row and in each column of a matrix; int64, (rows,) and (columns,)."""
        rows, cols = self.shape
        if self.encoding in ("rows", "cols"):
            full, other = (cols, rows) if self.encoding == "rows" else (rows, cols)
            own = np.zeros(other, dtype=np.int64)
            own[self.data.cpu().numpy()] = full
            across = np.full(full, len(self.data), dtype=np.int64)
            return (own, across) if self.encoding == "rows" else (across, own)
        in_rows, in_cols = np.zeros(rows, np.int64), np.zeros(cols, np.int64)
        for chunk in self.indices().cpu().split(_CHUNK):
            row, col = np.divmod(chunk.numpy(), cols)
            in_rows += np.bincount(row, minlength=rows)
            in_cols += np.bincount(col, minlength=cols)
        return in_rows, in_cols

    def _positions(self) -> Tensor:
        return self.data if self.encoding == "idx" else _where(self.data, self.numel)

    def _combine(
        self, other: "WeightSet", of_indices: Callable[..., np.ndarray], of_bits: Callable[..., np.ndarray]
    ) -> "WeightSet":
        if self.encoding == other.encoding != "bits":
            indices = torch.from_numpy(of_indices(self.data.cpu().numpy(), other.data.cpu().numpy()))
            combined = WeightSet(self.encoding, indices, self.shape)
            return combined.compact() if self.encoding == "idx" else combined
        bits = of_bits(self.bitmap().numpy(), other.bitmap().numpy())
        return WeightSet("bits", torch.from_numpy(bits), self.shape).compact()

    def _checked(self, data: Tensor) -> Tensor:
        if self.encoding not in ENCODINGS:
            raise LangcoreError(f"unknown encoding {self.encoding!r}")
        if self.encoding == "bits":
            return self._checked_bits(data)
        if data.ndim != 1 or data.dtype not in (torch.int32, torch.int64):
            raise LangcoreError(f"indices must be int32 or int64, 1-D, not {data.dtype}{list(data.shape)}")
        if self.encoding != "idx" and len(self.shape) != 2:
            raise LangcoreError(f"only a matrix has {self.encoding}, not shape {self.shape}")
        places = self.numel if self.encoding == "idx" else self.shape[0 if self.encoding == "rows" else 1]
        if len(data) and (int(data[0]) < 0 or int(data[-1]) >= places):
            raise LangcoreError(f"an index of {self.encoding} lies outside the {places} of shape {self.shape}")
        if not bool((data[1:] > data[:-1]).all()):
            raise LangcoreError("the indices are not strictly ascending")
        return data.to(torch.int32 if places <= INT32_MAX else torch.int64).contiguous()

    def _checked_bits(self, data: Tensor) -> Tensor:
        if data.dtype != torch.uint8 or data.shape != ((self.numel + 7) // 8,):
            raise LangcoreError(f"the bitmap is not {(self.numel + 7) // 8} bytes")
        if self.numel % 8 and int(data[-1]) >> self.numel % 8:
            raise LangcoreError(f"the bitmap has bits set beyond the {self.numel} weights")
        return data.contiguous()

    def _count(self) -> int:
        if self.encoding == "bits":
            return sum(int(np.unpackbits(part.numpy()).sum()) for part in self.data.cpu().split(_CHUNK // 16))
        if self.encoding == "idx":
            return len(self.data)
        return len(self.data) * self.shape[1 if self.encoding == "rows" else 0]


class Indices(Mapping[str, np.ndarray]):
    """Flat indices by parameter, int64, computed at each access: only one parameter's indices are in memory."""

    def __init__(self, parts: Mapping[str, WeightSet]) -> None:
        self._parts = parts

    def __getitem__(self, name: str) -> np.ndarray:
        return self._parts[name].indices().cpu().numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def _where(bits: Tensor, numel: int) -> Tensor:
    """Positions of the set bits, int64; memory: a byte for every weight of one parameter."""
    if bits.device.type == "cpu":
        flags = np.unpackbits(bits.numpy(), bitorder="little")[:numel]
        return torch.from_numpy(np.flatnonzero(flags.view(bool)))
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
    return ((bits[:, None] >> shifts) & 1).flatten()[:numel].nonzero().flatten()
