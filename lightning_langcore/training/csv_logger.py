"""``metrics.csv`` that a resumed run continues, as if it had not been interrupted."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning_utilities.core.rank_zero import rank_zero_only
from typing_extensions import override

from lightning_langcore.utils.tables import write_csv


class CSVLog(CSVLogger):
    """Lightning's CSV logger, which keeps the rows of the interrupted run until :meth:`keep` selects them.

    Lightning's logger deletes the file at its start, and rewrites it in place for a new column, so that a process
    killed at this moment loses rows.
    """

    @property
    @override
    def experiment(self) -> Any:
        """The writer; on ranks other than 0 the writer of Lightning, which does nothing."""
        if self._experiment is None and getattr(rank_zero_only, "rank", 0) == 0:
            self._experiment = _Rows(self.log_dir)
        return super().experiment

    def count(self) -> int:
        """Number of rows on disk, after writing the buffered rows."""
        self.save()
        return self.experiment.num_rows

    def keep(self, num_rows: int) -> None:
        """Keep the first ``num_rows`` rows of the file, if it exists, and append to them."""
        self.experiment.keep(num_rows)


class _Rows(ExperimentWriter):
    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.num_rows = 0
        self._is_continued = False

    @override
    def _check_log_dir_exists(self) -> None:
        """Do nothing: Lightning would delete the file here."""

    @override
    def save(self) -> None:
        if self.metrics and not self._is_continued:
            Path(self.metrics_file_path).unlink(missing_ok=True)
            self._is_continued = True
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
        self.num_rows, self._is_continued = len(rows), True

    @override
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self._write(rows)

    def _write(self, rows: list[dict[str, str]]) -> None:
        """Replace the file, in the form of Lightning's own writer, which appends to it."""
        write_csv(self.metrics_file_path, self.metrics_keys, ([row.get(k) for k in self.metrics_keys] for row in rows))
