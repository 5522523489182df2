"""``langcore report``: one HTML page from run folders."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_langcore.cli.errors import _told
from lightning_langcore.reports import page
from lightning_langcore.results.record import Results, load_runs
from lightning_langcore.utils.progress import say


def _report(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="langcore report", description="One HTML page from any set of run folders.")
    parser.add_argument("folders", nargs="+", type=Path, help="run folders, or folders above them")
    parser.add_argument("-o", "--output", type=Path, help="the page; by default report.html in the first folder")
    options = parser.parse_args(words)
    try:
        runs, passed_over = _loaded(options.folders)
        page.print_table(runs)
        print(page.write_html(runs, options.output or options.folders[0] / "report.html", passed_over))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {_told(error)}")


def _loaded(folders: Sequence[Path]) -> tuple[list[Results], list[str]]:
    """The runs, and what is said of those that can't be read."""
    runs, passed_over = load_runs(folders)
    for sentence in passed_over:
        say(sentence)
    return runs, passed_over
