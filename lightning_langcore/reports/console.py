"""What runs found, as tables for the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from lightning_langcore import plots
from lightning_langcore.reports.cells import MASKED, back_text, cells, column_names, compared_with, monitored
from lightning_langcore.results.conditions import Condition, labels, points, spread
from lightning_langcore.results.effects import clean_partners, responds, stopped, trained_conditions
from lightning_langcore.results.number_format import number, share, spread_text
from lightning_langcore.results.perplexity_table import lines
from lightning_langcore.results.record import Results

_MOST_COLUMNS = 9
_NARROW = 76  # columns
_MAX_CONDITIONS = 6  # in a table of every language, where another table tells of the arms


def table(runs: Sequence[Results]) -> Table:
    """Test perplexity by language and arm: intact, damaged, at the end. Readable at 80 columns."""
    made = Table(
        title="Test perplexity (geometric mean over seeds, range)",
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
    )
    unfinished = sum(run.status != "completed" for run in runs)
    made.caption = f"{unfinished} of {len(runs)} runs did not finish" if unfinished else None
    made.add_column("lang", no_wrap=True)
    made.add_column("region", overflow="fold")
    found = lines(runs)
    trained_only = bool(found) and all(map(responds, runs))  # nothing was damaged
    for column in ("base", "final") if trained_only else ("base", "damaged", "final"):
        made.add_column(column, justify="right", overflow="fold")
    made.add_column("seeds", justify="right", no_wrap=True)
    before = None
    for line in found:
        if before not in (None, line.lang):
            made.add_section()
        values = [spread_text(line.base, "\n"), spread_text(line.perturbed, "\n"), line.final_text("\n")]
        del values[1 : 1 + trained_only]
        made.add_row("" if line.lang == before else line.lang, line.label, *values, line.seeds)
        before = line.lang
    return made


def perturbation_tables(runs: Sequence[Results]) -> list[Table]:
    """The talk's layout, a table a setting: languages are rows, the intact base and each damaged region columns.

    None where there are too many columns for a line.
    """
    made = []
    for title, bars in plots.perturbed_points(points(runs)).items():
        if len(bars) > _MOST_COLUMNS:
            return []
        shown = Table(title=f"Test perplexity right after the perturbation: {title}".rstrip(": "), pad_edge=False)
        shown.title_justify = "left"
        shown.add_column("lang", no_wrap=True)
        for label in bars:
            shown.add_column(label, justify="right", overflow="fold")
        for lang in dict.fromkeys(point.lang for own in bars.values() for point in own):
            values = (spread(point for point in own if point.lang == lang) for own in bars.values())
            shown.add_row(lang, *(spread_text(value, "\n") for value in values))
        made.append(shown)
    return made


def effects_table(runs: Sequence[Results], width: int) -> Table:
    """What training on a text did, an arm a line: final test perplexity as a multiple of the base's, and how far moved.

    Args:
        runs: those that :func:`~lightning_langcore.results.effects.responds`.
        width: of the terminal; where it is narrow the perplexities alone are told.
    """
    made = Table(title="Final test perplexity / base's, range over seeds", pad_edge=False)
    made.title_justify = "left"
    conditions, clean = _by_condition(runs), clean_partners(runs)
    found = {
        label: {name: text.replace(" (", "\n(") for name, text in cells(own).items()}
        for label, own in conditions.items()
    }
    for label, own in conditions.items():
        found[label]["back after"] = back_text(own, clean)
    shown = [name for name in next(iter(found.values())) if any(row[name] for row in found.values())]
    if width < _NARROW:
        shown = [name for name in shown if name in ("trained on", "others", "answers")]
        found = {label: {name: text.replace("–", "–\n") for name, text in row.items()} for label, row in found.items()}
    level = compared_with(runs, clean)
    if "back after" in shown and level:
        made.title = f"{made.title}; documents until back within 1 % of {level}"
    made.add_column("region and text", overflow="fold")
    for name in column_names(shown, runs):
        made.add_column(name, justify="right", overflow="fold")
    made.add_column("seeds", justify="right", no_wrap=True)
    for label, own in conditions.items():
        values = (found[label][name] or number(None) for name in shown)
        made.add_row(label, *values, str(len({run.seed for run in own})))
    return made


def monitor_table(runs: Sequence[Results], width: int) -> Table:
    """What the monitor caught, an arm a line, counts added up over seeds; where it is narrow the shares alone."""
    made = Table(title="What the monitor flagged", title_justify="left", pad_edge=False)
    made.add_column("region and text", overflow="fold")
    told: tuple[str, ...] = () if width < _NARROW else ("steps", "flagged", "skipped")
    if told and monitored(runs)["masked_rows"]:
        told = (*told, "masked_rows")
        made.caption, made.caption_justify = MASKED, "left"
    for column in (
        *(name.replace("masked_rows", "rows masked") for name in told),
        "recall",
        "precision",
        "false alarms",
    ):
        made.add_column(column, justify="right", overflow="fold")
    for label, own in _by_condition(runs).items():
        counts = monitored(own)
        if counts["steps"]:
            numbers = (f"{counts[name]:,}" for name in told)
            shares = (
                share(counts[name]) if name in counts else "–" for name in ("recall", "precision", "false alarms")
            )
            made.add_row(label, *numbers, *shares)
    return made


def _by_condition(runs: Sequence[Results]) -> dict[str, list[Results]]:
    """Runs of one experiment that differ in the seed alone, by what they are called, in reading order."""
    groups: dict[Condition, dict[str, list[Results]]] = {}
    for run, condition in zip(runs, trained_conditions(runs), strict=True):
        groups.setdefault(condition, {}).setdefault(run.experiment, []).append(run)
    return {
        label + (f", {experiment}" if len(groups[condition]) > 1 else ""): own
        for condition, label in labels(groups).items()
        for experiment, own in groups[condition].items()
    }


def print_table(runs: Sequence[Results]) -> None:
    """Print what the runs found to standard output; without a terminal plain, and wide enough that nothing is cut.

    Of runs that trained an intact model on a known text: :func:`effects_table`, :func:`monitor_table`, and
    :func:`table` of few arms. Of others :func:`perturbation_tables` where nothing was trained and they fit, else
    :func:`table`; nothing of runs that changed single weights, whose job prints its own.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=100, color_system=None)
    for shown in _tables([run for run in runs if not of_single_weights(run)], console.width):
        console.print(shown)


def _tables(runs: Sequence[Results], width: int) -> list[Table]:
    intact = [run for run in runs if responds(run)]
    others = [run for run in runs if not responds(run)]  # a run that was stopped is told of where there is no other
    others = [run for run in others if not stopped(run)] or ([] if intact else others)
    made = []
    if others:
        trained = any(point.stage in ("training", "final") for point in points(others))
        made += ([] if trained else perturbation_tables(others)) or [table(others)]
    if intact:
        made.append(effects_table(intact, width))
    if any((run.monitor or {}).get("num_steps") for run in intact):
        made.append(monitor_table(intact, width))
    if intact and len(_by_condition(intact)) <= _MAX_CONDITIONS:
        made.append(table(intact))
    return made


def of_single_weights(run: Results) -> bool:
    """Whether it changed single weights, which its own job tells of."""
    return any(str(row.get("variant", "")).endswith("]") for row in run.perplexity)
