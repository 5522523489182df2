"""The composition becomes typed, frozen settings once; what is wrong in it is said at once, before any work."""

import ast
from dataclasses import FrozenInstanceError

import pytest
from omegaconf import OmegaConf
from pydantic import ValidationError

from lightning_langcore import LangcoreError, WeightDiff
from lightning_langcore.cli.run import run
from lightning_langcore.jobs.config import checks, memory
from lightning_langcore.jobs.config.component import BASE, REGION_FILE
from lightning_langcore.jobs.config.groups.base import described
from lightning_langcore.jobs.config.region import check_region
from lightning_langcore.jobs.config.settings import parse, settings_reference
from tests.support.configs import composed, settings_of
from tests.support.paths import PACKAGE, ROOT


class OwnDiff(WeightDiff):
    """A user's callback."""


OWN = "callbacks.weight_diff._target_=tests.unit.jobs.config.test_settings.OwnDiff"


def test_nothing_can_be_written_into_the_settings():
    settings = settings_of()
    with pytest.raises(FrozenInstanceError):
        settings.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        settings.region.file = "other"


def test_parsing_leaves_the_composition_as_it_is():
    cfg = composed("+experiment=recovery_frozen")
    before = OmegaConf.to_yaml(cfg)
    parse(cfg)
    assert OmegaConf.to_yaml(cfg) == before


@pytest.mark.parametrize("node", ["[1]", "[false]"])
def test_a_language_that_yaml_reads_as_something_else_is_said_to_need_quotes(node):
    with pytest.raises(
        LangcoreError, match=r"data.languages=.* in quotes where YAML reads something else, as \['1', 'no'"
    ):
        settings_of(f"data.languages={node}")


@pytest.mark.parametrize("name", ["loss", "nats_per_token", "ppl/train", "ppl/test/"])
def test_an_objective_is_a_metric_of_a_split(name):
    with pytest.raises(LangcoreError, match=r"job.objective=.* must be METRIC/SPLIT or METRIC/SPLIT/LANGUAGE with"):
        settings_of(f"job.objective={name}")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["+data.colour=red"], "data.colour is no setting of data, which has languages, mix,"),
        (["+region.recipe.epochs=3"], "region.recipe.epochs is no setting of region.recipe, which has batch_size,"),
        (["+colour=red"], "colour is no setting: remove it"),
        (["~noise"], "noise is missing: leave ~noise away"),
        (["~name"], "name has no value: it must be text that is not blank"),
        (["data=files"], "data.root has no value: set it with data.root=VALUE"),
        (["~data.num_tokens"], "data.num_tokens has no value: it must be a whole number of at least 1"),
        (["data.template=alpaca"], "data.template=alpaca is none of plain, tokenizer"),
        (["region.granularity=cell"], "region.granularity=cell is none of element, row, column"),
        (["region.recipe.lr=0"], "region.recipe.lr=0 must be a number above 0"),
        (["model.base.warmup=2"], "model.base.warmup=2 must be a number in [0, 1]"),
        (["data.block_size=true"], "data.block_size=True must be a whole number of at least 1"),
        (["data.max_epochs=nan"], "data.max_epochs=nan must be a number above 0"),
        (["seed=-1"], "seed=-1 must be a whole number from 0 to 4294967295"),
        (["data.languages=zh"], "data.languages=zh must be null, or a list of languages, as [zh, ar]"),
        (["data.repetition=3"], "data.repetition=3 must be null, or a group with max_period and max_repeats"),
        (["data.repetition.max_repeats=1"], "data.repetition.max_repeats=1 must be a whole number of at least 2"),
        (["data.source=null"], "data.source=None must be a class in _target_ with its arguments"),
        (["+data.sources.wiki=3"], "data.sources.wiki has no _target_"),
        (["job.milestones=[1.5]"], "job.milestones=[1.5] must be a list of whole numbers, 0 or more"),
        (
            ["model.config.hidden_size=${nothing}"],
            "model.config.hidden_size: Interpolation key 'nothing' not found: set",
        ),
    ],
)
def test_an_invalid_setting_is_one_sentence_with_its_value_and_the_way_out(overrides, told):
    with pytest.raises(LangcoreError) as caught:
        settings_of(*overrides)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_all_invalid_settings_are_said_at_once():
    wrong = ["data.batch_size=0", "data.block_size=-3", "region.fraction=7", "optimizer.weight_decay=-1", "imports=3"]
    with pytest.raises(LangcoreError) as caught:
        settings_of(*wrong)
    assert [line.partition("=")[0] for line in str(caught.value).splitlines()] == [
        "imports", "data.block_size", "data.batch_size", "region.fraction", "optimizer.weight_decay"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["+callbacks.checkpoint.evry=3"], "callbacks.checkpoint.evry: .*StepCheckpoint has no argument evry; it has"),
        (["optimizer.schedule=zigzag"], "optimizer.schedule=zigzag is none of linear, cosine"),
        (["optimizer.schedule=warmup_stable_decay"], "warmup_stable_decay needs num_decay_steps: set"),
        (
            ["+optimizer.schedule_kwargs.min_lr=1"],
            "schedule_kwargs.min_lr is no argument of the schedule cosine",
        ),
        (
            ["+trainer.max_step=3"],
            "trainer.max_step: lightning.pytorch.Trainer has no argument max_step; did you mean max_steps or",
        ),
        (["+task.chunks=3"], "task.chunks: .*ContinuedPretraining has no argument chunks; did you mean chunked_loss"),
        (["callbacks.checkpoint._target_=nowhere.Checkpoint"], "needs the package nowhere"),
    ],
)
def test_arguments_of_classes_are_checked_before_any_work(overrides, told):
    with pytest.raises(LangcoreError, match=told):
        checks.check_training(settings_of(*overrides))


