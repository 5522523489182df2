"""Tables of measured figures, and the files that hold them: ``results/<topic>_<machine>_<date>.json``.

A script fills tables, which print themselves as Markdown, and ends with :func:`write_result`. ``pages.py`` makes the
tables of the pages from the files. A file holds::

    {"format": 1, "topic": "guard", "date": "2026-11-24T10:00:00+00:00", "command": "python benchmarks/guard.py",
     "commit": "...", "uncommitted_changes": false, "source": null, "text": {"name": "phrasebook", "digest": "..."},
     "seeds": [0, 1, 2], "settings": {"threads": 1}, "versions": {"python": "3.11.2", "torch": "2.13.0+cpu", ...},
     "machine": {"name": "epyc-2cores", "cpu": "AMD EPYC", "cores": 2, "memory_gb": 24.0, "gpu": null},
     "tables": {"guard_cost": {"columns": [{"name": "ratio", "format": "{:.3f}"}], "rows": [[1.012]]}}}

This module needs the standard library only, so that pages are checked without torch.
"""

import argparse
import datetime
import functools
import importlib.metadata
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(__file__).resolve().parent / "results"
FORMAT = 1
PACKAGES = ("torch", "lightning", "transformers", "lightning-langcore")
ABSENT = "–"
_STRICT: dict[str, Any] = {"ensure_ascii": False, "allow_nan": False}
_NO_NAMES = {"amd", "intel", "nvidia", "cpu", "gpu", "processor", "core", "r", "tm", "apple"}

Cell = float | str | None | Sequence[float | None]


class Table:
    """Named columns with a format each, and rows of raw numbers.

    Args:
        columns: name of the column -> format of its cells, as for ``str.format``. A cell that is a list fills several
            fields, as ``[1.2, 1.1, 1.3]`` in ``"{:.1f} ({:.1f}-{:.1f})"``. Strings are shown unchanged, ``None`` as an
            en dash.
        rows: cells of the rows, in the order of the columns.
    """

    def __init__(self, columns: Mapping[str, str], rows: Iterable[Sequence[Cell]] = ()) -> None:
        self.columns = dict(columns)
        self.rows: list[list[Any]] = []
        for row in rows:
            self.add(*row)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Table":
        """The table of a file."""
        return cls({column["name"]: column["format"] for column in content["columns"]}, content["rows"])

    def to_json(self) -> dict[str, Any]:
        """The table as it is written to a file."""
        columns = [{"name": name, "format": form} for name, form in self.columns.items()]
        return {"columns": columns, "rows": self.rows}

    def add(self, *cells: Cell) -> str:
        """Append a row, and return its line in Markdown.

        Raises:
            ValueError: the number of cells differs from that of the columns.
        """
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for the columns {', '.join(self.columns)}")
        self.rows.append([_plain(cell) for cell in cells])
        return self._line(self.rows[-1])

    def head(self) -> str:
        """The two lines above the rows in Markdown."""
        return f"| {' | '.join(self.columns)} |\n{'|---' * len(self.columns)}|"

    def markdown(self) -> str:
        """The whole table in Markdown, without a newline at the end."""
        return "\n".join([self.head(), *map(self._line, self.rows)])

    def _line(self, row: Sequence[Any]) -> str:
        cells = [_shown(cell, form) for cell, form in zip(row, self.columns.values(), strict=True)]
        return f"| {' | '.join(cells)} |"


def _shown(cell: Any, form: str) -> str:
    if cell is None or (isinstance(cell, list) and None in cell):
        return ABSENT
    if isinstance(cell, str):
        return cell.replace("|", "\\|")
    return form.format(*cell) if isinstance(cell, list) else form.format(cell)


def _plain(cell: Any) -> Any:
    """The cell as a JSON value with eight digits: Python's numbers, and ``None`` for those that are not finite."""
    if isinstance(cell, list | tuple):
        return [_plain(part) for part in cell]
    value = cell.item() if hasattr(cell, "item") else cell
    if not isinstance(value, float):
        return value
    return float(f"{value:.8g}") if math.isfinite(value) else None


def each(form: str, count: int) -> str:
    """The format of a list of ``count`` numbers, as ``1.1, 1.2, 1.3``."""
    return ", ".join([form] * count)


