"""Everything in this folder is slow: whole commands, real processes, ranks, notebooks and kills."""

import os
import shutil
import sys

import pytest
from filelock import FileLock

from tests.support import forked
from tests.support.commands import run, write_samples
from tests.support.paths import ROOT


@pytest.fixture(scope="session")
def torchrun():
    """Runs a program of ``tests/support/rank_programs`` on so many ranks of one CPU thread each."""

    def start(num_ranks, program, *arguments, gpus=False):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_ranks)]
        done = forked.run(
            [*command, "-m", f"tests.support.rank_programs.{program}", *map(str, arguments)], timeout=600, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **({} if gpus else {"CUDA_VISIBLE_DEVICES": ""})},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        return done

    return start


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Text in four languages, its base model and the changes that locate its core: made once, whoever asks first."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # all workers'
    folder = root / "prepared"
    with FileLock(root / "prepared.lock"):
        if not folder.exists():
            making = root / "preparing"
            making.mkdir()
            write_samples(making)
            run(making, "+experiment=locate_core", "job.single_languages=false")
            making.rename(folder)
    return folder


@pytest.fixture(scope="module")
def fresh_work(tmp_path_factory):
    """A folder with text in four languages and nothing else, as a user begins."""
    folder = tmp_path_factory.mktemp("work")
    write_samples(folder)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory, prepared):
    """A folder with the text in four languages and artifacts of its own, which begin with the base and its changes."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copytree(prepared / "text", folder / "text")
    for made in ("base-*", "changes-*"):
        for source in (prepared / "artifacts").glob(made):
            shutil.copytree(source, folder / "artifacts" / source.name)
    return folder
