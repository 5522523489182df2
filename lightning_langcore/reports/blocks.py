"""What a report consists of, as plain data: the HTML page and the terminal render the same blocks.

All text is plain: no markup and no escapes. A cell is a tuple of lines, each with a style.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from lightning_langcore.utils.errors import LangcoreError


class Style(Enum):
    """How a text looks; what that means is up to the renderer."""

    PLAIN = "plain"
    STRONG = "strong"
    OK = "ok"
    BAD = "bad"
    SMALL = "small"
    CODE = "code"
    LONG = "long"  # wraps, where the other texts of a cell stay on one line


@dataclass(frozen=True)
class Text:
    """A line of a cell.

    Attributes:
        text: without line breaks.
        style: of the whole line.
        link: a URL, relative to the page; empty for none. The terminal shows the text alone.
    """

    text: str
    style: Style = Style.PLAIN
    link: str = ""


Cell = tuple[Text, ...]
"""Lines, one below the other."""

Cells = Sequence[str | Text | Cell]
"""A row for :func:`table`: a ``str`` is a cell of one plain line, a :class:`Text` one of one line."""


def cell(*lines: str | Text) -> Cell:
    """A cell of these lines; a ``str`` is plain, an empty one is left out."""
    texts = (Text(line) if isinstance(line, str) else line for line in lines)
    return tuple(line for line in texts if line.text)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: its name.
        is_number: right-aligned, and not broken in the middle of a number.
        secondary: left out where a terminal is too narrow for all columns.
    """

    head: Cell
    is_number: bool = True
    secondary: bool = False


def text_column(name: str) -> Column:
    """A left-aligned column."""
    return Column(cell(name), is_number=False)


def number_columns(names: Iterable[str]) -> tuple[Column, ...]:
    """Right-aligned columns."""
    return tuple(Column(cell(name)) for name in names)


@dataclass(frozen=True)
class Row:
    """A row as it is shown.

    Attributes:
        cells: one a column; empty where the group's first row has said it.
        starts_group: whether the row begins a group.
    """

    cells: tuple[Cell, ...]
    starts_group: bool


@dataclass(frozen=True)
class Table:
    """Rows and columns.

    Attributes:
        columns: at least one.
        rows: as many cells each as there are columns.
        title: a heading above; may be empty.
        caption: sentences above, which say what the numbers are; may be empty.
        notes: sentences below.
        grouped_by: so many leading columns form groups of rows; a repeated value is shown once.
        collapsed: hidden in the page until the reader opens it.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    caption: str = ""
    notes: tuple[str, ...] = ()
    grouped_by: int = 0
    collapsed: bool = False

    def shown_rows(self) -> Iterator[Row]:
        """The rows, where a group's leading cells stand in its first row alone."""
        before: tuple[Cell, ...] | None = None
        for row in self.rows:
            group = row[: self.grouped_by]
            repeated = bool(group) and group == before
            yield Row(((),) * len(group) + row[len(group) :] if repeated else row, not repeated)
            before = group


def table(
    columns: Sequence[Column],
    rows: Iterable[Cells],
    *,
    title: str = "",
    caption: str = "",
    grouped_by: int = 0,
    collapsed: bool = False,
) -> Table:
    """A :class:`Table` from rows whose cells may be shortened; see :data:`Cells`.

    Raises:
        LangcoreError: a row has more or fewer cells than there are columns.
    """
    cells = [tuple(value if isinstance(value, tuple) else cell(value) for value in row) for row in rows]
    for row in cells:
        if len(row) != len(columns):
            raise LangcoreError(f"report: a row of {len(row)} cells for {len(columns)} columns")
    return Table(tuple(columns), tuple(cells), title=title, caption=caption, grouped_by=grouped_by, collapsed=collapsed)


@dataclass(frozen=True)
class Heading:
    """A heading below that of the section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Sentences; a warning stands out."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class BulletList:
    """One sentence an item."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """A PNG file's bytes, and the description for readers who do not see it."""

    description: str
    png: bytes


Block = Heading | Paragraph | BulletList | Picture | Table


@dataclass(frozen=True)
class Section:
    """A part of the page; one without blocks is not shown."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    sections: tuple[Section, ...]
