"""What a run measured: ``results.json`` and ``perplexity.csv`` of a run folder, and the arms that several runs make.

A number that is not finite has no place in strict JSON: its key is absent, in a row (``nats_per_token``, ``ppl``,
``bits_per_byte``) as anywhere else (``guard.max_abs_drift``). The row itself stays, so that "scored, but infinite" and
"not scored" remain two things; :func:`points` reads an absent ``nats_per_token`` as infinite.
"""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_langcore.files import atomic_path, write_text

FORMAT = 1
STAGES = ("base", "perturbed", "training", "final")
STATUSES = ("completed", "interrupted", "failed")
KEY = ("stage", "samples", "lang", "split", "variant", "fraction", "method", "strength", "seed")
KINDS = ("core", "random", "peripheral", "file", "none")

# Every column of perplexity.csv, in its order, with the type it is stored in.
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
_REQUIRED = ("stage", "samples", "lang", "split", "seed", "num_tokens", "num_bytes")
_MEASURED = ("nats_per_token", "bits_per_byte")


class Results:
    """The record of one run; rank zero writes it at every milestone.

    Attributes:
        status: ``interrupted`` until the job sets ``completed`` or ``failed``: a killed process can't say so any more.
        perplexity: the rows, in the order in which they were added; add with :meth:`add` only.
        guard: ``num_frozen`` and ``max_abs_drift`` of the frozen weights; ``None`` where nothing was guarded.
        seconds: wall-clock seconds by name (``total``, ``training``).
        error: one line, for a failed run.
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
        self.status = "interrupted"
        self.error: str | None = None
        self.perplexity: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = {}
        self._keys: set[tuple[Any, ...]] = set()

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one measurement; perplexity is computed here from ``nats_per_token``. Keys with ``None`` are dropped.

        Raises:
            ValueError: a required key is missing, a key or stage is unknown, or the same measurement is there already.
        """
        if "ppl" in row:
            raise ValueError("results: ppl is computed from nats_per_token; leave it out of the row")
        missing = [key for key in _MEASURED if row.get(key) is None]
        if missing:
            raise ValueError(f"results: a row needs {', '.join(missing)}; it has {', '.join(row)}")
        self._append(row)

    def _append(self, row: Mapping[str, Any]) -> None:
        checked = _checked(row)
        key = tuple(checked.get(name) for name in KEY)
        if key in self._keys:
            named = ", ".join(f"{name}={value}" for name, value in zip(KEY, key, strict=True) if value is not None)
            raise ValueError(f"results: a second row for {named}")
        self._keys.add(key)
        self.perplexity.append(checked)

    def write(self) -> None:
        """Write ``results.json`` and ``perplexity.csv`` into the run folder, each atomically.

        Raises:
            ValueError: ``status`` is none of completed, interrupted, failed.
        """
        if self.status not in STATUSES:
            raise ValueError(f"results: status is {self.status!r}, not one of {', '.join(STATUSES)}")
        content = {
            "format": FORMAT,
            "experiment": self.experiment,
            "status": self.status,
            "error": self.error,
            "seed": self.seed,
            "model": self.model,
            "region": self.region,
            "guard": self.guard,
            "perplexity": self.perplexity,
            "seconds": self.seconds,
        }
        text = json.dumps(_strict(content), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(self.folder / "results.json", text + "\n")
        with (
            atomic_path(self.folder / "perplexity.csv") as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, list(_COLUMNS), restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.perplexity)

    @classmethod
    def load(cls, path: Path | str) -> "Results":
        """Read a run folder, or its ``results.json``.

        Raises:
            ValueError: the file is missing, is no JSON, has another format or lacks a key; the message names it.
        """
        file = Path(path)
        file = file / "results.json" if file.is_dir() else file
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"{file}: can't be read ({error.strerror or error})") from error
        except ValueError as error:
            raise ValueError(f"{file}: no valid JSON ({error})") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else type(content).__name__
            raise ValueError(f"{file}: format {found!r}, while this version reads format {FORMAT}")
        missing = [key for key in ("experiment", "status", "seed", "model", "perplexity") if key not in content]
        if missing:
            raise ValueError(f"{file}: lacks {', '.join(missing)}")
        known: dict[str, Any] = {key: content.get(key) for key in ("experiment", "seed", "model", "region")}
        run = cls(file.parent, **known)
        run.status, run.guard, run.error = content["status"], content.get("guard"), content.get("error")
        run.seconds = content.get("seconds", {})
        for row in content["perplexity"]:
            try:
                run._append(row)
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from error
        return run


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row in column order, in plain types, with ``ppl``, without what is not finite."""
    row = {key: value for key, value in row.items() if value is not None}
    missing = [key for key in _REQUIRED if key not in row]
    unknown = [key for key in row if key not in _COLUMNS]
    if missing or unknown:
        problem = f"needs {', '.join(missing)}" if missing else f"has the unknown key {', '.join(unknown)}"
        raise ValueError(f"results: a row {problem}; it has {', '.join(row)}")
    if row["stage"] not in STAGES:
        raise ValueError(f"results: stage is {row['stage']!r}, not one of {', '.join(STAGES)}")
    checked = {key: kind(row[key]) for key, kind in _COLUMNS.items() if key in row}
    nats = checked.get("nats_per_token", math.inf)
    try:
        checked["ppl"] = math.exp(nats)
    except OverflowError:
        checked["ppl"] = math.inf
    kept = {key: checked[key] for key in _COLUMNS if key in checked}
    return {key: value for key, value in kept.items() if not isinstance(value, float) or math.isfinite(value)}


def _strict(value: Any) -> Any:
    """Plain JSON values: dictionary keys with ``None`` or a number that is not finite are left out."""
    if isinstance(value, Mapping):
        plain = {str(key): _strict(item) for key, item in value.items()}
        return {k: v for k, v in plain.items() if v is not None and not (isinstance(v, float) and not math.isfinite(v))}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else value


def find_runs(paths: Iterable[Path | str]) -> list[Path]:
    """Every folder at or below ``paths`` that holds a ``results.json``, sorted, each once.

    Raises:
        ValueError: a path does not exist, or no run is in it.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if not path.exists():
            raise ValueError(f"{path}: there is no such folder")
        folders = {path.parent} if path.name == "results.json" else {file.parent for file in path.rglob("results.json")}
        if not folders:
            raise ValueError(f"{path}: no results.json here or below, so no run to report")
        found |= folders
    return sorted(found)


