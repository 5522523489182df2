"""The results of a run: ``results.json`` and ``perplexity.csv`` of a run folder.

Strict JSON has no numbers that are not finite. The key of such a number is omitted, in a row (``nats_per_token``,
``ppl``, ``bits_per_byte``) and elsewhere (``guard.max_abs_drift``). The row itself is kept, so that "evaluated, but
infinite" differs from "not evaluated"; :func:`~lightning_langcore.results.conditions.points` reads an absent
``nats_per_token`` as infinite.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_langcore.utils.atomic_files import write_text
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.tables import write_csv

FORMAT = 1
STAGES = ("base", "perturbed", "training", "final")
STATUSES = ("completed", "interrupted", "failed")
KEY = ("stage", "samples", "lang", "split", "variant", "fraction", "method", "strength", "seed")

# The columns of perplexity.csv in order, with their types.
_COLUMNS: dict[str, type] = {
    "stage": str,
    "samples": int,
    "lang": str,
    "split": str,
    "variant": str,
    "fraction": float,
    "method": str,
    "strength": float,
    "seed": int,
    "nats_per_token": float,
    "ppl": float,
    "bits_per_byte": float,
    "num_tokens": int,
    "num_bytes": int,
}
ROUNDED_AWAY = 0.01
"""Share of unmoved weights (0..1) from which a message says that bfloat16 has lost their updates."""

_REQUIRED = ("stage", "samples", "lang", "split", "seed", "num_tokens", "num_bytes")
_MEASURED = ("nats_per_token", "bits_per_byte")


class Results:
    """The results of one run; rank 0 writes them at every milestone.

    Attributes:
        status: ``interrupted`` until the job sets ``completed`` or ``failed``, because a killed process can't set it.
        perplexity: the rows, in the order in which they were added; add rows with :meth:`add` only.
        guard: ``num_frozen`` and ``max_abs_drift`` of the frozen weights; ``None``: nothing was frozen.
        data: the text that was read: ``target`` (languages that the mix names, or ``data.languages``), ``parts`` (each
            ``source``, ``language``, ``kind`` text or conversations, ``tokens``, ``epochs``, ``documents``), ``ratio``
            (measured: general tokens per token of the target), ``epochs`` of the target, ``noise`` (``kind``,
            ``rate``, ``length``, ``window`` as shares of the run's tokens), ``num_filtered``, ``num_cut``, ``course``
            (at each milestone ``samples``, and ``share``: the share 0..1 of the planned run that was read), ``asked``
            (``ratio`` and ``epochs`` as configured); ``None``: not known.
        drift: a row for each ``stage`` and ``samples``: ``region`` and ``rest``, the mean of
            |theta - theta_0| / max(|theta_0|, 1e-3 rms) over the region's weights and over all other candidates;
            ``unmoved``, the share (0..1) of the other candidates whose weights equal their initial values.
        moved: the rows, columns and weights that moved most relative to their parameter: its ``name``, ``axis`` (row,
            column or weight), ``index``, ``relative`` (mean relative change), ``ratio`` (``relative`` over the
            parameter's mean).
        monitor: the counts of :class:`NoiseSensitivity`, and its ``action``; ``None``: there was no monitor.
        seconds: wall-clock seconds by name (``total``, ``training``).
        error: one line for a failed run, or for an ``interrupted`` run that a callback or a time limit has ended.
        notes: messages for the reader, for example the outliers that were found.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        experiment: str,
        seed: int,
        model: Mapping[str, Any],
        region: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.experiment = experiment
        self.seed = seed
        self.model: dict[str, Any] = dict(model)
        self.region: dict[str, Any] | None = dict(region) if region is not None else None
        self.guard: dict[str, Any] | None = None
        self.data: dict[str, Any] | None = None
        self.drift: list[dict[str, Any]] = []
        self.moved: list[dict[str, Any]] = []
        self.monitor: dict[str, Any] | None = None
        self.status = "interrupted"
        self.error: str | None = None
        self.perplexity: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self._keys: set[tuple[Any, ...]] = set()

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row. Perplexity is computed from ``nats_per_token``; keys whose value is ``None`` are dropped.

        Raises:
            LangcoreError: a required key is missing, a key or stage is unknown, or there is a row with the same key.
        """
        if "ppl" in row:
            raise LangcoreError("results: ppl is computed from nats_per_token; leave it out of the row")
        missing = [key for key in _MEASURED if row.get(key) is None]
        if missing:
            raise LangcoreError(f"results: a row needs {', '.join(missing)}; it has {', '.join(row)}")
        self._append(row)

    def _append(self, row: Mapping[str, Any]) -> None:
        checked = _checked(row)
        key = tuple(checked.get(name) for name in KEY)
        if key in self._keys:
            text = ", ".join(f"{name}={value}" for name, value in zip(KEY, key, strict=True) if value is not None)
            raise LangcoreError(f"results: a second row for {text}")
        self._keys.add(key)
        self.perplexity.append(checked)

    def write(self) -> None:
        """Write ``results.json`` and ``perplexity.csv`` into the run folder, each atomically.

        Raises:
            LangcoreError: ``status`` is not one of completed, interrupted, failed.
        """
        if self.status not in STATUSES:
            raise LangcoreError(f"results: status is {self.status!r}, not one of {', '.join(STATUSES)}")
        content = {
            "format": FORMAT,
            "experiment": self.experiment,
            "status": self.status,
            "error": self.error,
            "seed": self.seed,
            "model": self.model,
            "region": self.region,
            "guard": self.guard,
            "data": self.data or None,
            "drift": self.drift or None,
            "moved": self.moved or None,
            "monitor": self.monitor or None,
            "notes": self.notes or None,
            "perplexity": self.perplexity,
            "seconds": self.seconds,
        }
        text = json.dumps(_strict(content), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(self.folder / "results.json", text + "\n")
        rows = ([row.get(column) for column in _COLUMNS] for row in self.perplexity)
        write_csv(self.folder / "perplexity.csv", list(_COLUMNS), rows, line_terminator="\n")

    @classmethod
    def load(cls, path: Path | str) -> "Results":
        """Read the results of a run folder, or of its ``results.json``.

        Raises:
            LangcoreError: the file is missing, is not JSON, has another format, or lacks a key.
        """
        file = Path(path)
        file = file / "results.json" if file.is_dir() else file
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise LangcoreError(f"{file}: can't be read ({error.strerror or error})") from error
        except ValueError as error:
            raise LangcoreError(f"{file}: no valid JSON ({error})") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else type(content).__name__
            raise LangcoreError(f"{file}: format {found!r}, while this version reads format {FORMAT}")
        missing = [key for key in ("experiment", "status", "seed", "model", "perplexity") if key not in content]
        if missing:
            raise LangcoreError(f"{file}: lacks {', '.join(missing)}")
        known: dict[str, Any] = {key: content.get(key) for key in ("experiment", "seed", "model", "region")}
        run = cls(file.parent, **known)
        run.status, run.guard, run.error = content["status"], content.get("guard"), content.get("error")
        run.seconds, run.notes = content.get("seconds", {}), content.get("notes", [])
        run.data, run.monitor = content.get("data"), content.get("monitor")
        run.drift, run.moved = content.get("drift", []), content.get("moved", [])
        try:
            for row in content["perplexity"]:
                run._append(row)
        except (ValueError, TypeError, AttributeError) as error:
            raise LangcoreError(f"{file}: {error}") from error
        return run


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row in column order, in plain types, with ``ppl``, and without numbers that are not finite."""
    row = {key: value for key, value in row.items() if value is not None}
    missing = [key for key in _REQUIRED if key not in row]
    unknown = [key for key in row if key not in _COLUMNS]
    if missing or unknown:
        problem = f"needs {', '.join(missing)}" if missing else f"has the unknown key {', '.join(unknown)}"
        raise LangcoreError(f"results: a row {problem}; it has {', '.join(row)}")
    if row["stage"] not in STAGES:
        raise LangcoreError(f"results: stage is {row['stage']!r}, not one of {', '.join(STAGES)}")
    checked = {key: kind(row[key]) for key, kind in _COLUMNS.items() if key in row}
    nats = checked.get("nats_per_token", math.inf)
    try:
        checked["ppl"] = math.exp(nats)
    except OverflowError:
        checked["ppl"] = math.inf
    kept = {key: checked[key] for key in _COLUMNS if key in checked}
    return {key: value for key, value in kept.items() if not isinstance(value, float) or math.isfinite(value)}


def _strict(value: Any) -> Any:
    """Plain JSON values; dictionary keys whose value is ``None`` or not finite are omitted."""
    if isinstance(value, Mapping):
        plain = {str(key): _strict(item) for key, item in value.items()}
        return {k: v for k, v in plain.items() if v is not None and not (isinstance(v, float) and not math.isfinite(v))}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else value


def load_runs(paths: Iterable[Path | str]) -> tuple[list[Results], list[str]]:
    """Every run at or below ``paths``, and a message for each skipped run that can't be read.

    Raises:
        LangcoreError: see :func:`find_runs`, or no run can be read.
    """
    runs, skipped = [], []
    for folder in find_runs(paths):
        try:
            runs.append(Results.load(folder))
        except LangcoreError as error:
            skipped.append(f"skipped: {error}")
    if not runs:
        raise LangcoreError("\n".join(skipped))
    return runs, skipped


def find_runs(paths: Iterable[Path | str]) -> list[Path]:
    """The folders at or below ``paths`` that hold a ``results.json``, sorted and without duplicates.

    Raises:
        LangcoreError: a path does not exist, or holds no run.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if not path.exists():
            raise LangcoreError(f"{path}: there is no such folder")
        folders = {path.parent} if path.name == "results.json" else {file.parent for file in path.rglob("results.json")}
        if not folders:
            raise LangcoreError(f"{path}: no results.json here or below, so no run to report")
        found |= folders
    return sorted(found)
