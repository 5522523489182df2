"""Runs and sweeps that are started in the same second have folders of their own."""

import re
from pathlib import Path

import pytest

from lightning_langcore.results.record import Results
from tests.support.commands import run

SHORT = ["+experiment=recovery_unfrozen", "data.num_tokens=2000", "data.eval_languages=[es]", "region=random"]
STOPPED = r"outputs/\d{4}-\d\d-\d\d/(00-00-00-recovery_unfrozen(?:-\d)?)$"


@pytest.fixture
def stopped_clock(monkeypatch):
    """Hydra's time is always midnight."""
    from hydra.core import utils

    class Midnight(utils.datetime):
        @classmethod
        def now(cls, tz=None):
            return utils.datetime(2026, 1, 1, tzinfo=tz)

    monkeypatch.setattr(utils, "datetime", Midnight)


def test_runs_of_the_same_second_have_folders_of_their_own(work, stopped_clock):
    """As three processes: each makes its folder by itself, and the file system decides who was first."""
    folders = [Path(run(work, *SHORT, f"seed={seed}").stderr.splitlines()[-1]) for seed in range(3)]
    names = [re.search(STOPPED, str(folder))[1] for folder in folders]
    assert names == ["00-00-00-recovery_unfrozen" + end for end in ("", "-2", "-3")]
    found = [Results.load(folder) for folder in folders]
    assert [(results.seed, results.status) for results in found] == [(seed, "completed") for seed in range(3)]
    assert not (work / "outputs/2026-01-01/00-00-00-recovery_unfrozen-4").exists()


def test_sweeps_of_the_same_second_have_folders_of_their_own(work, stopped_clock):
    for seed in (0, 1):
        run(work, "-m", *SHORT, f"seed={seed}")
    sweeps = work / "outputs/sweeps"
    assert [path.name for path in sorted(sweeps.iterdir())] == ["2026-01-01_00-00-00", "2026-01-01_00-00-00-2"]
    found = [
        Results.load(folder) for sweep in sorted(sweeps.iterdir()) for folder in sweep.iterdir() if folder.is_dir()
    ]
    assert [(results.seed, results.status) for results in found] == [(0, "completed"), (1, "completed")]
