"""Files whole or not at all: on a full disk, in a killed process, beside another."""

import errno
import multiprocessing
import os
import re
import resource
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import datasets
import pyarrow
import pytest
import torch
from matplotlib.figure import Figure
from pyarrow import parquet
from safetensors import SafetensorError
from safetensors.torch import save_file

from lightning_langcore import Region
from lightning_langcore.data.chat_encoding import Encoded
from lightning_langcore.data.packing.conversations import pack_conversations
from lightning_langcore.data.packing.documents import PackedTokens, pack
from lightning_langcore.data.sources.base import Conversation, Document
from lightning_langcore.models import loading, safetensors_writer
from lightning_langcore.plots.style import save as save_picture
from lightning_langcore.results.record import Results
from lightning_langcore.utils import artifact_cache, atomic_files
from lightning_langcore.utils.atomic_files import atomic_path, write_text
from tests.support.commands import run, write_samples


def test_a_file_is_replaced_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "below" / "result.json"

    def write_half():
        with atomic_path(path) as temporary:
            assert (temporary.parent, temporary.suffix) == (path.parent, ".json")
            temporary.write_text("half a")
            raise RuntimeError("interrupted")

    write_text(path, "старый")
    with pytest.raises(RuntimeError, match="interrupted"):
        write_half()
    assert path.read_text(encoding="utf-8") == "старый"
    write_text(path, "новый")
    assert path.read_bytes() == "новый".encode()
    assert [found.name for found in path.parent.iterdir()] == ["result.json"]


def test_a_file_gets_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


FORK = multiprocessing.get_context("fork")
LIMIT = 1000
RECIPE = {"tokens": 100}


# --- a full disk


def limited(work, *arguments):
    """What ``work`` raises in a process whose files can't grow beyond 1000 bytes; ``None`` if nothing."""
    here, there = FORK.Pipe()

    def run():
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))  # Python ignores SIGXFSZ
        try:
            work(*arguments)
            there.send(None)
        except Exception as error:
            there.send((isinstance(error, OSError | SafetensorError), str(error)))

    process = FORK.Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return here.recv()


def half_region():
    return Region({"a": (200, 200)}, {"a": torch.arange(0, 40_000, 2)}, {"kind": "core"})


def write_results(path):
    results = Results(path.parent, experiment="x", seed=0, model={"name": "tiny"})
    for samples in range(40):
        row = {"stage": "training", "samples": samples, "lang": "zh", "split": "test", "seed": 0, "num_bytes": 9}
        results.add(row | {"nats_per_token": 1.0, "bits_per_byte": 1.0, "num_tokens": 3})
    results.write()


def write_tensors(path):
    safetensors_writer.write_safetensors(path, {"a": (50, 50)}, [torch.zeros(50, 50)], {})


