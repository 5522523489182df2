"""Text and conversations are checked before any work."""

import json

import pytest

from lightning_langcore.jobs.config.data import check_text, make_source
from lightning_langcore.models.from_scratch import train_tokenizer
from tests.support.configs import settings_of

# renders an earlier answer otherwise than a last one
THINKING = (
    "{% for m in messages %}{{ m.role }}: {% if loop.last and m.role == 'assistant' %}<think></think>{% endif %}"
    "{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def check(tmp_path, template, *overrides):
    tokenizer = train_tokenizer(["a b c"], 260)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path / "base")
    (tmp_path / "talks").mkdir()
    roles = ("user", "assistant")
    two, four = ([{"role": roles[i % 2], "content": f"{i}."} for i in range(count)] for count in (2, 4))
    rows = [two, two, four]
    text = "".join(json.dumps({"messages": messages}) + "\n" for messages in rows)
    (tmp_path / "talks" / "en.jsonl").write_text(text)
    settings = settings_of(
        "+experiment=sft", "data=sft_files", f"data.root={tmp_path / 'talks'}", "data.template=tokenizer",
        f"model.path={tmp_path / 'base'}", *overrides,
    )  # fmt: skip
    check_text(settings, make_source(settings))


def test_a_template_that_rejects_a_conversation_does_so_before_any_work(tmp_path):
    with pytest.raises(ValueError, match=r"otherwise than the last, set data\.answers=last or rendered") as caught:
        check(tmp_path, THINKING, "model=hub")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("choice", ["last", "rendered"])
def test_a_choice_of_answers_allows_it(tmp_path, choice):
    check(tmp_path, THINKING, "model=hub", f"data.answers={choice}")


def test_a_tokenizer_without_a_chat_template_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match=r"data\.template=tokenizer: the tokenizer of this model has no chat template"):
        check(tmp_path, None, "model=hub")


def test_the_tokenizer_of_the_small_model_never_has_one(tmp_path):
    with pytest.raises(ValueError, match=r"trained for model=tiny has no chat template: choose data\.template=plain"):
        check(tmp_path, None, "model.path=null")
