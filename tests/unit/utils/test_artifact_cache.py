"""Artifacts: built once, whole or not at all."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from lightning_langcore.utils import artifact_cache

RECIPE = {"tokens": 100, "languages": ["zh", "ar"], "lr": 1e-3}


def build_text(folder):
    (folder / "data.txt").write_text("content")


def test_what_is_built_is_found_again_and_not_built_again(tmp_path):
    assert artifact_cache.find(tmp_path, "base", RECIPE) is None
    built = []
    for _ in range(3):
        folder = artifact_cache.get(tmp_path, "base", RECIPE, lambda f: built.append(f) or build_text(f))
    assert len(built) == 1
    assert built[0] != folder
    assert folder == artifact_cache.find(tmp_path, "base", dict(reversed(RECIPE.items())))
    assert (folder / "data.txt").read_text() == "content"
    assert json.loads((folder / "recipe.json").read_text()) == RECIPE
    assert folder.stat().st_mode & 0o777 == 0o755


def test_another_recipe_or_name_is_another_folder(tmp_path):
    folders = {
        artifact_cache.get(tmp_path, "base", RECIPE, build_text),
        artifact_cache.get(tmp_path, "changes", RECIPE, build_text),
        artifact_cache.get(tmp_path, "base", {**RECIPE, "lr": 2e-3}, build_text),
        artifact_cache.get(tmp_path, "base", {**RECIPE, "languages": ["ar", "zh"]}, build_text),
    }
    assert len(folders) == 4


def test_the_folder_is_not_in_its_place_before_it_is_complete(tmp_path):
    def look(folder):
        build_text(folder)
        assert artifact_cache.find(tmp_path, "base", RECIPE) is None
        assert not list(tmp_path.glob("base-*"))

    artifact_cache.get(tmp_path, "base", RECIPE, look)


@pytest.mark.parametrize("error", [RuntimeError, PermissionError, FileExistsError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_behind_and_is_not_renamed(tmp_path, error):
    def fail(folder):
        build_text(folder)
        raise error("in the build")

    with pytest.raises(error, match="in the build"):
        artifact_cache.get(tmp_path, "base", RECIPE, fail)
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    assert (artifact_cache.get(tmp_path, "base", RECIPE, build_text) / "data.txt").exists()


def _make(root, waiting, build_is_on, count, lines):
    """One of two processes: the first to build goes on only when the other says that it waits."""

    def say(text):
        lines.put(text)
        waiting.set()

    def build(folder):
        with count.get_lock():
            count.value += 1
        lines.put(os.getpid())
        build_is_on.set()
        assert waiting.wait(20)
        build_text(folder)

    artifact_cache.say = say
    assert (artifact_cache.get(root, "base", RECIPE, build) / "data.txt").read_text() == "content"


def test_two_processes_at_once_build_once_and_the_second_says_whom_it_waits_for(tmp_path):
    fork = multiprocessing.get_context("fork")
    waiting, build_is_on, count, lines = fork.Event(), fork.Event(), fork.Value("i", 0), fork.Queue()
    processes = [fork.Process(target=_make, args=(tmp_path, waiting, build_is_on, count, lines)) for _ in range(2)]
    processes[0].start()
    assert build_is_on.wait(20)
    processes[1].start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert count.value == 1
    builder, said = lines.get(timeout=5), lines.get(timeout=5)
    assert builder == processes[0].pid
    assert said.startswith(f"waiting for process {builder} on ")


def test_a_root_that_can_not_be_written_is_refused_by_its_setting(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=r"paths\.artifacts=.*file.* can't be written"):
            artifact_cache.get(root, "base", RECIPE, build_text)


@pytest.mark.skipif(not os.access("/proc/self", os.R_OK), reason="needs /proc, which even root can't write")
def test_a_read_only_root_is_refused_by_its_setting():
    with pytest.raises(ValueError, match=r"paths\.artifacts=/proc/self/fdinfo can't be written"):
        artifact_cache.get(Path("/proc/self/fdinfo"), "base", RECIPE, build_text)
