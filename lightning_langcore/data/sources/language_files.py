"""The files of each language in a folder, and what is left out of them and why."""

from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from lightning_langcore.data.sources.compression import ENDINGS as COMPRESSIONS
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say

ARCHIVES = frozenset((".zip", ".tar", ".tgz", ".7z", ".rar"))
DOCUMENTATION = frozenset(
    ("readme", "license", "licence", "copying", "notice", "changelog", "citation", "authors", "contributing")
)
METADATA = frozenset(("dataset_info", "dataset_infos", "dataset_dict", "state", "metadata", "config"))
SAVED = ("dataset_dict.json", "state.json")
"""Files that ``save_to_disk`` of ``datasets`` writes beside the data."""

_NUM_NAMED = 10


class Named(NamedTuple):
    """The name of a file taken apart: ``en.jsonl.gz`` is ``en``, ``.jsonl`` and ``.gz``; endings in lower case."""

    stem: str
    ending: str
    compression: str


def named(file: Path) -> Named:
    """The parts of a file's name."""
    compression = file.suffix.lower() if file.suffix.lower() in COMPRESSIONS else ""
    inner = Path(file.stem) if compression else Path(file.name)
    return Named(inner.stem, inner.suffix.lower(), compression)


def files_by_language(
    root: Path, endings: Collection[str], uncompressed: Collection[str] = ()
) -> dict[str, list[Path]]:
    """The files of each language in ``<root>/<lang>.<ending>`` and ``<root>/<lang>/``, sorted.

    What is left out is printed once with the reason, but for files and folders whose name begins with a dot.

    Args:
        root: the folder.
        endings: endings that can be read, in lower case; names may have them in upper case, and a compression after.
        uncompressed: those of them that can't be read with a compression after them.

    Raises:
        LangcoreError: no such folder, a folder of another layout, or no language in it.
    """
    if not root.is_dir():
        raise LangcoreError(f"data.root={root}: there is no such folder")
    if any((root / name).is_file() for name in SAVED):
        raise LangcoreError(
            f"data.root={root}: this is a dataset saved by save_to_disk: read it with data=hub data.path={root}, or"
            " give a folder of such folders, one for each language"
        )
    found: dict[str, list[Path]] = {}
    left_out: dict[str, list[str]] = {}
    for entry in _visible(root):
        files = []
        for file in _files(entry):
            reason = _why_left_out(file, endings, uncompressed)
            if reason is None:
                files.append(file)
            else:
                left_out.setdefault(reason, []).append(str(file.relative_to(root)))
        if files:
            found.setdefault(entry.name if entry.is_dir() else named(entry).stem, []).extend(files)
        elif entry.is_dir():
            left_out.setdefault("no file in it that can be read", []).append(f"{entry.name}/")
    told = _told(left_out)
    if not found:
        known = f"no <lang>{', '.join(endings)} or folder <lang>/ with such files"
        raise LangcoreError(f"data.root={root}: {known}{told and f'; left out: {told}'}")
    if told:
        _say_once(f"data.root={root}: left out {told}")
    return found


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _files(entry: Path, is_language: bool = True) -> Iterator[Path]:
    """The entry itself, or the files in it and its folders; below a language, a link to a folder is no folder."""
    if entry.is_dir() and (is_language or not entry.is_symlink()):
        for inner in _visible(entry):
            yield from _files(inner, is_language=False)
    else:
        yield entry


def _why_left_out(file: Path, endings: Collection[str], uncompressed: Collection[str]) -> str | None:
    stem, ending, compression = named(file)
    if not file.is_file():
        return "a link to a folder, which is not followed" if file.is_dir() else "a link to nothing"
    if stem.lower() in DOCUMENTATION or (ending == ".json" and stem.lower() in METADATA):
        return "documentation or metadata by its name"
    if ending in ARCHIVES or file.suffix.lower() in ARCHIVES:
        return "an archive: unpack it"
    if ending not in endings:
        return f"its ending is none of {', '.join(endings)}"
    if compression and ending in uncompressed:
        return f"compressed {ending}: unpack it"
    return None


def _told(left_out: dict[str, list[str]]) -> str:
    parts = []
    for reason, names in left_out.items():
        more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
        parts.append(f"{', '.join(names[:_NUM_NAMED])}{more} ({reason})")
    return "; ".join(parts)


@cache
def _say_once(text: str) -> None:
    say(text)
