"""A hub that accepts and never answers: an end within seconds, one sentence, or the cache."""

import json
import os
import socket
import subprocess
import sys

from tests.support.hub_cache import COMMIT, keep
from tests.support.paths import ROOT

# each question in turn, in a process whose hub hangs, and what came of it
QUESTIONS = """
import json
from lightning_langcore.models import loading
from lightning_langcore.data.sources.hub import dataset_version, open_dataset
found = {}
for name, ask in {
    "model": lambda: loading.load_model("some/model"),
    "config": lambda: loading.load_config("some/model"),
    "tokenizer": lambda: loading.load_tokenizer("some/model"),
    "folder": lambda: loading.local_folder("some/model"),
    "cached folder": lambda: str(loading.local_folder("kept/model")),
    "streamed": lambda: open_dataset("some/text", None, "train", True),
    "downloaded": lambda: open_dataset("some/text", None, "train", False),
    "version": lambda: dataset_version("some/text", None),
    "cached version": lambda: dataset_version("kept/text", None),
}.items():
    try:
        found[name] = ask()
    except ValueError as error:
        found[name] = f"ValueError: {error}"
print(json.dumps(found))
"""


def test_a_hub_that_hangs_costs_seconds_and_what_is_cached_is_used(tmp_path):
    """Without a bound of our own each question but the cached ones takes more than six minutes, some for ever."""
    keep(tmp_path / "hub", "models--kept--model", "config.json")
    keep(tmp_path / "hub", "datasets--kept--text", "README.md")
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel accepts; nobody ever answers
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        changes = {
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path),
            "HF_HUB_ETAG_TIMEOUT": "1",
            "NO_PROXY": "127.0.0.1",
        }
        changes |= {"OMP_NUM_THREADS": "1"}
        kept = {key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "HF_HUB_CACHE")}
        done = subprocess.run(
            [sys.executable, "-c", QUESTIONS], cwd=ROOT, env=kept | changes, capture_output=True, text=True,
            check=False, timeout=150,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    for name, said in found.items():
        if name not in ("version", "cached version", "cached folder"):
            assert said.startswith(f"ValueError: {'data' if 'ed' in name else 'model'}.path=some/")
            assert f"{address} does not answer within 1 s (" in said
            assert "\n" not in said
    assert "set HF_HUB_OFFLINE=1 to use what was downloaded before" in found["streamed"]
    assert found["version"] is None
    assert found["cached version"] == COMMIT
    assert found["cached folder"] == str(tmp_path / "hub" / "models--kept--model" / "snapshots" / COMMIT)
