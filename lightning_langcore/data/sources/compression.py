"""Files that may be compressed, opened as bytes and as lines of text."""

import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, Any, cast

from lightning_langcore.utils.errors import LangcoreError

ENDINGS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".xz": "xz"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed if its name says so.

    Raises:
        LangcoreError: the file is empty, or is not compressed as its name says or is cut off.
    """
    if file.stat().st_size == 0:
        raise LangcoreError(f"{file} is empty: remove it or fill it")
    codec = ENDINGS.get(file.suffix.lower())
    try:
        with _open(file, codec) as stream:
            yield stream
    except (OSError, EOFError, lzma.LZMAError) as error:
        if codec is None or getattr(error, "errno", None) is not None:  # the disk's fault, not that of the file
            raise
        raise LangcoreError(f"{file} can't be read as {codec} ({error}): compress it anew, or unpack it") from error


def _open(file: Path, codec: str | None) -> IO[bytes]:
    if codec is None:
        return file.open("rb")
    if codec == "xz":
        return lzma.open(file)
    import pyarrow  # imported here because it takes a while

    return BufferedReader(pyarrow.input_stream(str(file), compression=codec))


@contextmanager
def opened_as_text(file: Path, newline: str | None = None) -> Iterator[TextIOWrapper]:
    """The UTF-8 text of a file without its byte order mark; for ``newline`` see ``open``.

    Raises:
        LangcoreError: see :func:`opened`; or a line is not UTF-8, which is named.
    """
    try:
        with opened(file) as stream:
            yield TextIOWrapper(cast(Any, stream), encoding="utf-8-sig", newline=newline)
    except UnicodeDecodeError:
        _check_encoding(file)
        raise


def _check_encoding(file: Path) -> None:
    with opened(file) as stream:
        for number, line in enumerate(lines(stream), 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise LangcoreError(
                    f"{file}, line {number} is not UTF-8 (byte {error.start + 1}): convert it"
                ) from error


def lines(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream of bytes, without a byte order mark."""
    for number, line in enumerate(stream):
        yield line.removeprefix(BYTE_ORDER_MARK) if number == 0 else line