class Arm(NamedTuple):
    """What makes runs comparable: equal in everything here, they differ in the seed only.

    ``frozen`` is ``None`` where nothing was trained. Fields that do not apply are ``None``.
    """

    kind: str
    frozen: bool | None
    score: str | None
    fraction: float | None
    method: str | None
    strength: float | None
    model: str | None


class Point(NamedTuple):
    """One measurement of one arm; ``nats`` per token, infinite where the run stored none."""

    arm: Arm
    seed: int
    stage: str
    samples: int
    lang: str
    nats: float


class Spread(NamedTuple):
    """Mean and range over seeds, in nats: exp(mean) is the geometric mean of the perplexities."""

    mean: float
    low: float
    high: float
    num_seeds: int


def points(runs: Iterable[Results], split: str = "test") -> list[Point]:
    """The rows of one split as points of arms. A run's intact ``base`` rows count for each of its arms and seeds.

    Setting keys that a row lacks are taken from the run's other rows where these agree, then from the run's region.
    """
    found: list[Point] = []
    for run in runs:
        rows = [row for row in run.perplexity if row["split"] == split]
        damaged = [row for row in rows if row["stage"] != "base"]
        defaults = _defaults(run, damaged or rows)
        trained = any(row["stage"] in ("training", "final") for row in damaged)
        frozen = True if run.guard is not None else (False if trained else None)
        arms = {id(row): _arm(run, defaults | row, frozen) for row in rows}
        found += [
            Point(arms[id(row)], row["seed"], row["stage"], row["samples"], row["lang"], _nats(row)) for row in damaged
        ]
        intact: dict[str, float] = {}
        for row in rows:
            if row["stage"] == "base":
                intact.setdefault(row["lang"], _nats(row))
        for arm, seed in dict.fromkeys((arms[id(row)], row["seed"]) for row in damaged or rows):
            found += [Point(arm, seed, "base", 0, lang, nats) for lang, nats in intact.items()]
    return found


def _nats(row: Mapping[str, Any]) -> float:
    return float(row.get("nats_per_token", math.inf))


def _defaults(run: Results, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    region = run.region or {}
    defaults: dict[str, Any] = {"variant": region.get("kind", "none"), "fraction": region.get("fraction")}
    for key in ("variant", "fraction", "method", "strength"):
        values = {row[key] for row in rows if key in row}
        if len(values) == 1:
            defaults[key] = values.pop()
    return defaults


def _arm(run: Results, row: Mapping[str, Any], frozen: bool | None) -> Arm:
    score = (run.region or {}).get("score") if row["variant"] != "random" else None
    fraction, method, strength = (row.get(key) for key in ("fraction", "method", "strength"))
    return Arm(row["variant"], frozen, score, fraction, method, strength, run.model.get("name"))


def spread(points: Iterable[Point]) -> Spread | None:
    """Mean, least and greatest nats over seeds; runs that share a seed are averaged first. ``None`` of no points."""
    by_seed: dict[int, list[float]] = {}
    for point in points:
        by_seed.setdefault(point.seed, []).append(point.nats)
    means = [math.fsum(values) / len(values) for values in by_seed.values()]
    return Spread(math.fsum(means) / len(means), min(means), max(means), len(means)) if means else None


def labels(arms: Iterable[Arm]) -> dict[Arm, str]:
    """A name for each arm, in reading order: kind, frozen or free, and in brackets only what else tells arms apart."""
    texts = {"fraction": "{:.3%}", "strength": "strength {:g}"}
    unique = sorted(set(arms), key=_order)
    named: dict[Arm, str] = {}
    for arm in unique:
        peers = [other for other in unique if other[:2] == arm[:2]]
        told = [field for field in Arm._fields[2:] if len({getattr(peer, field) for peer in peers}) > 1]
        extra = [_text(texts.get(field, "{}"), getattr(arm, field)) for field in told]
        name = "no region" if arm.kind == "none" else arm.kind
        name += {True: ", frozen", False: ", free", None: ""}[arm.frozen]
        named[arm] = name + (f" ({', '.join(extra)})" if extra else "")
    return named


def _text(template: str, value: Any) -> str:
    if value is None:
        return "–"
    text = template.format(value)
    return text.rstrip("%0").rstrip(".") + " %" if text.endswith("%") else text


def _order(arm: Arm) -> tuple[Any, ...]:
    kind = KINDS.index(arm.kind) if arm.kind in KINDS else len(KINDS)
    numbers = tuple(-1.0 if value is None else value for value in (arm.fraction, arm.strength))
    return (kind, arm.kind, {True: 0, False: 1, None: 2}[arm.frozen], *numbers, *map(str, arm))
