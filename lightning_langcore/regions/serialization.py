"""The file of a region: safetensors, whose whole content is checked and none of it executed.

It holds ``NAME|idx``, ``NAME|bits``, ``NAME|rows``, ``NAME|cols`` in the encodings of :class:`WeightSet`, and JSON
under the metadata key ``langcore``: format, fingerprint, candidates and the origin of the region.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_langcore.regions.weight_set import WeightSet
from lightning_langcore.utils.atomic_files import atomic_path
from lightning_langcore.utils.errors import LangcoreError

FORMAT = 1
Shapes = Mapping[str, Sequence[int]]

_CHUNK = 1 << 16  # weights per chunk
_LARGEST_HEADER = 1 << 24  # characters of JSON; the header of a model with 300 matrices has 30 000
_LARGEST_SHAPE = 2**63  # elements: flat indices are int64
_MOST_DIMENSIONS = 64
_LONGEST_REASON = 300  # characters: names in a file can be of any length


def fingerprint(shapes: Shapes) -> str:
    """SHA-256 over parameter names and shapes: equal for models between which a region can be transferred."""
    lines = "\n".join(f"{name} {list(shapes[name])}" for name in sorted(shapes))
    return hashlib.sha256(lines.encode()).hexdigest()


def digest(shapes: Shapes, parts: Mapping[str, WeightSet]) -> str:
    """SHA-256 over candidates and stored parts: equal for equal regions in equal encodings, on any machine."""
    h = hashlib.sha256(fingerprint(shapes).encode())
    for name in sorted(parts):
        h.update(f"{name} {parts[name].encoding} ".encode())
        for chunk in parts[name].data.split(_CHUNK):
            h.update(chunk.numpy().astype("u1" if parts[name].encoding == "bits" else "<i8", copy=False))
    return h.hexdigest()


def write(path: Path, shapes: Shapes, parts: Mapping[str, WeightSet], meta: Mapping[str, Any]) -> None:
    """Write a region, atomically, each part in its encoding.

    Raises:
        OSError: a folder that can't be written, or a full disk.
    """
    header = {
        **meta,
        "format": FORMAT,
        "fingerprint": fingerprint(shapes),
        "candidates": {name: list(shape) for name, shape in shapes.items()},
        "num_weights": sum(map(len, parts.values())),
        "sha256": digest(shapes, parts),
    }
    tensors = {f"{name}|{part.encoding}": part.data for name, part in parts.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"langcore": json.dumps(header, ensure_ascii=False)})


def read(path: Path) -> tuple[dict[str, list[int]], dict[str, WeightSet], dict[str, Any]]:
    """Read the shapes of the candidates, the parts by name, and the other entries of the header.

    Memory: the size of the file, independent of the sizes in its header, and about twenty times the size of the header.

    Raises:
        LangcoreError: a missing, broken or truncated file; a file without a region; a wrong fingerprint, bound, order
            or type; the message names the first parameter concerned.
    """
    if not path.is_file():
        raise LangcoreError(f"no region file at {path}: make one with `python train.py +experiment=locate_core`")
    try:
        with safe_open(path, framework="pt") as file:
            raw = (file.metadata() or {}).get("langcore")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise LangcoreError(f"{path} is not a readable region file: {_one_line(error)}") from error
    try:
        header = _checked_header(raw)
        shapes = header.pop("candidates")
        parts = dict(_entries(tensors, shapes))
    except ValueError as error:
        raise LangcoreError(f"{path} is not a valid region file: {_one_line(error)}") from error
    num_weights = sum(map(len, parts.values()))
    expected = (header.pop("num_weights", num_weights), header.pop("sha256", None))
    if expected[0] != num_weights or expected[1] not in (None, digest(shapes, parts)):
        raise LangcoreError(f"{path} is not a valid region file: its {num_weights} weights are not those of its header")
    return shapes, parts, header


def _checked_header(raw: str | None) -> dict[str, Any]:
    if raw is None:
        raise LangcoreError("the header has no entry 'langcore'")
    if len(raw) > _LARGEST_HEADER:
        raise LangcoreError(f"its header has {len(raw):,} characters, more than {_LARGEST_HEADER:,}")
    try:
        header = json.loads(raw)
        json.dumps(header, ensure_ascii=False).encode()  # JSON may hold lone surrogates, which can't be saved
        shapes = dict(header["candidates"].items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LangcoreError(f"its header can't be read ({type(error).__name__})") from error
    if header.get("format") != FORMAT:
        raise LangcoreError(f"its format is not {FORMAT}, which this version reads")
    for name, shape in shapes.items():
        if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(map(_is_length, shape)):
            raise LangcoreError(f"{name} has no shape, which is a list of at most {_MOST_DIMENSIONS} whole numbers")
        if math.prod(shape) >= _LARGEST_SHAPE:
            raise LangcoreError(f"{name} has 2^63 elements or more")
    if fingerprint(shapes) != header.get("fingerprint"):
        raise LangcoreError("its fingerprint does not match its parameter names and shapes")
    return header


def _is_length(n: Any) -> bool:
    return type(n) is int and 0 <= n < _LARGEST_SHAPE


def _entries(tensors: Mapping[str, Tensor], shapes: Shapes) -> Iterator[tuple[str, WeightSet]]:
    seen = set()
    for key, tensor in tensors.items():
        name, _, encoding = key.rpartition("|")
        if name not in shapes:
            raise LangcoreError(f"the entry {key!r} names no candidate parameter")
        if name in seen:
            raise LangcoreError(f"{name} appears twice")
        seen.add(name)
        if encoding == "bits" and math.prod(shapes[name]) > 8 * tensor.nbytes:
            raise LangcoreError(f"{name}: the bitmap is not {(math.prod(shapes[name]) + 7) // 8} bytes")
        try:
            part = WeightSet(encoding, tensor, shapes[name])
        except ValueError as error:
            raise LangcoreError(f"the entry {key!r}: {error}") from error
        if len(part):
            yield name, part


def _one_line(error: Exception) -> str:
    """The error in one short line, because it may quote arbitrary names from a file."""
    text = str(error)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."
