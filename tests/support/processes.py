"""Commands in processes of their own that are sent signals where they hold still."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

from tests.support import forked
from tests.support.commands import environment, words_for
from tests.support.paths import ROOT

HANGS = 600  # seconds: no test depends on it, but one that would never end does


@contextmanager
def held(work, *words, after):
    """The command, in a session of its own, once it has trained ``after`` batches; it goes on when the block ends."""
    name = next(word.removeprefix("hydra.run.dir=") for word in words if word.startswith("hydra.run.dir="))
    place = work / f"{name}_held_after_{after}"
    place.mkdir()
    process = forked.Popen(
        [sys.executable, str(ROOT / "tests/support/held/train.py"), *words_for(work, *words)],
        cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**environment(), "HOLD_AFTER": str(after), "HOLD_IN": str(place)},
    )  # fmt: skip
    process.place = place
    try:
        deadline = time.monotonic() + HANGS
        while not (place / "held").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process
    except BaseException:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        (place / "go").touch()


def rank_of(process, rank):
    """The process id of a rank of a held command."""
    return int((process.place / f"rank{rank}").read_text())


def ended(process):
    """What it wrote to stderr, once it and all of its session have ended."""
    try:
        _, err = process.communicate(timeout=HANGS)  # every rank holds the pipe: this waits for all of them
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return err
