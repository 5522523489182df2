"""Files written whole or not at all: into a temporary neighbour, then renamed."""

import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Hand out a temporary path in the same folder; rename it to ``path`` when the block ends without an error.

    The rename is atomic on POSIX file systems, so that a reader sees the old file or the new one, never a part.
    The temporary keeps the suffix of ``path``: some writers choose a format by it.

    Raises:
        OSError: the folder can't be made or written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_safetensors(
    path: Path | str, shapes: Mapping[str, Sequence[int]], tensors: Iterable[Tensor], metadata: Mapping[str, str]
) -> None:
    """Write float32 tensors as safetensors one by one, atomically; memory is one tensor, not the file.

    ``safetensors.torch.save_file`` wants all tensors at once, which for two float32 copies of 7B weights is 54 GB.

    Args:
        path: the file.
        shapes: name -> shape, in the order in which ``tensors`` come.
        tensors: float32 tensors on the CPU.
        metadata: the header's strings.

    Raises:
        ValueError: a tensor has another type or shape than was announced, or there are too few.
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
                raise ValueError(f"{name}: expected float32 {tuple(shape)}, got {tensor.dtype} {tuple(tensor.shape)}")
            tensor.contiguous().numpy().tofile(file)
        if os.fstat(file.fileno()).st_size != 8 + len(text) + offset:  # numpy loses the error of the last write
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def folder_once(folder: Path, write: Callable[[Path], None]) -> Path:
    """Make a folder unless it exists: ``write`` fills a temporary neighbour, which is renamed when it is whole.

    A second process waits for the first.

    Raises:
        OSError: the folder can't be made or written.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.exists():
            return folder
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            write(temporary)
            temporary.chmod(0o755)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder
