"""Files and folders written whole or not at all: into a temporary neighbour, then renamed."""

import errno
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

_FORGOTTEN_SECONDS = 24 * 3600.0
"""A temporary that has not been touched for so long was left by a process that was killed."""
_TEMPORARY = ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Hand out a temporary path in the same folder; rename it to ``path`` when the block ends without an error.

    The rename is atomic on POSIX file systems and comes after the content is on the disk, so that a reader sees the old
    file or the new one, never a part, even after a power cut. The temporary keeps the suffix of ``path``: some writers
    choose a format by it. A process that is killed leaves its temporary; who writes the same file a day later removes
    it.

    Raises:
        OSError: the folder can't be made or written, or the disk is full; it names ``path``.
    """
    path = Path(path)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path, path.suffix, _FORGOTTEN_SECONDS)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _flush(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except SafetensorError as error:
            raise OSError(f"{path} can't be written: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path, keep_seconds: float = _FORGOTTEN_SECONDS) -> Iterator[Path]:
    """Hand out an empty neighbour; rename it to ``folder`` when the block ends without an error.

    An older folder of that name stays until then, and goes.

    Args:
        folder: to be made or replaced.
        keep_seconds: age from which temporaries of processes that were killed are removed first; 0 where a lock says
            that nobody else writes this folder.

    Raises:
        OSError: the folder can't be made or written, or the disk is full.
    """
    with _naming(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder, _TEMPORARY, keep_seconds)
        temporary = _neighbour(folder)
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _flush(file)
            temporary.chmod(0o777 & ~_umask())
            _put(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Add a line and have it on the disk before returning; if the disk is full, the file stays as it was.

    A process that is killed meanwhile may leave a last line without its end.

    Raises:
        OSError: it can't be written.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            data = memoryview(f"{line}\n".encode())
            try:
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise


def system_error(error: BaseException) -> OSError | None:
    """The system's own error, if there is one at or behind another."""
    found: BaseException | None = error
    seen = set()
    while found is not None and id(found) not in seen:  # an error raised again may stand behind itself
        if isinstance(found, OSError) and found.errno is not None:
            return found
        seen.add(id(found))
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """The error of a full disk, which names no file, names ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            error.filename = str(path)
        raise


def _put(temporary: Path, folder: Path) -> None:
    """Rename a folder to the name of another, which goes when the new one is in its place."""
    if not folder.exists():
        temporary.rename(folder)
        return
    old = _neighbour(folder)
    try:
        aside = folder.rename(old / folder.name)
        try:
            temporary.rename(folder)
        except BaseException:
            aside.rename(folder)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _neighbour(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=_TEMPORARY))


def _sweep(path: Path, suffix: str, keep_seconds: float) -> None:
    """Remove what processes that were killed have left of ``path``: names as ``tempfile`` makes them, of 8 letters."""
    stem = path.stem if suffix != _TEMPORARY else path.name
    for left in path.parent.glob(f".{glob.escape(stem)}.????????{glob.escape(suffix)}"):
        with suppress(OSError):  # another process was quicker
            if time.time() - left.stat().st_mtime >= keep_seconds:
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink()


def _flush(file: Path) -> None:
    """Have it on the disk; some file systems say only then that there is no room."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
