"""Whether perturbing a monolingual region hurts its own language more than the others.

Some languages suffer more from any perturbation, and some regions hurt every language more. So the increase of a
language under a region is compared with the means of its row and of its column.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_langcore.results.conditions import Point, points, spread
from lightning_langcore.results.record import Results
from lightning_langcore.utils import tables

_PREFIX = "mono:"


@dataclass(frozen=True)
class Table:
    """One setting (fraction, method, strength): nats per token that each language loses under each region.

    Attributes:
        setting: as text, ``5 %, reinit, strength 2``.
        regions: languages whose monolingual region was perturbed; rows.
        languages: those scored; columns.
        increase: [regions, languages] nats per token above the intact base, mean over seeds; NaN where not finite.
        excess: [regions, languages] the increase minus the means of its row and column, plus the mean of all: 0
            everywhere if the effects of region and language add up.
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
    """A table for each setting in which at least two monolingual regions were perturbed."""
    found = points(runs)
    perturbed = [point for point in found if point.stage == "perturbed" and point.condition.kind.startswith(_PREFIX)]
    settings = dict.fromkeys((p.condition.fraction, p.condition.method, p.condition.strength) for p in perturbed)
    made = []
    for setting in settings:
        own = [p for p in perturbed if (p.condition.fraction, p.condition.method, p.condition.strength) == setting]
        kinds = (p.condition.kind for p in own if not p.condition.kind.endswith("-outliers"))
        regions = list(dict.fromkeys(kind.removeprefix(_PREFIX) for kind in kinds))
        if len(regions) > 1:
            made.append(_table(setting, regions, own, [p for p in found if p.stage == "base"]))
    return made


def write_csv(settings: Sequence[Table], path: Path | str) -> None:
    """Write a row for each setting, region and language, atomically."""
    rows = [
        [table.setting, region, language, f"{table.increase[i, j]:.6f}", f"{table.excess[i, j]:.6f}"]
        for table in settings
        for i, region in enumerate(table.regions)
        for j, language in enumerate(table.languages)
    ]
    tables.write_csv(path, ["setting", "region", "lang", "increase", "excess"], rows)


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
    parts = [f"{100 * (fraction or 0):g} %", str(method), *([] if strength is None else [f"strength {strength:g}"])]
    return Table(", ".join(parts), regions, languages, increase, excess)