WAYS = {
    "text.txt": lambda path: atomic_files.write_text(path, "x" * 5000),
    "tensors.safetensors": write_tensors,
    "region.safetensors": lambda path: half_region().save(path),
    "results.json": write_results,
    "picture.png": lambda path: save_picture(Figure(), path),
    "flagged.jsonl": lambda path: atomic_files.append_line(path, "x" * 5000),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_file_that_does_not_fit_on_the_disk_stays_as_it_was(tmp_path, name):
    (tmp_path / name).write_text("old\n")
    known, message = limited(WAYS[name], tmp_path / name)
    assert known
    assert str(tmp_path / name) in message
    assert "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old\n"
    WAYS[name](tmp_path / name)  # with room it is written
    assert (tmp_path / name).stat().st_size > LIMIT


def write_packed(folder, tokenizer):
    pack([Document(str(i), f"document {i}") for i in range(200)], tokenizer, folder, None)


def write_talks(folder, _):
    talks = [Conversation(str(i), []) for i in range(200)]
    pack_conversations(talks, lambda _: Encoded([1, 2, 3], [False, True, True]), folder, None, 8)


def write_artifact(folder, tokenizer):
    model = SimpleNamespace(save_pretrained=lambda *_, **__: None)  # its tokenizer is what does not fit
    artifact_cache.get(folder, "base", RECIPE, lambda temporary: loading.save(model, tokenizer, temporary))


def write_model(folder, tokenizer):
    with atomic_files.atomic_folder(folder) as temporary:
        save_file({"a": torch.zeros(1000)}, temporary / "model.safetensors")


@pytest.mark.parametrize("way", [write_packed, write_talks, write_artifact, write_model])
def test_a_folder_that_does_not_fit_on_the_disk_is_not_there(tmp_path, tokenizer, way):
    known, message = limited(way, tmp_path / "made", tokenizer)
    assert known, message
    assert [path for path in tmp_path.rglob("*") if path.suffix != ".lock" and path.name != "made"] == []
    assert not (tmp_path / "made").exists() or way is write_artifact  # that is the folder of all artifacts
    way(tmp_path / "made", tokenizer)
    assert any((tmp_path / "made").iterdir())


def test_packed_tokens_are_all_on_the_disk(tmp_path, tokenizer):
    write_packed(tmp_path / "made", tokenizer)
    packed = PackedTokens(tmp_path / "made")
    assert packed.ends[-1] + 1 == len(packed.tokens)


def test_a_disk_that_is_found_full_only_at_the_end_is_full(tmp_path, monkeypatch):
    """As on a network: writing seems to succeed."""

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    atomic_files.write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", full)
    for write in (atomic_files.write_text, atomic_files.append_line):
        with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/a'"):
            write(tmp_path / "a", "new")
    with (
        pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/folder'"),
        atomic_files.atomic_folder(tmp_path / "folder") as temporary,
    ):
        (temporary / "x").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_errors_that_have_nothing_to_do_with_the_disk_are_passed_on(tmp_path):
    for error in (
        ConnectionResetError(errno.ECONNRESET, "reset"),
        FileNotFoundError(2, "gone", "other"),
        KeyError("x"),
    ):
        with pytest.raises(type(error)) as info, atomic_files.atomic_path(tmp_path / "a"):
            raise error
        assert "tmp" not in str(info.value)


# --- folders that can't be written


@pytest.mark.slow
def test_a_disk_that_fills_while_text_is_copied_is_not_the_fault_of_the_text(tmp_path, monkeypatch):
    """Nor of an unknown job of a sweep: each says its folder."""

    def full(*_, **__):
        raise datasets.exceptions.DatasetGenerationError("An error occurred") from OSError(
            errno.ENOSPC, "No space left"
        )

    write_samples(tmp_path)
    for file in list((tmp_path / "text").glob("*.txt")):  # datasets copies tables, not text
        parquet.write_table(pyarrow.table({"text": file.read_text("utf-8").splitlines()}), file.with_suffix(".parquet"))
        file.unlink()
    monkeypatch.setattr(datasets, "load_dataset", full)
    done = run(tmp_path, "-m", "+experiment=recovery_frozen", "hydra.sweep.dir=all", expect=1)
    assert re.search(r"all/0-\S+: error: a file could not be written or read \(\[Errno 28\] No space left", done.stderr)
    assert "can't be read as .parquet" not in done.stderr
    assert "can't be read as .parquet" not in next(tmp_path.glob("all/*/results.json")).read_text(encoding="utf-8")


def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file_are_named(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder" / "below").mkdir(parents=True)
    for write in (atomic_files.write_text, atomic_files.append_line):
        with pytest.raises(OSError, match=str(tmp_path / "file")):
            write(tmp_path / "file" / "a", "x")
        with pytest.raises(OSError, match=str(tmp_path / "folder")):
            write(tmp_path / "folder", "x")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["below", "file", "folder"]


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="needs /proc, which even root can't write")
def test_a_read_only_folder_is_named():
    with pytest.raises(OSError, match="/proc/self/fdinfo"):
        atomic_files.write_text("/proc/self/fdinfo/a.txt", "x")
    with pytest.raises(OSError, match="/proc/self/fdinfo"), atomic_files.atomic_folder(Path("/proc/self/fdinfo/a")):
        pass


# --- folders that replace others


def test_a_folder_replaces_the_older_one_when_it_is_whole_and_not_before(tmp_path):
    def fill(text, fail=False):
        with atomic_files.atomic_folder(tmp_path / "model") as temporary:
            (temporary / text).write_text(text)
            if fail:
                raise RuntimeError("interrupted")

    fill("old")
    with pytest.raises(RuntimeError, match="interrupted"):
        fill("half", fail=True)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["old"]
    fill("new")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o777 & ~atomic_files._umask()


def test_the_older_folder_comes_back_if_the_new_one_can_not_take_its_place(tmp_path, monkeypatch):
    with atomic_files.atomic_folder(tmp_path / "model") as temporary:
        (temporary / "old").touch()
    rename = Path.rename

    def refuse(path, target):
        if path.suffix == ".tmp":
            raise PermissionError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError), atomic_files.atomic_folder(tmp_path / "model") as temporary:
        (temporary / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "old"]


def test_a_saved_model_can_be_saved_again_in_its_place(tmp_path, llama, tokenizer):
    for _ in range(2):
        with atomic_files.atomic_folder(tmp_path / "model") as temporary:
            loading.save(llama, tokenizer, temporary)
    loaded = loading.load_model(tmp_path / "model")
    assert all(torch.equal(p, dict(llama.named_parameters())[name]) for name, p in loaded.named_parameters())
    shutil.rmtree(tmp_path / "model")
