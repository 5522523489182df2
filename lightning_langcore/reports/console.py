"""Tables of a report in the terminal."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lightning_langcore.reports.blocks import Cell, Row, Style, Table, Text
from lightning_langcore.utils import tables

if TYPE_CHECKING:
    from rich.console import Group, JustifyMethod
    from rich.text import Text as RichText

_LEAST = 16  # columns that a text column is folded to before numbers are broken
_STYLES = {Style.STRONG: "bold", Style.OK: "bold green", Style.BAD: "bold red", Style.SMALL: "dim"}


class _Layout(NamedTuple):
    """How a table is made narrower.

    Attributes:
        break_brackets: ``5.92 (5.80–6.04)`` in two lines.
        break_heads: names of columns in several lines.
        main_only: without secondary columns, and ranges in two lines.
    """

    break_brackets: bool = False
    break_heads: bool = False
    main_only: bool = False


_LAYOUTS = (_Layout(), _Layout(True), _Layout(True, True), _Layout(True, True, True))


class _Lines(NamedTuple):
    """A column in a layout: lines of its head, and of its cell in each row."""

    is_number: bool
    head: Cell
    cells: list[Cell]

    @property
    def width(self) -> int:
        """Columns of the terminal that the longest line takes."""
        from rich.cells import cell_len

        return max((cell_len(line.text) for lines in (self.head, *self.cells) for line in lines), default=0)


def print_tables(shown: Sequence[Table]) -> None:
    """Print to standard output; see :func:`lightning_langcore.utils.tables.console`."""
    console = tables.console()
    for table in shown:
        console.print(renderable(table, console.width))


def renderable(table: Table, width: int) -> "Group":
    """Title, caption, table and notes for ``rich``, in the first layout that fits.

    Args:
        table: what is shown.
        width: columns of the terminal. Where no layout fits, numbers are broken, but nothing is cut.
    """
    from rich.console import Group
    from rich.table import Table as RichTable

    rows = list(table.shown_rows())
    layouts = [_columns(table, rows, layout) for layout in _LAYOUTS]
    fitting = [columns for columns in layouts if _least_width(columns) <= width]
    columns = (fitting or layouts[-1:])[0]
    made = RichTable(pad_edge=False)
    for column in columns:
        justify: JustifyMethod = "right" if column.is_number else "left"
        no_wrap = bool(fitting) and column.is_number
        made.add_column(_text(column.head), justify=justify, overflow="fold", no_wrap=no_wrap)
    for position, row in enumerate(rows):
        if position and row.starts_group and table.grouped_by:
            made.add_section()
        made.add_row(*(_text(column.cells[position]) for column in columns))
    above = [tables.plain_text(text) for text in (table.title, table.caption) if text]
    return Group(*above, made, *map(tables.plain_text, table.notes))


def _columns(table: Table, rows: Sequence[Row], layout: _Layout) -> list[_Lines]:
    found = []
    for position, column in enumerate(table.columns):
        if column.secondary and layout.main_only:
            continue
        cells = [row.cells[position] for row in rows]
        if column.is_number:
            cells = [_broken(cell, layout) for cell in cells]
        lines = _Lines(column.is_number, column.head, cells)
        if layout.break_heads:
            lines = lines._replace(head=_wrapped(column.head, lines._replace(head=()).width))
        found.append(lines)
    return found


def _broken(cell: Cell, layout: _Layout) -> Cell:
    """More and shorter lines: ``5.92`` above ``(5.80–6.04)``."""
    texts = []
    for line in cell:
        text = line.text.replace(" (", "\n(").replace(" at ", "\nat ") if layout.break_brackets else line.text
        text = text.replace("–", "–\n") if layout.main_only and len(text) > 1 else text
        texts += [Text(part, line.style) for part in text.split("\n")]
    return tuple(texts)


def _wrapped(head: Cell, width: int) -> Cell:
    """The head in lines that are no longer than the cells below, as far as its words allow."""
    longest = max((len(word) for line in head for word in line.text.split()), default=1)
    lines = (part for line in head for part in textwrap.wrap(line.text, max(width, longest)))
    return tuple(map(Text, lines))


def _least_width(columns: Sequence[_Lines]) -> int:
    """Columns of the terminal below which a number would be broken: text may fold, borders take three each."""
    widths = (column.width if column.is_number else min(column.width, _LEAST) for column in columns)
    return sum(widths) + 3 * len(columns) - 1


def _text(cell: Cell) -> "RichText":
    from rich.text import Text as RichText

    lines = []
    for line in cell:
        text = tables.plain_text(line.text)
        text.stylize(_STYLES.get(line.style, ""))
        lines.append(text)
    return RichText("\n").join(lines)
