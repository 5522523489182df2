"""A model that can't take the text, the tokenizer or the score is refused from its config, in every job and plan."""

import copy
import json

import pytest

from lightning_langcore import LangcoreError
from lightning_langcore.jobs.config.model import check_model
from lightning_langcore.models import loading
from tests.support.architectures import small_model
from tests.support.commands import run
from tests.support.configs import settings_of
from tests.support.models import tiny_llama

JOBS = ["locate_core", "perturb_core", "perturb_dimension", "recovery_unfrozen", "pretrain_base"]


def checked(folder, *words, **more):
    """Check a run with blocks as long as the small models allow."""
    settings = settings_of("model=hub", f"model.path={folder}", "data.block_size=32", *words)
    check_model(settings, uses_region=True, **more)


@pytest.fixture
def saved(tmp_path, tokenizer):
    """Save a model with its tokenizer and return the folder."""

    def save(name, added=()):
        own = copy.deepcopy(tokenizer)
        own.add_tokens(list(added))
        loading.save(tiny_llama() if name == "llama" else small_model(name), own, tmp_path / name)
        return tmp_path / name

    return save


def test_a_text_longer_than_the_positions_is_refused_unless_they_are_computed_and_it_is_wanted(saved):
    for name, count, words in (
        ("llama", 64, "scale its rotary positions"),
        ("gpt2", 32, "set data.block_size=32 or less$"),
    ):
        folder = saved(name)
        checked(folder, f"data.block_size={count}")
        message = rf"^data\.block_size={count + 1} is more than the {count} positions .* {words}"
        with pytest.raises(LangcoreError, match=message):
            checked(folder, f"data.block_size={count + 1}")
    checked(saved("llama"), "data.block_size=65", "model.extrapolate=true")
    with pytest.raises(LangcoreError, match=r"data\.block_size=33 is more than the 32 positions"):
        checked(saved("gpt2"), "data.block_size=33", "model.extrapolate=true")
    config = saved("llama") / "config.json"
    scaled = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    config.write_text(json.dumps({**json.loads(config.read_text()), "rope_parameters": scaled}))
    checked(config.parent, "data.block_size=128")


def test_the_small_default_names_its_own_setting():
    check_model(settings_of("data.block_size=512"), uses_region=True)
    with pytest.raises(LangcoreError, match=r"or model\.config\.max_position_embeddings=513$"):
        check_model(settings_of("data.block_size=513"), uses_region=True)


def test_more_tokens_than_embeddings_are_refused(saved):
    checked(saved("llama"))
    with pytest.raises(
        LangcoreError, match=r"the token 'кош' with number 300, .* embeddings for 300 tokens only: call"
    ):
        checked(saved("llama", added=["кош"]))


def test_a_plan_needs_no_tokenizer_and_a_run_does(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    checked(tmp_path, planned=True)
    with pytest.raises(LangcoreError, match="no tokenizer there"):
        checked(tmp_path)


def test_wanda_is_refused_for_experts_and_taken_for_named_linear_layers(saved):
    folder = saved("mixtral")
    core = ["+experiment=locate_core", "region.recipe.languages=[es,ru,zh]"]
    checked(folder, *core)
    for words in (["region.score=wanda"], ["job.scores=[wanda]"]):
        with pytest.raises(
            LangcoreError, match=r"wanda needs .*block_sparse_moe.* of MixtralForCausalLM is the weight"
        ):
            checked(folder, *core, *words)
        checked(folder, *core, *words, "region.parameters=[*.self_attn.*.weight]")
    checked(saved("llama"), *core, "region.score=wanda")


def test_rows_of_a_stack_of_experts_are_refused(saved):
    folder = saved("granitemoe")
    checked(folder, "region=random")
    with pytest.raises(
        LangcoreError, match=r"^region\.granularity=row needs matrices, .*input_linear\.weight has shape"
    ):
        checked(folder, "region=random", "region.granularity=row")


def test_an_attention_that_the_architecture_lacks_is_refused_by_its_setting(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bloom", "hidden_size": 16, "n_head": 2}))
    with pytest.raises(
        LangcoreError, match=r"^model\.attention=sdpa is not possible here .*: set model\.attention=eager"
    ):
        checked(tmp_path, planned=True)
    checked(tmp_path, "model.attention=eager", planned=True)


def test_a_model_that_is_no_causal_language_model_is_refused_by_its_type(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mistral3"}))
    with pytest.raises(LangcoreError, match=r"^model\.path=.* of model_type=mistral3 \(.*AutoModelForCausalLM loads$"):
        checked(tmp_path, planned=True)


@pytest.mark.parametrize("experiment", JOBS)
def test_every_job_refuses_before_any_work(tmp_path, saved, experiment):
    (tmp_path / "text").mkdir()
    for language in ("es", "ru", "zh"):
        (tmp_path / "text" / f"{language}.txt").write_text("a b c\n" * 60)
    folder = saved("gpt2", added=["кош"])
    words = [
        f"+experiment={experiment}",
        "model=hub",
        f"model.path={folder}",
        "data=files",
        f"data.root={tmp_path}/text",
    ]
    words += ["region.recipe.languages=[es,ru,zh]", "data.block_size=33", f"paths.artifacts={tmp_path}/artifacts"]
    done = run(tmp_path, *words, f"hydra.run.dir={tmp_path}/out", plain=True, expect=1)
    assert "data.block_size=33 is more than the 32 positions" in done.stderr
    assert "embeddings for 300 tokens only" in done.stderr
    assert not (tmp_path / "artifacts").exists()


def test_a_plan_refuses_what_the_run_would(tmp_path, saved):
    folder = saved("gpt2", added=["кош"])
    done = run(tmp_path, "plan", "model=hub", f"model.path={folder}", "data.block_size=33", plain=True, expect=1)
    assert "data.block_size=33 is more than the 32 positions" in done.stderr
    assert "embeddings for 300 tokens only" in done.stderr
