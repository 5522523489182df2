"""Runs that are stopped, resumed or fail: what is left, and where they end."""

import json
import signal

import lightning.pytorch as pl

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


class EndAt(pl.Callback):
    """As trainer.max_time: ends the training after a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop |= trainer.global_step == self.step


def test_a_run_that_a_callback_ends_is_interrupted_and_the_same_command_goes_on(work):
    name = f"{EndAt.__module__}.{EndAt.__name__}"
    words = ["+experiment=recovery_frozen", f"+callbacks.end={{_target_: {name}, step: 5}}"]
    timed = [*words, "+trainer.max_time='00:01:00:00'"]
    said = run(work, *timed, "hydra.run.dir=cut").stderr
    first = Results.load(work / "cut")
    assert (first.status, first.guard["max_abs_drift"]) == ("interrupted", 0.0)
    assert first.error.startswith("a callback ended the training after step 5 of ")
    assert f"interrupted: {first.error}; the same command with hydra.run.dir={work / 'cut'} goes on" in said
    assert [path.name for path in (work / "cut/checkpoints").iterdir()] == ["step=5.ckpt"]
    said = run(work, *words, "+trainer.max_time='00:02:00:00'", "hydra.run.dir=cut").stderr
    assert "resuming after step 5" in said
    whole = ["callbacks.end.step=0", "hydra.run.dir=uncut"]
    run(work, *words, *whole)
    found, expected = (Results.load(work / folder) for folder in ("cut", "uncut"))
    assert (found.status, expected.status) == ("completed", "completed")
    assert found.perplexity == expected.perplexity
    assert "holds this run already, completed" in run(work, *words, "hydra.run.dir=cut").stderr


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
