"""The runs of ``claims.py`` and ``claims_data.py``: sweeps that an interrupted command continues, and their text."""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from result_files import FOLDER, ROOT, add_results_option, commit

from lightning_langcore.data import FileSource, PhrasebookConversations
from lightning_langcore.results.record import Results, find_runs

RECORD = "made_with.json"


def options_of(description: str, claims: tuple[str, ...], out: str) -> argparse.Namespace:
    """The options of both scripts.

    Args:
        description: the docstring of the script.
        claims: the choices of ``--claim``; all of them by default.
        out: the default folder of the runs.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--claim", choices=claims, nargs="+", default=list(claims))
    parser.add_argument("--text", type=Path, help="folder of <lang>.txt; by default the phrasebook")
    parser.add_argument("--name", help="added to the names of the tables; needed with --text and with overrides")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of the runs (default: %(default)s)")
    add_results_option(parser)
    parser.add_argument("overrides", nargs="*", help="further overrides for every command")
    options = parser.parse_args()
    if (options.text or options.overrides) and not options.name and options.results == FOLDER:
        parser.error("--text and overrides need --name NAME, because their figures go to tables of their own")
    if options.name and not re.fullmatch(r"[a-z0-9_]+", options.name):
        parser.error(f"--name {options.name}: lower-case letters, digits and underscores only")
    options.out = options.out.resolve()
    return options


def named(name: str, options: argparse.Namespace) -> str:
    """The name of a topic or table, with ``--name``."""
    return f"{name}_{options.name}" if options.name else name


def text_of(options: argparse.Namespace) -> dict[str, str]:
    """Name and digest of the text of all runs; the phrasebook's digest covers its conversations, too."""
    if options.text:
        return {"name": options.name or options.text.name, "digest": FileSource(options.text).digest()}
    return {"name": "phrasebook", "digest": PhrasebookConversations().digest()}


def claim_folder(folder: Path, text: dict[str, str]) -> list[str]:
    """Keep the text of the runs in their folder, and return the commits at which commands have made runs in it.

    Raises:
        SystemExit: the folder holds runs on another text.
    """
    record = folder / RECORD
    held = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {"text": text, "commits": []}
    if held["text"] != text:
        sys.exit(
            f"{folder} holds runs on another text ({held['text']['name']}, digest {held['text']['digest'][:8]};"
            f" now {text['name']}, {text['digest'][:8]}): choose another --out, or remove the folder"
        )
    now = commit()
    state = f"{now['commit']}{' with uncommitted changes' if now['uncommitted_changes'] else ''}"
    held["commits"] = list(dict.fromkeys([*held["commits"], state]))
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(held, indent=1), encoding="utf-8")
    return held["commits"]


def finished(target: Path) -> bool:
    """Whether the sweep exists and every run of it is completed."""
    if not (target / "report.html").exists():
        return False
    return all(Results.load(path).status == "completed" for path in find_runs([target]))


def sweep(target: Path, *overrides: str) -> list[Results]:
    """Make one sweep unless it is finished, and return its runs; completed runs of it are not made again.

    Raises:
        SystemExit: the sweep failed or was interrupted; the same command continues it.
    """
    if not finished(target):
        command = [sys.executable, str(ROOT / "train.py"), "-m", f"hydra.sweep.dir={target}", *overrides]
        done = subprocess.run(command, check=False)
        if done.returncode:
            sys.exit(f"{target} is not finished (exit status {done.returncode}): the same command continues it")
    return [Results.load(path) for path in find_runs([target])]
