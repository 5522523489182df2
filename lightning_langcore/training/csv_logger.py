"""``metrics.csv`` that a resumed run goes on with, as if it had not been interrupted."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning_utilities.core.rank_zero import rank_zero_only
from typing_extensions import override

from lightning_langcore.utils.tables import write_csv


class CSVLog(CSVLogger):
    """Lightning's CSV logger, but rows of an earlier start of the run stay until it is known which are to be kept.

    Lightning's deletes the file as it begins, and rewrites it in place where a new column comes: what is killed then
    loses rows.
    """

    @property
    @override
    def experiment(self) -> Any:
        """The writer; on other ranks than the first Lightning's, which does nothing."""
        if self._experiment is None and getattr(rank_zero_only, "rank", 0) == 0:
            self._experiment = _Rows(self.log_dir)
        return super().experiment

    def count(self) -> int:
        """Rows on disk, after writing those that wait."""
        self.save()
        return self.experiment.num_rows

    def keep(self, num_rows: int) -> None:
        """Go on behind the first rows of the file, where there is one."""
        self.experiment.keep(num_rows)


class _Rows(ExperimentWriter):
    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.num_rows = 0
        self._goes_on = False

    @override
    def _check_log_dir_exists(self) -> None:
        """Nothing is deleted here."""

    @override
    def save(self) -> None:
        if self.metrics and not self._goes_on:
            Path(self.metrics_file_path).unlink(missing_ok=True)
            self._goes_on = True
        self.num_rows += len(self.metrics)
        super().save()

    def keep(self, num_rows: int) -> None:
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for _, row in zip(range(num_rows), reader, strict=False)]
            self.metrics_keys = list(reader.fieldnames or [])
        self._write(rows)
        self.num_rows, self._goes_on = len(rows), True

    @override
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self._write(rows)

    def _write(self, rows: list[dict[str, str]]) -> None:
        """Replace the file, in the form of Lightning's own writer, which appends to it."""
        write_csv(self.metrics_file_path, self.metrics_keys, ([row.get(k) for k in self.metrics_keys] for row in rows))