def test_a_users_subclass_counts_as_its_class():
    damaged = ["callbacks=[default,weight_diff]", "perturbation=reinit", OWN]
    assert settings_of(*damaged).callbacks_of(WeightDiff)[0].resolved is OwnDiff
    assert memory.training_of(settings_of(*damaged)).copies_start


def test_references_to_files_of_the_job_are_filled_in_when_objects_are_made():
    settings = settings_of(
        "callbacks=[default,weight_diff]", "callbacks.weight_diff.reference=${paths.base}",
        "callbacks.weight_diff.region=${region.file}",
    )  # fmt: skip
    assert checks.needs_region(settings)
    (diff,) = settings.callbacks_of(WeightDiff)
    assert (diff.arguments["reference"], diff.arguments["region"]) == (BASE, REGION_FILE)
    own = diff.with_files({BASE: "base", REGION_FILE: "core.safetensors"})
    assert (own.arguments["reference"], own.arguments["region"]) == ("base", "core.safetensors")
    assert diff.arguments["reference"] == BASE


def test_a_region_from_a_file_needs_the_file():
    with pytest.raises(LangcoreError, match=r"region\.kind=file has no file: set it with region\.file=FILE"):
        check_region(settings_of("region=file"), None)


def test_a_given_region_file_stays_what_the_user_named():
    assert settings_of("region=file", "region.file=core.safetensors").region.file == "core.safetensors"
    assert settings_of().region.file is None


def test_only_the_settings_the_command_line_and_train_know_the_composition():
    for path in [*PACKAGE.rglob("*.py"), ROOT / "train.py"]:
        folder = path.relative_to(ROOT).parts[1:3]
        names = {
            name.partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        }
        if "omegaconf" in names or "hydra" in names:
            assert folder[:1] == ("cli",) or folder == ("jobs", "config") or path.name == "train.py", path


def test_every_setting_is_described():
    found = [row for name, cls in settings_reference() for row in described(name, cls)]
    assert len(found) > 100
    for name, expected, description in found:
        assert expected, name
        assert description, name


def test_a_mistake_is_a_line_and_a_bug_keeps_its_traceback(monkeypatch):
    def bug(_):
        raise ValueError("shapes do not fit")

    monkeypatch.setattr("lightning_langcore.jobs.fit.run", bug)
    with pytest.raises(ValueError, match="shapes do not fit") as caught:
        run(composed())
    assert not isinstance(caught.value, LangcoreError)
    with pytest.raises(LangcoreError, match="is none of"):
        run(composed("job.name=cook"))


@pytest.mark.parametrize(
    "override",
    ["job.scores=[taylor,taylor]", "job.union_thresholds=[0.1,0.1]"],
)
def test_lists_name_each_entry_once(override):
    with pytest.raises(LangcoreError, match="each once"):
        settings_of("job=locate", override)
    assert settings_of("job=locate", "job.scores=[]").job.scores == []
