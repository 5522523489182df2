"""Which runs a report is on, and what differs in their configs."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from lightning_langcore.reports.blocks import Block, Cell, Cells, Style, Text, cell, number_columns, table, text_column
from lightning_langcore.reports.config_diff import config_differences
from lightning_langcore.results.number_format import ABSENT, count, number, share
from lightning_langcore.results.record import Results


def runs_table(runs: Sequence[Results], start: Path) -> list[Block]:
    """A row for each run; its folder is a link relative to ``start``, the folder of the page."""
    texts = ("#", "folder", "experiment", "status", "region", "frozen", "model")
    columns = [*map(text_column, texts), *number_columns(("seed", "seconds"))]
    rows: list[Cells] = []
    for position, run in enumerate(runs, 1):
        link = quote(os.path.relpath(run.folder, start).replace(os.sep, "/")) + "/"
        folder = Text(run.folder.resolve().name, link=link)
        weights = run.model.get("num_weights")
        model = cell(str(run.model.get("name", ABSENT)), f"{count(weights)} weights" if weights else "")
        about: Cells = [_status(run), _region(run), _guard(run), model]
        rows.append([str(position), folder, run.experiment, *about, str(run.seed), count(run.seconds.get("total"))])
    return [table(columns, rows)]


def _status(run: Results) -> Cell:
    style = Style.OK if run.status == "completed" else Style.BAD
    return cell(Text(str(run.status), style), Text(run.error or "", Style.LONG))


def _region(run: Results) -> Cell:
    region = run.region or {}
    kind = [str(region[key]) for key in ("kind", "score") if key in region]
    size = [share(region["fraction"])] if "fraction" in region else []
    size += [f"{count(region['num_weights'])} weights"] if "num_weights" in region else []
    return cell(", ".join(kind), ", ".join(size)) or cell(ABSENT)


def _guard(run: Results) -> Cell:
    if run.guard is None:
        return cell(ABSENT)
    drift = run.guard.get("max_abs_drift", math.inf)
    moved = f"moved by up to {number(drift)}" if drift else "not moved"
    if run.status != "completed":
        moved = "not known: unfinished" if math.isinf(drift) else f"{moved} until it ended, unfinished"
    return cell(
        f"{count(run.guard.get('num_frozen', 0))} weights",
        Text(moved, Style.BAD if moved.startswith("moved") else Style.PLAIN),
    )


def differences(runs: Sequence[Results]) -> list[Block]:
    """The settings that are not the same in all runs, a column a run."""
    found = config_differences([run.folder for run in runs])
    if not found:
        return []
    columns = [text_column(name) for name in ("key", *(f"#{position}" for position in range(1, len(runs) + 1)))]
    return [table(columns, [[Text(key, Style.CODE), *values] for key, values in found.items()])]
