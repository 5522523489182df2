"""A report on any set of runs: tables for the terminal, and one self-contained HTML page."""

from collections.abc import Sequence
from pathlib import Path

from lightning_langcore.reports.blocks import Page, Section
from lightning_langcore.reports.console import print_tables
from lightning_langcore.reports.html import render
from lightning_langcore.reports.run_groups import group
from lightning_langcore.reports.sections.adaptation import adaptation
from lightning_langcore.reports.sections.freezing import freezing
from lightning_langcore.reports.sections.noise import noise
from lightning_langcore.reports.sections.perplexity import by_language, final_perplexity, recovery
from lightning_langcore.reports.sections.perturbation import perturbation
from lightning_langcore.reports.sections.regions import regions
from lightning_langcore.reports.sections.runs import differences, runs_table
from lightning_langcore.reports.sections.summary import in_short
from lightning_langcore.reports.sections.sweeps import epochs, mix
from lightning_langcore.reports.sections.training_text import training_text
from lightning_langcore.reports.summary_tables import summary_tables
from lightning_langcore.results.record import Results, load_runs
from lightning_langcore.utils.atomic_files import write_text
from lightning_langcore.utils.errors import LangcoreError


def print_table(runs: Sequence[Results]) -> None:
    """Print the tables of these runs to standard output."""
    print_tables(summary_tables(runs))


def write_html(runs: Sequence[Path | str | Results], path: Path | str, messages: Sequence[str] = ()) -> Path:
    """Write one self-contained page on ``runs``: no script, no file beside it, pictures inside.

    Args:
        runs: results, or folders that hold runs at or below them.
        path: the page; links to the run folders are relative to it.
        messages: one for each run that could not be read; they stand at the top.

    Raises:
        LangcoreError: there is no run in ``runs``, or none can be read.
        OSError: the page can't be written.
    """
    path = Path(path)
    loaded = [run for run in runs if isinstance(run, Results)]
    folders = [run for run in runs if not isinstance(run, Results)]
    if folders:
        found, unreadable = load_runs(folders)
        loaded, messages = [*loaded, *found], [*messages, *unreadable]
    if not loaded:
        raise LangcoreError("report: no runs given")
    write_text(path, render(make_page(loaded, path.parent, messages)))
    return path


def make_page(runs: Sequence[Results], folder: Path, messages: Sequence[str] = ()) -> Page:
    """The page as data.

    Args:
        runs: at least one.
        folder: of the page; links start there.
        messages: one for each run that could not be read.
    """
    groups = group(runs)
    contents = {
        "In short": in_short(runs, groups, messages),
        "What was run": runs_table(runs, folder),
        "Adapting: gain against loss": adaptation(groups.intact),
        "What the mix did": mix(groups.intact),
        "What epochs did": epochs(groups.intact),
        "What noise did": noise(groups.intact),
        "Frozen against free": final_perplexity(groups.others),
        "Language by language": by_language(groups.intact),
        "The cost of freezing": freezing(groups.with_cost),
        "Recovery": recovery(groups.others),
        "Damage before training": perturbation(groups.regional),
        "Where regions lie, and what single languages and weights do": regions(runs),
        "The text that was read": training_text(runs),
        "What differs in the configs": differences(runs),
    }
    title = ", ".join(dict.fromkeys(run.experiment for run in runs))
    return Page(title, tuple(Section(name, tuple(blocks)) for name, blocks in contents.items() if blocks))
