"""The number that a run returns to a sweeper."""

import math

from lightning_langcore.results.record import Results


def objective(results: Results, name: str) -> float | None:
    """A metric of the final evaluation.

    Args:
        results: the results of the run.
        name: METRIC/SPLIT for the mean over languages, or METRIC/SPLIT/LANGUAGE.

    Returns:
        The value; infinite if the loss of the model is, ``None`` if the run was not evaluated at its end.
    """
    metric, split, *language = name.split("/")
    rows = [row for row in results.perplexity if row["stage"] == "final" and row["split"] == split]
    chosen = [row for row in rows if not language or row["lang"] == language[0]]
    return math.fsum(row.get(metric, math.inf) for row in chosen) / len(chosen) if chosen else None
