"""Atomic writing of files and folders: into a temporary file or folder in the same place, which is then renamed."""

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

_LEFTOVER_SECONDS = 24 * 3600.0
"""A temporary file that was not modified for this time was left by a process that was killed."""
_TEMPORARY = ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and rename it to ``path`` if the block ends without an error.

    The rename is atomic on POSIX file systems and happens after the content is on the disk: a reader sees the old file
    or the new file, never a part of one, even after a power failure. The temporary file keeps the suffix of ``path``,
    because some writers choose a format by the suffix. A process that is killed leaves its temporary file, which a
    process that writes the same file a day later removes.

    Raises:
        OSError: the folder can't be made or written, or the disk is full; the error names ``path``.
    """
    path = Path(path)
    with _name_path_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path, path.suffix, _LEFTOVER_SECONDS)
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
def atomic_folder(folder: Path, keep_seconds: float = _LEFTOVER_SECONDS) -> Iterator[Path]:
    """Yield an empty temporary folder, and rename it to ``folder`` if the block ends without an error.

    An existing folder of that name is kept until then, and removed afterwards.

    Args:
        folder: folder to make or replace.
        keep_seconds: minimum age in seconds of temporary folders of killed processes that are removed first; 0 if a
            lock guarantees that no other process writes this folder.

    Raises:
        OSError: the folder can't be made or written, or the disk is full.
    """
    with _name_path_in_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder, _TEMPORARY, keep_seconds)
        temporary = _temporary_folder(folder)
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _flush(file)
            temporary.chmod(0o777 & ~_umask())
            _replace_folder(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Append a line and flush it to the disk before returning; if the disk is full, the file stays unchanged.

    A process that is killed while it writes may leave an incomplete last line.

    Raises:
        OSError: the file can't be written.
    """
    with _name_path_in_errors(path):
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
    """The error of the operating system that is ``error`` or caused it; ``None`` if there is none."""
    found: BaseException | None = error
    seen = set()
    while found is not None and id(found) not in seen:  # an error that was raised again may be its own cause
        if isinstance(found, OSError) and found.errno is not None:
            return found
        seen.add(id(found))
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return None


@contextmanager
def _name_path_in_errors(path: Path) -> Iterator[None]:
    """Add ``path`` to the error of a full disk, which has no file name."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            error.filename = str(path)
        raise


def _replace_folder(temporary: Path, folder: Path) -> None:
    """Rename ``temporary`` to ``folder``; an existing ``folder`` is removed after the rename."""
    if not folder.exists():
        temporary.rename(folder)
        return
    old = _temporary_folder(folder)
    try:
        aside = folder.rename(old / folder.name)
        try:
            temporary.rename(folder)
        except BaseException:
            aside.rename(folder)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _temporary_folder(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=_TEMPORARY))


def _remove_leftovers(path: Path, suffix: str, keep_seconds: float) -> None:
    """Remove temporary files of killed processes for ``path``, by the names of ``tempfile`` with 8 random letters."""
    stem = path.stem if suffix != _TEMPORARY else path.name
    for left in path.parent.glob(f".{glob.escape(stem)}.????????{glob.escape(suffix)}"):
        with suppress(OSError):  # another process may have removed it already
            if time.time() - left.stat().st_mtime >= keep_seconds:
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink()


def _flush(file: Path) -> None:
    """Flush a file to the disk; some file systems report a full disk only then."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