def spread_of(values: Sequence[float]) -> list[float]:
    """Geometric mean, least and greatest of positive numbers, for ``"{:.3f} ({:.3f}-{:.3f})"``."""
    return [math.exp(math.fsum(map(math.log, values)) / len(values)), min(values), max(values)]


def add_results_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--results FOLDER``, where the result file is written, and keep the commit at which the script started."""
    commit()
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the result file (default: %(default)s)")


def write_result(
    topic: str,
    tables: Mapping[str, Table],
    folder: Path = FOLDER,
    *,
    seeds: Sequence[int] = (),
    text: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write the file of one topic, replacing a file of the same machine and day, and return its path.

    Args:
        topic: the first part of the file's name, in lower case and underscores.
        tables: by name, which is unique among all topics. Empty tables are left out.
        folder: where the file is written.
        seeds: the seeds of the runs.
        text: ``name`` and ``digest`` of the text that was read.
        settings: what else the figures depend on, as the number of threads.
    """
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    where = machine()
    content = {
        "format": FORMAT,
        "topic": topic,
        "date": now.isoformat(),
        "command": command_line(),
        **commit(),
        "source": None,
        "text": dict(text) if text else None,
        "seeds": list(seeds),
        "settings": {name: _setting(value) for name, value in (settings or {}).items()},
        "versions": versions(),
        "machine": where,
        "tables": {name: table.to_json() for name, table in tables.items() if table.rows},
    }
    path = folder / f"{topic}_{where['name']}_{now.date()}.json"
    write_json(path, content)
    print(f"\nwritten: {path}", flush=True)
    return path


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file with a line for each row of its tables; the file is complete or unchanged."""
    head = json.dumps({key: value for key, value in content.items() if key != "tables"}, indent=1, **_STRICT)
    tables = ",\n".join(f"  {json.dumps(name)}: {_table_text(table)}" for name, table in content["tables"].items())
    text = f'{head[:-2]},\n "tables": {{\n{tables}\n }}\n}}'
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path)


def _table_text(table: Mapping[str, Any]) -> str:
    parts = []
    for key in ("columns", "rows"):
        lines = ",\n".join(f"    {json.dumps(entry, **_STRICT)}" for entry in table[key])
        parts.append(f'   "{key}": [\n{lines}\n   ]')
    return "{\n" + ",\n".join(parts) + "\n  }"


def _setting(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def command_line() -> str:
    """The command of this process, with the script's path relative to the repository."""
    script = Path(sys.argv[0]).resolve()
    shown = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script
    return shlex.join(["python", str(shown), *sys.argv[1:]])


@functools.cache
def commit() -> dict[str, Any]:
    """The commit at the first call, and whether files differ from it; ``None`` outside a repository."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        head = git("rev-parse", "HEAD")
        # results that other scripts have written before do not change what is measured
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results", ":!docs")
    except OSError:
        return {"commit": None, "uncommitted_changes": None}
    return {"commit": head, "uncommitted_changes": None if changes is None else bool(changes)}


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that the figures depend on; ``None``: not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def machine() -> dict[str, Any]:
    """Model of the CPU, cores, memory in GB, and GPUs, and a short name of these for file names."""
    cpu, cores, gpu = _cpu(), len(_cores()), _gpu()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    about = {"cpu": cpu, "cores": cores, "memory_gb": round(memory, 1), "gpu": gpu}
    return {"name": short_name(gpu or cpu, cores), **about}


def _cores() -> Sequence[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


def short_name(model: str, cores: int) -> str:
    """A name for files, as ``epyc-2cores``: the first word of the model that is no vendor, and the cores."""
    words = [word for word in re.findall(r"[a-z0-9]+", model.lower()) if word not in _NO_NAMES]
    return f"{words[0] if words else 'machine'}-{cores}cores"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _gpu() -> str | None:
    """Names of the GPUs that torch sees, if the script has imported torch."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return names[0] if len(names) == 1 else f"{names[0]} x {len(names)}"


def load(path: Path) -> dict[str, Any]:
    """The content of a result file.

    Raises:
        ValueError: no JSON, another format, or a row whose length differs from the columns.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, while this version reads format {FORMAT}")
        for table in content["tables"].values():
            Table.from_json(table)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no result file: {error}") from error
    return content
