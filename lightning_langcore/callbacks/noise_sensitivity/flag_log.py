"""Records of the monitor: flagged steps as JSON lines, and counts compared with tagged noise."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_langcore.callbacks.noise_sensitivity.micro_batches import Entry
from lightning_langcore.monitoring.detector import Decision
from lightning_langcore.utils.atomic_files import append_line, write_text
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say


class FlagLog:
    """JSON lines, one per flagged step, in the order of the steps.

    Args:
        path: the file.
        last_step: the step after which the run resumes. Lines of later steps are dropped, because the resumed run
            writes them again, and so is an incomplete last line. With 0 (a new run) the file of an earlier run is
            renamed, with a message.

    Raises:
        LangcoreError: a line that is no record of a flagged step.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        self.path = path
        if last_step == 0 and path.exists() and path.stat().st_size:
            older = path.with_name(f"{path.stem}.old{path.suffix}")
            path.replace(older)
            say(f"NoiseSensitivity: the flagged steps of an earlier run are now in {older}")
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [(number, line) for number, line in enumerate(lines, 1) if line.endswith("\n")]
            write_text(path, "".join(line for number, line in whole if self._step(number, line) <= last_step))

    def append(
        self,
        step: int,
        action: str,
        decision: Decision,
        names: Sequence[str],
        documents: Sequence[Entry],
        heads: Sequence[str | list[int]],
    ) -> None:
        """Append a line and flush it to disk; numbers that are not finite become strings.

        Args:
            step: the flagged step, counted from 1.
            action: the action taken.
            decision: the decision on the step.
            names: names of the tensors.
            documents: documents of the suspicious rows, each once.
            heads: beginnings of the suspicious rows.
        """
        record: dict[str, Any] = {
            "step": step,
            "action": action,
            "signals": decision.signals,
            "reasons": decision.reasons,
            "worst_tensor": None if decision.worst_tensor is None else names[decision.worst_tensor],
            "documents": documents,
            "heads": heads,
        }
        if decision.restarted:
            record["restarted"] = True
        append_line(self.path, json.dumps(_finite(record), ensure_ascii=False, allow_nan=False))

    def _step(self, number: int, line: str) -> int:
        try:
            return int(json.loads(line)["step"])
        except (ValueError, TypeError, KeyError) as error:
            raise LangcoreError(
                f"{self.path}, line {number}, is no record of a flagged step: move the file away"
            ) from error


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class Counts:
    """Counts of a run: flagged steps, and tagged noise that was found in them."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(
            ("num_steps", "num_flagged", "num_skipped", "num_masked_rows", "num_clean_steps", "num_false_alarms"), 0
        )
        self._tags_known = False
        self._tagged: set[str] = set()
        self._caught: set[str] = set()

    def add(self, flagged: bool, skipped: bool, num_masked_rows: int, tagged: Iterable[str] | None) -> None:
        """Count a step.

        Args:
            flagged: whether the step was flagged.
            skipped: whether the update of the weights was skipped.
            num_masked_rows: rows whose labels were masked.
            tagged: identities of the step's documents with a tag; ``None`` if unknown.
        """
        counts = self.counts
        counts["num_steps"] += 1
        counts["num_flagged"] += flagged
        counts["num_skipped"] += skipped
        counts["num_masked_rows"] += num_masked_rows
        if tagged is None:
            return
        tagged = set(tagged)
        self._tags_known = True
        self._tagged |= tagged
        if flagged:
            self._caught |= tagged
        if not tagged:
            counts["num_clean_steps"] += 1
            counts["num_false_alarms"] += flagged

    def summary(self) -> dict[str, float]:
        """See :meth:`NoiseSensitivity.summary`."""
        if not self._tags_known:
            return {k: v for k, v in self.counts.items() if k not in ("num_clean_steps", "num_false_alarms")}
        found: dict[str, float] = {**self.counts, "num_tagged": len(self._tagged), "num_caught": len(self._caught)}
        if found["num_flagged"]:
            found["precision"] = 1 - found["num_false_alarms"] / found["num_flagged"]
        if self._tagged:
            found["recall"] = len(self._caught) / len(self._tagged)
        return found

    def state(self) -> dict[str, Any]:
        """State for a checkpoint: ints and lists of strings."""
        known = {"tags_known": int(self._tags_known), "tagged": sorted(self._tagged), "caught": sorted(self._caught)}
        return {"counts": dict(self.counts), **known}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a state from :meth:`state`."""
        self.counts = dict(state["counts"])
        self._tags_known = bool(state["tags_known"])
        self._tagged, self._caught = set(state["tagged"]), set(state["caught"])
