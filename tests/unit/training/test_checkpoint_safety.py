"""A folder of shards is looked at before torch, which unpickles whatever stands in it, is let at it."""

import os
import pickle
import shutil

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import Metadata

from lightning_langcore.training import checkpoint_safety

STATE = {
    "state_dict": {"w": torch.ones(3, 4), "h": torch.ones(2, dtype=torch.bfloat16)},
    "optimizer": {"state": {"w": {"step": torch.tensor(1.0)}}, "group": {"lr": 0.1, "betas": (0.9, 0.99), "x": None}},
}


class Runs:
    """As an attacker's pickle: a call of whatever it names."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "step=3.ckpt"
    dcp.save(STATE, checkpoint_id=folder, no_dist=True)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "step=3.ckpt")
    return tmp_path / "step=3.ckpt"


def refused(folder, reason):
    with pytest.raises(ValueError, match=rf"step=3.ckpt is no whole checkpoint \({reason}"):
        checkpoint_safety.check(folder)


def listed(folder):
    return pickle.loads((folder / ".metadata").read_bytes())


def test_a_whole_folder_is_let_through(folder):
    checkpoint_safety.check(folder)


def test_what_is_missing_or_cut_off_is_named(folder):
    (shard,) = folder.glob("*.distcp")
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    refused(folder, "__0_0.distcp is cut off")
    shard.unlink()
    refused(folder, ".*No such file or directory")
    shard.write_bytes(content)
    metadata = (folder / ".metadata").read_bytes()
    (folder / ".metadata").write_bytes(metadata[:-20])
    refused(folder, "")
    (folder / ".metadata").write_bytes(metadata)
    checkpoint_safety.check(folder)


@pytest.mark.parametrize("hostile", [Runs(os.mkdir, "made"), Runs(eval, "1"), Runs(torch.load, "made")])
def test_a_list_that_names_a_function_is_refused_before_it_is_called(folder, tmp_path, monkeypatch, hostile):
    monkeypatch.chdir(tmp_path)
    (folder / ".metadata").write_bytes(pickle.dumps(hostile))
    refused(folder, r"\.metadata names (posix|builtins|torch.serialization)\.")
    assert not (tmp_path / "made").exists()


def test_a_function_behind_a_dot_of_what_is_allowed_is_refused(folder):
    (folder / ".metadata").write_bytes(b"\x80\x04\x8c\x07pathlib\x8c\x0dPath.__init__\x93.")
    refused(folder, r"\.metadata names pathlib\.Path\.__init__")


def test_a_value_that_names_a_function_is_refused_before_it_is_called(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metadata = listed(folder)
    index = next(index for index in metadata.storage_data if index.fqn.endswith("lr"))
    torch.save(Runs(os.mkdir, "made"), folder / "value")
    metadata.storage_data[index].relative_path, metadata.storage_data[index].offset = "value", 0
    metadata.storage_data[index].length = (folder / "value").stat().st_size
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    refused(folder, "Weights only load failed")
    assert not (tmp_path / "made").exists()


def test_a_file_elsewhere_and_what_is_no_list_are_refused(folder):
    metadata = listed(folder)
    next(iter(metadata.storage_data.values())).relative_path = "../value"
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    refused(folder, r"\.metadata names the file \.\./value")
    (folder / ".metadata").write_bytes(pickle.dumps([1, 2]))
    refused(folder, "'list' object has no attribute")
    (folder / ".metadata").write_bytes(pickle.dumps(Metadata({})))
    refused(folder, "'NoneType' object has no attribute")
