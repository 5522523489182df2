"""The command line without a run."""

import subprocess
import sys


def test_a_reader_that_has_seen_enough_ends_the_list_quietly():
    listing = f"{sys.executable} -c 'from lightning_langcore.cli.main import main; main()'"
    words = ["sh", "-c", f"({listing}; echo status $? >&2) | true"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    assert done.stderr == "status 141\n"
