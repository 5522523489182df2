"""What killed processes leave behind, and who removes it."""

import multiprocessing
import os
import signal
import time

import pytest

from lightning_langcore.data.packing.documents import PackedTokens, pack
from lightning_langcore.data.sources.base import Document
from lightning_langcore.utils import artifact_cache, atomic_files

FORK = multiprocessing.get_context("fork")
RECIPE = {"tokens": 100}


def write_packed(folder, tokenizer):
    pack([Document(str(i), f"document {i}") for i in range(200)], tokenizer, folder, None)


# --- killed processes, and two at once


def kill_inside(context, *arguments):
    """Kill a process within the block of a context manager; the temporary that it leaves."""
    here, there = FORK.Pipe()

    def run():
        with context(*arguments) as temporary:
            there.send(temporary)
            time.sleep(60)

    process = FORK.Process(target=run)
    process.start()
    temporary = here.recv()
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    return temporary


@pytest.mark.parametrize("name", ["results.json", "no_suffix", "zh", "model [1].x"])
def test_what_a_killed_process_leaves_goes_a_day_later_and_what_others_write_stays(tmp_path, name):
    before = time.time() - 25 * 3600
    left = kill_inside(atomic_files.atomic_path, tmp_path / name)
    others = [tmp_path / f".{name}.lock", tmp_path / f".{name}.x.abcdefgh.tmp", tmp_path / f".other{left.suffix}"]
    for path in others:
        path.touch()
        os.utime(path, (before, before))
    atomic_files.write_text(tmp_path / name, "x")
    assert left.exists()  # it may belong to a living process
    os.utime(left, (before, before))
    atomic_files.write_text(tmp_path / name, "y")
    assert not left.exists()
    assert all(path.exists() for path in others)


def test_a_folder_that_a_killed_process_has_begun_goes_too(tmp_path):
    left = kill_inside(atomic_files.atomic_folder, tmp_path / "model")
    (left / "half").write_text("x")
    with atomic_files.atomic_folder(tmp_path / "model") as temporary:
        assert left.exists()
        (temporary / "whole").touch()
    os.utime(left, (0, 0))
    with atomic_files.atomic_folder(tmp_path / "model") as temporary:
        assert not left.exists()


def build_slowly(root, name, begun, said, seconds):
    """Build an artifact; what is said goes to the queue."""
    artifact_cache.say = said.put

    def build(folder):
        (folder / "half").write_text("x")
        begun.set()
        time.sleep(seconds)
        (folder / "half").rename(folder / "whole")

    artifact_cache.get(root, name, RECIPE, build)


def test_a_killed_builder_leaves_no_lock_and_no_half_artifact_and_who_waits_for_it_builds(tmp_path):
    begun, said, again = FORK.Event(), FORK.Queue(), FORK.Event()
    first = FORK.Process(target=build_slowly, args=(tmp_path, "base", begun, said, 60))
    first.start()
    assert begun.wait(20)
    second = FORK.Process(target=build_slowly, args=(tmp_path, "base", again, said, 0))
    second.start()
    assert said.get(timeout=20).startswith(f"waiting for process {first.pid} on ")
    assert not again.is_set()
    os.kill(first.pid, signal.SIGKILL)
    first.join(20)
    second.join(20)
    assert second.exitcode == 0
    folder = artifact_cache.find(tmp_path, "base", RECIPE)
    assert sorted(path.name for path in folder.iterdir()) == ["recipe.json", "whole"]
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == [folder.name]


def test_what_a_killed_builder_leaves_is_removed_by_the_next_at_once(tmp_path):
    begun, said = FORK.Event(), FORK.Queue()
    first = FORK.Process(target=build_slowly, args=(tmp_path, "base", begun, said, 60))
    first.start()
    assert begun.wait(20)
    os.kill(first.pid, signal.SIGKILL)
    first.join(20)
    assert artifact_cache.find(tmp_path, "base", RECIPE) is None
    assert len(list(tmp_path.glob(".base-*.tmp/half"))) == 1
    folder = artifact_cache.get(tmp_path, "base", RECIPE, lambda temporary: (temporary / "whole").touch())
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == [folder.name]


def test_packing_that_was_killed_begins_anew(tmp_path, tokenizer):
    (tmp_path / "tokens").mkdir()
    left = tmp_path / "tokens" / ".made.abcdefgh.tmp"
    left.mkdir()
    (left / "tokens.bin").write_text("half")
    write_packed(tmp_path / "tokens" / "made", tokenizer)
    assert not left.exists()
    assert len(PackedTokens(tmp_path / "tokens" / "made").ends) == 200
