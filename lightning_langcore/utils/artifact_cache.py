"""Cache of folders by recipe: each folder is built once, under a lock, and published by a rename."""

import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lightning_langcore.utils.atomic_files import atomic_folder, write_text
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import say


def key_of(recipe: Mapping[str, Any]) -> str:
    """First 12 hex digits of the SHA-256 of the recipe as canonical JSON."""
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def place(root: Path, name: str, recipe: Mapping[str, Any]) -> Path:
    """Path of the folder for a recipe, whether it exists or not."""
    return root / f"{name}-{key_of(recipe)}"


def find(root: Path, name: str, recipe: Mapping[str, Any]) -> Path | None:
    """The published folder for a recipe; ``None`` if there is none."""
    folder = place(root, name, recipe)
    return folder if (folder / "recipe.json").is_file() else None


def get(root: Path, name: str, recipe: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
    """The folder for a recipe, built by :func:`make_once` if it is missing, with ``recipe.json`` in it.

    Args:
        root: folder of all artifacts.
        name: human-readable name of the artifact.
        recipe: everything that the content depends on, as JSON values.
        build: fills an empty folder.

    Returns:
        ``<root>/<name>-<key>``.

    Raises:
        LangcoreError: ``root`` can't be written.
        OSError: the disk is full; no incomplete folder is left.
    """
    folder = place(root, name, recipe)
    if find(root, name, recipe):
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=root).close()
    except OSError as error:
        raise LangcoreError(
            f"paths.artifacts={root} can't be written ({error.strerror}): set another folder"
        ) from error

    def build_with_recipe(temporary: Path) -> None:
        build(temporary)
        write_text(temporary / "recipe.json", json.dumps(recipe, indent=2, ensure_ascii=False) + "\n")

    return make_once(folder, build_with_recipe, lambda: find(root, name, recipe) is not None)


def make_once(folder: Path, build: Callable[[Path], None], is_made: Callable[[], bool] | None = None) -> Path:
    """Make a folder unless it exists; an existing folder is always complete.

    A second process waits for the first and prints which process it waits for. The lock is released when its process
    ends, even if it is killed; the next process removes the incomplete folder of a killed process.

    Args:
        folder: folder to make.
        build: fills an empty temporary folder, which is renamed to ``folder`` when it is complete.
        is_made: whether the folder is made; ``None``: whether it exists.

    Raises:
        OSError: the folder can't be made or written; no incomplete folder is left.
    """
    is_made = is_made or folder.exists
    if is_made():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    owner = folder.with_name(f".{folder.name}.owner")
    with _locked(folder.with_name(f".{folder.name}.lock"), owner, folder.name):
        if not is_made():
            write_text(owner, f"process {os.getpid()} on {socket.gethostname()}")
            try:
                with atomic_folder(folder, keep_seconds=0) as temporary:
                    build(temporary)
            finally:
                owner.unlink(missing_ok=True)
    return folder


@contextmanager
def _locked(path: Path, owner: Path, name: str) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        try:
            who = owner.read_text(encoding="utf-8")
        except OSError:  # the other process has just started or finished
            who = "another process"
        say(f"waiting for {who}, which is making {name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
