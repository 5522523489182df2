"""A hub that accepts and never answers, and HF_HUB_OFFLINE=1: an end within seconds, one sentence, or the cache."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from lightning_langcore.data.sources.hub import dataset_version, open_dataset
from lightning_langcore.models import loading
from lightning_langcore.utils import hub_probe

ROOT = Path(__file__).parents[1]
COMMIT = "a" * 40

# each question in turn, in a process whose hub hangs, and what came of it
QUESTIONS = """
import json
from lightning_langcore import models
from lightning_langcore.data.sources.hub import dataset_version, open_dataset
found = {}
for name, ask in {
    "model": lambda: models.load_model("some/model"),
    "config": lambda: models.load_config("some/model"),
    "tokenizer": lambda: models.load_tokenizer("some/model"),
    "folder": lambda: models.local_folder("some/model"),
    "cached folder": lambda: str(models.local_folder("kept/model")),
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


def keep(cache, repo, file):
    """A file of a repository in a hub's cache, laid out as there."""
    path = cache / repo / "snapshots" / COMMIT / file
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    (cache / repo / "refs").mkdir()
    (cache / repo / "refs" / "main").write_text(COMMIT)
    return path


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


@pytest.mark.parametrize(
    "load", [loading.load_model, loading.load_config, loading.load_tokenizer, loading.local_folder]
)
def test_offline_a_model_is_refused_at_once_with_the_reason(load, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: pytest.fail("it asks the hub"))
    with pytest.raises(ValueError, match=r"^model\.path=some/model: .*HF_HUB_OFFLINE=1 forbids asking the hub") as info:
        load("some/model")
    assert "\n" not in str(info.value)


def test_offline_a_cached_model_and_dataset_are_found_and_nothing_is_asked(tmp_path, monkeypatch, tokenizer):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: pytest.fail("it asks the hub"))
    readme = keep(tmp_path, "datasets--kept--text", "README.md")
    folder = keep(tmp_path, "models--kept--model", "config.json").parent
    assert dataset_version("kept/text", None) == readme.parent.name
    assert loading.local_folder("kept/model") == folder
    with pytest.raises(ValueError, match=r"HF_HUB_OFFLINE=1 forbids it; give the folder of a downloaded copy"):
        open_dataset("some/text", None, "train", True)


class Session:
    """Answers every question with one status, or an error."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def head(self, url, timeout):
        self.asked.append((url, timeout))
        if isinstance(self.answer, Exception):
            raise self.answer


@pytest.mark.parametrize("answer", [401, TimeoutError("slow"), ConnectionRefusedError("no")])
def test_any_answer_is_an_answer_and_a_folder_needs_none(tmp_path, monkeypatch, answer):
    session = Session(answer)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 7)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
    monkeypatch.setattr(hub_probe, "_silent", {})
    said = hub_probe.silence("datasets", "some/text")
    assert session.asked == [(f"{constants.ENDPOINT}/api/datasets/some/text", 7)]
    if answer == 401:
        assert said is None
    else:
        assert f"does not answer within 7 s ({type(answer).__name__}" in said
    assert hub_probe.silence("models", tmp_path) is None
    assert len(session.asked) == 1


def test_a_hub_that_was_silent_is_asked_again_after_a_minute_only(monkeypatch):
    session, now = Session(TimeoutError("slow")), [1000.0]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
    monkeypatch.setattr(hub_probe, "_silent", {})
    monkeypatch.setattr(hub_probe.time, "monotonic", lambda: now[0])
    first = hub_probe.silence("models", "some/model")
    now[0] += 59
    assert hub_probe.silence("datasets", "some/text") == first
    monkeypatch.setattr(constants, "ENDPOINT", "http://elsewhere")
    assert "http://elsewhere" in hub_probe.silence("datasets", "some/text")
    assert len(session.asked) == 2
    now[0] += 61
    session.answer = 200
    assert hub_probe.silence("datasets", "some/text") is None
    assert len(session.asked) == 3
