"""``langcore report``: one HTML page from run folders."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_langcore.cli.errors import message_of
from lightning_langcore.reports import page
from lightning_langcore.results.record import Results, load_runs
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say


def main(arguments: Sequence[str]) -> None:
    """Run ``langcore report``; an error that the user can fix is printed as a message, with exit status 1."""
    parser = argparse.ArgumentParser(prog="langcore report", description="One HTML page from any set of run folders.")
    parser.add_argument("folders", nargs="+", type=Path, help="run folders, or folders above them")
    parser.add_argument("-o", "--output", type=Path, help="the page; by default report.html in the first folder")
    options = parser.parse_args(arguments)
    try:
        runs, skipped = load(options.folders)
        page.print_table(runs)
        print(page.write_html(runs, options.output or options.folders[0] / "report.html", skipped))
    except (LangcoreError, OSError) as error:
        sys.exit(f"error: {message_of(error)}")


def load(folders: Sequence[Path]) -> tuple[list[Results], list[str]]:
    """The runs, and a message for each skipped run that can't be read; the messages are printed."""
    runs, skipped = load_runs(folders)
    for message in skipped:
        say(message)
    return runs, skipped
