"""The one CSV writer, byte for byte against Python's own, and the one console."""

import csv
import io
import sys

import pytest
from rich.console import Console

from lightning_langcore.utils import tables

ROWS = [["zh", 1, 0.1, None], ["a, b", -2, 1e-05, 'say "so"'], ["", 0, 3.0, "two\nlines"]]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_file_has_the_bytes_of_python_s_writer(tmp_path, end):
    expected = io.StringIO(newline="")
    writer = csv.writer(expected, lineterminator=end)
    writer.writerows([["lang", "n", "x", "text"], *ROWS])
    tables.write_csv(tmp_path / "new" / "t.csv", ["lang", "n", "x", "text"], iter(ROWS), line_terminator=end)
    assert (tmp_path / "new" / "t.csv").read_bytes() == expected.getvalue().encode()


def test_the_default_line_terminator_is_that_of_python(tmp_path):
    tables.write_csv(tmp_path / "t.csv", ["a"], [["ü"]])
    assert (tmp_path / "t.csv").read_bytes() == "a\r\nü\r\n".encode()


def test_a_row_that_does_not_fit_leaves_the_file_as_it_was(tmp_path):
    (tmp_path / "t.csv").write_text("old")
    with pytest.raises(ValueError, match=r"t\.csv: a row of 1 values for 2 columns"):
        tables.write_csv(tmp_path / "t.csv", ["a", "b"], [["x", "y"], ["x"]])
    assert (tmp_path / "t.csv").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_without_a_terminal_the_console_is_plain_and_of_one_width(capsys, monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    tables.console().print("[bold]" + "x" * 100)
    assert capsys.readouterr().out == "x" * 100 + "\n"
    assert tables.console().width == tables.WIDTH


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_keeps_its_width(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(Console, "width", 77)
    assert tables.console().is_terminal
    assert tables.console().width == 77


def test_text_of_files_is_no_markup_and_moves_no_cursor():
    assert tables.plain_text("[red]a\x1b[2J\n").plain == "[red]a?[2J?"
