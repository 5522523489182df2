"""The same tables in the terminal: the widest layout that fits, and nothing cut in any."""

import io
import re

import pytest
from rich.console import Console

from lightning_langcore.reports.blocks import Column, Style, Text, cell, number_columns, table, text_column
from lightning_langcore.reports.console import renderable

COLUMNS = (
    text_column("region and text"),
    *number_columns(("trained on zh",)),
    Column(cell("rest that never moved"), secondary=True),
    *number_columns(("seeds",)),
)
ROWS = [
    ["core, frozen (general x5)", cell("0.336 (0.304–0.372)", Text("× 2.01", Style.SMALL)), "12.5 % (11 %–14 %)", "2"],
    ["no region, free", "54.6 at 1,000, unfinished", "–", "1 of 2"],
]


def shown(width, made=None, color_system=None):
    out = io.StringIO()
    console = Console(width=width, file=out, force_terminal=True, color_system=color_system)
    console.print(renderable(made or table(COLUMNS, ROWS, title="Title", caption="Caption"), width))
    return out.getvalue()


def letters(text):
    """Without borders, spaces and line ends: what must be there at any width."""
    return sorted(re.sub(r"[\s━┏┓┗┛┡┩╇┳┃│─└┘┴├┤┼]", "", text))


@pytest.mark.parametrize("width", [120, 90, 80, 76, 70])
def test_nothing_is_lost_in_a_narrower_terminal(width):
    text = shown(width)
    assert max(map(len, text.splitlines())) <= width
    assert letters(text) == letters(shown(200))


@pytest.mark.parametrize("width", [58, 44, 30])
def test_a_narrow_terminal_has_the_main_columns_whole(width):
    text = shown(width)
    assert max(map(len, text.splitlines())) <= width
    main = [[row[0], row[1], row[3]] for row in ROWS]
    whole = table([COLUMNS[0], COLUMNS[1], COLUMNS[3]], main, title="Title", caption="Caption")
    assert letters(text) == letters(shown(200, whole))


def test_layouts_in_their_order():
    assert "0.336 (0.304–0.372)" in shown(120)
    brackets = shown(76)
    assert "0.336 (" not in brackets
    assert "(0.304–0.372)" in brackets
    assert "rest that never moved" in brackets
    heads = shown(70)
    assert "rest that never moved" not in heads
    assert "(11 %–14 %)" in heads
    main = shown(60)
    assert "14 %" not in main
    assert "(0.304–" in main


def test_title_caption_and_notes_stand_around_the_table():
    lines = shown(120).splitlines()
    assert lines[:2] == ["Title", "Caption"]


def test_groups_are_separated_and_named_once():
    rows = [["zh", "1"], ["zh", "2"], ["en", "3"]]
    text = shown(80, table([text_column("lang"), *number_columns(("n",))], rows, grouped_by=1))
    assert text.count("zh") == 1
    assert text.count("├") == 1


def test_text_is_no_markup_and_styles_are_colours_where_there_are_some():
    made = table([text_column("[b]head")], [[Text("[red]x[/red]\x1b[2J", Style.BAD)]])
    assert "[red]x[/red]?[2J" in shown(80, made)
    assert "\x1b[1;31m[red]x" in shown(80, made, color_system="standard")
