"""Write the tables of README.md, benchmarks/README.md and docs/ from the result files in benchmarks/results.

    python benchmarks/pages.py                  rewrite the pages whose tables differ
    python benchmarks/pages.py --check          list them, with exit status 1 if there are any; write nothing
    python benchmarks/pages.py --list           every table, and the file and pages that hold it

A page shows a table, and the line that says where it comes from, between two markers::

    <!-- table: guard_cost -->
    <!-- end -->

The newest file that holds the table is used. ``<!-- table: guard_cost on epyc-2cores -->`` takes the files of one
machine only.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from result_files import FOLDER, ROOT, Table, load

MARKED = re.compile(
    r"(?P<begin><!-- table: (?P<name>\w+)(?: on (?P<machine>[\w.-]+))? -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)
BEGIN, END = re.compile(r"^<!-- table:.*$", re.MULTILINE), "<!-- end -->"


class Source(NamedTuple):
    """A table, and the content of its file."""

    table: Table
    file: Path
    content: Mapping[str, Any]

    def caption(self) -> str:
        """One line: command, date, machine, version, commit, seeds and file."""
        where, content = self.content["machine"], self.content
        torch, commit, seeds = content["versions"].get("torch"), content["commit"], content["seeds"]
        facts = [
            content["date"][:10],
            where["cpu"],
            f"{where['cores']} cores",
            where["gpu"] or "no GPU",
            f"torch {torch}" if torch else None,
            f"commit {commit[:7]}" if commit else None,
            "with uncommitted changes" if content["uncommitted_changes"] else None,
            f"seed{'s' * (len(seeds) > 1)} {' '.join(map(str, seeds))}" if seeds else None,
            content["source"],
        ]
        return f"*`{content['command']}`: {', '.join(filter(None, facts))} (`{self.file.name}`)*"


def sources(files: Iterable[Path]) -> dict[tuple[str, str | None], Source]:
    """The newest source of each table, by the name of the table and of the machine; machine ``None``: any machine."""
    found: dict[tuple[str, str | None], Source] = {}
    for file in sorted(files):
        content = load(file)
        for name, table in content["tables"].items():
            for key in ((name, None), (name, content["machine"]["name"])):
                if key not in found or found[key].content["date"] <= content["date"]:
                    found[key] = Source(Table.from_json(table), file, content)
    return found


def pages(root: Path = ROOT) -> list[Path]:
    """The Markdown files that may show tables."""
    return [root / "README.md", root / "benchmarks" / "README.md", *sorted((root / "docs").rglob("*.md"))]


def fill(text: str, known: Mapping[tuple[str, str | None], Source]) -> str:
    """The text with the tables of its markers.

    Raises:
        ValueError: a marker has no end, or no file holds its table.
    """

    def block(found: re.Match[str]) -> str:
        source = known.get((found["name"], found["machine"]))
        if source is None:
            raise ValueError(f"no result file holds the table of {found['begin'].strip()}")
        return f"{found['begin']}{source.table.markdown()}\n\n{source.caption()}\n{found['end']}"

    for begin in BEGIN.finditer(text):
        if not MARKED.match(text, begin.start()) or "<!-- table:" in text[begin.end() : text.index(END, begin.end())]:
            raise ValueError(f"{begin[0]} has no {END}, or is written differently from <!-- table: NAME -->")
    return MARKED.sub(block, text)


def shown(text: str) -> list[str]:
    """Names of the tables that a page shows."""
    return [found["name"] for found in MARKED.finditer(text)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the pages, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="list the pages that differ, and write nothing")
    parser.add_argument("--list", action="store_true", help="list tables, their files and their pages")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the result files")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder with README.md, benchmarks/ and docs/")
    options = parser.parse_args(arguments)
    known = sources(options.results.glob("*.json"))
    texts = {page: page.read_text(encoding="utf-8") for page in pages(options.root) if page.exists()}
    if options.list:
        for (name, machine), source in sorted(known.items(), key=str):
            if machine is None:
                where = [str(page.relative_to(options.root)) for page, text in texts.items() if name in shown(text)]
                print(f"{name:28} {source.file.name:48} {', '.join(where) or 'on no page'}")
        return 0
    differing = 0
    for page, text in texts.items():
        try:
            made = fill(text, known)
        except ValueError as error:
            sys.exit(f"{page}: {error}")
        if made != text:
            differing += 1
            print(f"{page.relative_to(options.root)} {'differs from the result files' if options.check else 'written'}")
            if not options.check:
                page.write_text(made, encoding="utf-8")
    return 1 if options.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
