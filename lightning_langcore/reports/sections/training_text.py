"""The text that runs read."""

from collections.abc import Mapping, Sequence

from lightning_langcore.reports.blocks import Block, Cells, Style, Text, number_columns, table, text_column
from lightning_langcore.results.conditions import data_labels
from lightning_langcore.results.number_format import ABSENT, count, mean_count, number
from lightning_langcore.results.record import Results

_CAPTION = "Means over the runs; epochs: of the language that was read most often."
_COLUMNS = (
    *map(text_column, ("experiment", "text")),
    *number_columns(("runs",)),
    *map(text_column, ("source", "kind", "languages")),
    *number_columns(("tokens", "documents", "epochs", "filtered out", "cut")),
)

Part = Mapping[str, float]


def training_text(runs: Sequence[Results]) -> list[Block]:
    """A row for each source of each kind of run, means over the runs that share it."""
    groups: dict[tuple[str, str], list[Results]] = {}
    for run, label in zip(runs, data_labels(runs, without=("monitor",)), strict=True):
        if run.data:
            groups.setdefault((run.experiment, label or "plain"), []).append(run)
    rows = [row for (experiment, label), own in groups.items() for row in _rows(experiment, label, own)]
    return [table(_COLUMNS, rows, caption=_CAPTION, grouped_by=3)] if rows else []


def _rows(experiment: str, label: str, runs: Sequence[Results]) -> list[Cells]:
    """The counts of documents that were left out stand in the first row: they are not known by source."""
    left_out = [mean_count([(run.data or {}).get(name) or 0 for run in runs]) for name in ("num_filtered", "num_cut")]
    rows: list[Cells] = []
    for (source, kind), parts in _by_source(runs).items():
        languages = dict.fromkeys(str(part.get("language", ABSENT)) for part in parts)
        sums = [sum(part.get(name) or 0 for part in parts) / len(runs) for name in ("tokens", "documents")]
        epochs = number(max(part.get("epochs") or 0.0 for part in parts))
        about: Cells = [Text(experiment, Style.STRONG), label, str(len(runs)), source, kind, " ".join(languages)]
        rows.append([*about, *map(count, sums), epochs, *left_out])
        left_out = ["", ""]
    return rows


def _by_source(runs: Sequence[Results]) -> dict[tuple[str, str], list[Part]]:
    """The parts by source and kind; the languages that the mix names are one source, ``target``."""
    sources: dict[tuple[str, str], list[Part]] = {}
    for run in runs:
        data = run.data or {}
        for part in data.get("parts") or []:
            source = part.get("source", ABSENT)
            name = "target" if source in (data.get("target") or []) else str(source)
            sources.setdefault((name, str(part.get("kind", "text"))), []).append(part)
    return sources
