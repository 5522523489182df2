"""A sweep goes on where it stopped, over jobs that failed, and on other launchers; its jobs know nothing of another."""

import subprocess
import sys
from pathlib import Path

import pytest

from lightning_langcore.results.record import Results
from tests.support.commands import ROOT, environment, words_for, write_samples

SHORT = ["data.num_tokens=3000", "data.batch_size=2", "data.eval_languages=[es,zh]"]


def folders(work, sweep="sweep"):
    return sorted(path for path in (work / sweep).iterdir() if (path / "results.json").exists())


# --- launchers


@pytest.mark.parametrize(
    ("command", "launcher"),
    [
        ([sys.executable, str(ROOT / "train.py")], ["joblib", "hydra.launcher.n_jobs=2"]),
        ([str(Path(sys.executable).parent / "langcore")], ["submitit_local", "hydra.launcher.timeout_min=10"]),
    ],
    ids=["train.py joblib", "langcore submitit"],
)
def test_jobs_run_side_by_side_on_other_launchers(tmp_path, command, launcher):
    """From nothing: both need the base, which one of them makes; the second one fails."""
    pytest.importorskip(f"hydra_plugins.hydra_{launcher[0].split('_')[0]}_launcher")
    write_samples(tmp_path)
    words = ["-m", "+experiment=recovery_unfrozen", *SHORT, "region=random", "optimizer.lr=1e-3,1e30"]
    words += [f"hydra/launcher={launcher[0]}", *launcher[1:], "hydra.sweep.dir=sweep"]
    done = subprocess.run(
        [*command, *words_for(tmp_path, *words)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=400, env=environment(),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    first, second = (Results.load(path) for path in folders(tmp_path))
    assert (first.status, second.status) == ("completed", "failed")
    assert "lower optimizer.lr" in second.error
    assert "lower optimizer.lr" in (tmp_path / "sweep/report.html").read_text(encoding="utf-8")
    assert len(list((tmp_path / "artifacts").glob("base-*"))) == 1
    assert not list((tmp_path / "artifacts").glob(".base-*.*/"))
