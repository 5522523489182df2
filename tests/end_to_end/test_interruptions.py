"""Runs that are stopped, resumed or fail: what is left, and where they end."""

import json
import signal

from lightning_langcore.cli import run as command
from lightning_langcore.results.record import Results
from tests.support.commands import run
from tests.support.processes import ended, held


def test_ctrl_c_keeps_what_was_reached(work):
    with held(work, "+experiment=recovery_unfrozen", "hydra.run.dir=stopped", after=6) as process:
        rows = json.loads((work / "stopped/results.json").read_text())["perplexity"]
        assert any(row["stage"] == "training" for row in rows)
        process.send_signal(signal.SIGINT)
    err = ended(process)
    assert process.returncode == 130, err
    assert "interrupted; what was reached is in" in err
    results = Results.load(work / "stopped")
    assert results.status == "interrupted"
    assert {row["stage"] for row in results.perplexity} == {"base", "perturbed", "training"}


def test_a_failed_job_does_not_stop_the_sweep_and_shows_in_the_report(work):
    words = ["-m", "+experiment=recovery_frozen", "region.fraction=7,0.05", "hydra.sweep.dir=mixed"]
    run(work, *words, expect=1)
    statuses = [Results.load(p).status for p in sorted((work / "mixed").iterdir()) if p.is_dir()]
    assert statuses == ["failed", "completed"]
    assert "region.fraction=7" in (work / "mixed/report.html").read_text(encoding="utf-8")


def test_a_run_stopped_before_training_leaves_a_record(work, monkeypatch):
    def stopped(cfg):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", stopped)
    done = run(work, "+experiment=recovery_frozen", "hydra.run.dir=early", expect=130)
    assert "interrupted" in done.stderr
    results = Results.load(work / "early")
    assert (results.status, results.perplexity) == ("interrupted", [])
