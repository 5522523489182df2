"""HF_HUB_OFFLINE=1 and a hub that may not answer: one sentence, or the cache."""

import huggingface_hub
import pytest
from huggingface_hub import constants

from lightning_langcore.data.sources.hub import dataset_version, open_dataset
from lightning_langcore.models import loading
from lightning_langcore.utils import hub_probe
from tests.support.hub_cache import keep


@pytest.mark.parametrize(
    "load", [loading.load_model, loading.load_config, loading.load_tokenizer, loading.local_folder]
)
def test_offline_a_model_is_refused_at_once_with_the_reason(load, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: pytest.fail("it asks the hub"))
    with pytest.raises(
        ValueError, match=r"^model\.path=some/model: .*HF_HUB_OFFLINE=1 forbids requests to the hub"
    ) as info:
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
    monkeypatch.setattr(hub_probe, "_unreachable", {})
    said = hub_probe.why_unreachable("datasets", "some/text")
    assert session.asked == [(f"{constants.ENDPOINT}/api/datasets/some/text", 7)]
    if answer == 401:
        assert said is None
    else:
        assert f"does not answer within 7 s ({type(answer).__name__}" in said
    assert hub_probe.why_unreachable("models", tmp_path) is None
    assert len(session.asked) == 1


def test_a_hub_that_was_silent_is_asked_again_after_a_minute_only(monkeypatch):
    session, now = Session(TimeoutError("slow")), [1000.0]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
    monkeypatch.setattr(hub_probe, "_unreachable", {})
    monkeypatch.setattr(hub_probe.time, "monotonic", lambda: now[0])
    first = hub_probe.why_unreachable("models", "some/model")
    now[0] += 59
    assert hub_probe.why_unreachable("datasets", "some/text") == first
    monkeypatch.setattr(constants, "ENDPOINT", "http://elsewhere")
    assert "http://elsewhere" in hub_probe.why_unreachable("datasets", "some/text")
    assert len(session.asked) == 2
    now[0] += 61
    session.answer = 200
    assert hub_probe.why_unreachable("datasets", "some/text") is None
    assert len(session.asked) == 3
