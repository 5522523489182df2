"""Does damage to a monolingual region hurt its own language more than the others?

Languages differ in how much any damage hurts them, and regions in how much they hurt any language: so the increase of
each language under each region is read beside the mean of its row and of its column.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_langcore.results.conditions import Point, points, spread
from lightning_langcore.results.record import Results
from lightning_langcore.utils.atomic_files import atomic_path

_PREFIX = "mono:"


@dataclass(frozen=True)
class Table:
    """One setting (fraction, method, strength): nats per token that each language loses under each region.

    Attributes:
        setting: in words.
        regions: languages whose monolingual region was damaged; rows.
        languages: those scored; columns.
        increase: nats per token above the intact base, mean over seeds; NaN where it is not finite.
        excess: the same less the means of row and column, plus the mean of all: 0 everywhere if region and language
            add up.
    """

    setting: str
    regions: list[str]
    languages: list[str]
    increase: np.ndarray
    excess: np.ndarray

    def own(self, region: str) -> float:
        """Excess of the region's own language, nats per token; NaN if it was not scored."""
        if region not in self.languages:
            return math.nan
        return float(self.excess[self.regions.index(region), self.languages.index(region)])


def own_and_others(runs: Sequence[Results]) -> list[Table]:
    """A table for each setting in which at least two monolingual regions were damaged."""
    found = points(runs)
    perturbed = [point for point in found if point.stage == "perturbed" and point.condition.kind.startswith(_PREFIX)]
    settings = dict.fromkeys((p.condition.fraction, p.condition.method, p.condition.strength) for p in perturbed)
    tables = []
    for setting in settings:
        own = [p for p in perturbed if (p.condition.fraction, p.condition.method, p.condition.strength) == setting]
        regions = list(
            dict.fromkeys(
                p.condition.kind.removeprefix(_PREFIX) for p in own if not p.condition.kind.endswith("-outliers")
            )
        )
        if len(regions) > 1:
            tables.append(_table(setting, regions, own, [p for p in found if p.stage == "base"]))
    return tables


def write_csv(tables: Sequence[Table], path: Path | str) -> None:
    """A row for each setting, region and language, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["setting", "region", "lang", "increase", "excess"])
        for table in tables:
            for row, region in enumerate(table.regions):
                for column, language in enumerate(table.languages):
                    figures = (table.increase[row, column], table.excess[row, column])
                    writer.writerow([table.setting, region, language, *(f"{v:.6f}" for v in figures)])


def _table(
    setting: tuple[float | None, str | None, float | None], regions: list[str], own: list[Point], base: list[Point]
) -> Table:
    languages = list(dict.fromkeys(p.lang for p in own))
    increase = np.full((len(regions), len(languages)), np.nan)
    for row, region in enumerate(regions):
        for column, language in enumerate(languages):
            after = spread(p for p in own if p.condition.kind == _PREFIX + region and p.lang == language)
            before = spread(p for p in base if p.lang == language)
            if after and before and math.isfinite(after.mean):
                increase[row, column] = after.mean - before.mean
    excess = increase - np.nanmean(increase, 1, keepdims=True) - np.nanmean(increase, 0) + np.nanmean(increase)
    fraction, method, strength = setting
    words = [f"{100 * (fraction or 0):g} %", str(method), *([] if strength is None else [f"strength {strength:g}"])]
    return Table(", ".join(words), regions, languages, increase, excess)
