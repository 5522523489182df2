"""The one writer of CSV files and the one console for tables."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_langcore.utils.atomic_files import atomic_path
from lightning_langcore.utils.errors import LangcoreError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH = 120
"""Columns of a table where standard output is no terminal: the widest table the project prints."""


def write_csv(
    path: Path | str, columns: Sequence[str], rows: Iterable[Sequence[Any]], line_terminator: str = "\r\n"
) -> None:
    r"""Write a header and rows as UTF-8, atomically. ``None`` becomes an empty field.

    Args:
        path: the file; its folder is made.
        columns: names for the header.
        rows: as many values a row as there are columns; numbers that need rounding come as text.
        line_terminator: by default that of Python's ``csv`` and of RFC 4180; ``"\n"`` for the files that were first
            published with it.

    Raises:
        LangcoreError: a row has more or fewer values than there are columns; the file stays as it was.
        OSError: the file can't be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=line_terminator)
        writer.writerow(columns)
        for row in rows:
            if len(row) != len(columns):
                raise LangcoreError(f"{path}: a row of {len(row)} values for {len(columns)} columns: {list(row)}")
            writer.writerow(row)


def console() -> "Console":
    """A console on standard output: the terminal's width and colours, else :data:`WIDTH` columns of plain text."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=WIDTH, color_system=None)


def plain_text(text: str) -> "Text":
    """Text from files and file names for a table: no markup, and ``?`` for letters that would move the cursor."""
    from rich.text import Text

    return Text("".join(letter if letter.isprintable() else "?" for letter in text))
