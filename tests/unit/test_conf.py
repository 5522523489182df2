"""What we ship is what we test: every YAML composes, has comments, and is in the wheel."""

import re
import tomllib

import pytest
import yaml
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from lightning_langcore.cli.main import experiments
from lightning_langcore.jobs.config import checks
from tests.support.commands import run
from tests.support.configs import composed, settings_of
from tests.support.paths import CONF, ROOT

GROUPS = sorted(p for p in CONF.iterdir() if p.is_dir() and p.name != "__pycache__")
CHOICES = sorted((g.name, f.stem) for g in GROUPS for f in g.glob("*.yaml"))
NEEDED = {
    ("data", "files"): ["data.root=somewhere"],
    ("data", "hub"): ["data.path=somewhere", "data.configs={zh: x}"],
    ("data", "sft_files"): ["data.root=somewhere"],
    ("model", "hub"): ["model.path=somewhere"],
    ("region", "file"): ["region.file=r"],
}
NOT_A_CHOICE = {("data", "base"), ("hydra", "default")}


@pytest.mark.slow
@pytest.mark.parametrize(("group", "choice"), [c for c in CHOICES if c not in NOT_A_CHOICE])
def test_every_choice_composes_and_is_valid(group, choice):
    sign = "+" if group == "experiment" else ""
    value = f"[default,{choice}]" if group == "callbacks" and choice != "default" else choice
    if group == "callbacks" and choice in {"checkpoint", "guarded", "multilingual_perplexity"}:
        value = f"[{choice}]"
    settings_of(f"{sign}{group}={value}", *NEEDED.get((group, choice), []))


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF)))
def test_every_file_says_what_it_is_and_every_callback_file_holds_one_key(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    header = [line for line in lines[:2] if not line.startswith("# @package")]
    assert header[0].startswith("# ")
    content = yaml.safe_load("\n".join(lines)) or {}
    if path.parent.name == "callbacks" and "defaults" not in content:
        assert list(content) == [path.stem]
    if path.parent.name == "experiment":
        assert f"# python train.py +experiment={path.stem}" in lines
        assert content["name"] == path.stem


@pytest.mark.parametrize(
    "path",
    sorted(p for p in CONF.rglob("*.yaml") if p.parent.name not in {"experiment", "hydra", "perturbation"}),
    ids=lambda p: str(p.relative_to(CONF)),
)
def test_every_number_and_switch_has_a_comment(path):
    """A scalar that a user may set stands under a comment, or under another line of the same list of settings."""
    previous = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        found = re.match(r"^(  )?([a-z_]+): (.+)$", line)
        if found and not found[2].startswith("_") and re.match(r"^[-\d.]+(e[-+]?\d+)?$|^(true|false|null)$", found[3]):
            assert previous.strip().startswith("#") or re.match(r"^\s+[a-z_]+: |^[a-z_]+:$", previous), (
                f"{path.name}: {line}"
            )
        previous = line


def test_frozen_is_unfrozen_plus_the_guard_and_nothing_else():
    frozen, free = (OmegaConf.to_container(composed(f"+experiment=recovery_{arm}")) for arm in ("frozen", "unfrozen"))
    guard = frozen["callbacks"].pop("core_guard")
    assert guard == {"_target_": "lightning_langcore.CoreGuard", "region": "${region.file}"}
    assert frozen.pop("name") == "recovery_frozen"
    assert free.pop("name") == "recovery_unfrozen"
    assert frozen == free


def test_damaged_and_guarded_weights_are_the_same():
    cfg = composed("+experiment=recovery_frozen", "region=random", "region.file=x.safetensors")
    assert cfg.callbacks.core_guard.region == cfg.region.file == "x.safetensors"


def test_an_experiment_that_does_not_exist_names_those_that_do():
    with pytest.raises(MissingConfigException, match=r"experiment/nothing[\s\S]*recovery_frozen"):
        composed("+experiment=nothing")


REFUSED = {
    "trainer.precision=16-true": "trainer.precision=16-true trains nonsense",
    "trainer.precision=16": "trainer.precision=16 needs a GPU, and with trainer.accelerator=cpu",
    "trainer=ddp trainer.precision=16-mixed": "16-mixed needs a GPU, and with trainer.accelerator=auto",
    "trainer.accelerator=auto trainer.precision=16-mixed": "16-mixed needs a GPU, and with trainer.accelerator=auto",
    "trainer.precision=transformer-engine-float16": "trainer.precision=transformer-engine-float16 replaces the layers",
    "trainer.precision=half": "trainer.precision=half is none of 64-true, 32-true",
    "trainer=gpu": "trainer.accelerator=gpu: this machine has none",
    "trainer.accelerator=tpu": "trainer.accelerator=tpu: this machine has none",
    "trainer.accelerator=ipu": "trainer.accelerator=ipu is none of auto, gpu, cpu",
    "trainer.devices=0": "trainer.devices=0 must be a whole number of at least 1",
    "trainer.devices=[0,1]": "trainer.devices=[0, 1] must be a whole number of at least 1, or on GPUs a list",
    "trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches=0 must be a whole number of at least 1",
    "optimizer.build._target_=torch.optim.LBFGS": "torch.optim.LBFGS evaluates the model several times per step",
    "optimizer.build._target_=torch.optim.SparseAdam": "torch.optim.SparseAdam accepts sparse gradients only",
    "optimizer.build._target_=torch.optim.Adagrad": "unexpected keyword argument 'betas'",
    "optimizer.build._target_=torch.optim.Nope": "optimizer.build._target_=torch.optim.Nope can't be made",
    "optimizer.build._target_=torch.optim.Muon": "optimizer.build._target_=torch.optim.Muon can't be made",
    "optimizer.lr=-1": "optimizer.lr=-1 must be a number of at least 0",
    "model.attention=flash_attention_2": "model.attention=flash_attention_2 needs a GPU",
    "model.attention=flex_attention": "model.attention=flex_attention needs a GPU",
}


@pytest.mark.slow
@pytest.mark.parametrize("words", REFUSED)
def test_what_this_machine_or_project_can_not_do_is_one_sentence_before_any_work(tmp_path, monkeypatch, words):
    """A machine without GPUs, whatever the tests run on."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for kind in ("CUDA", "MPS"):
        monkeypatch.setattr(f"lightning.pytorch.accelerators.{kind}Accelerator.is_available", lambda: False)
    said = run(tmp_path, "+experiment=recovery_frozen", *words.split(), plain=True, expect=1).stderr.strip()
    assert said.startswith("error: ")
    assert REFUSED[words] in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("words", ["optimizer=sgd", "optimizer=adamw8bit", "trainer.precision=64-true", "trainer=ddp"])
def test_what_can_be_done_is_not_refused(words):
    checks.check_training(settings_of(words))


def test_a_gpu_without_the_package_of_the_attention_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("lightning.pytorch.accelerators.CUDAAccelerator.is_available", lambda: True)
    monkeypatch.setattr(checks, "is_flash_attn_2_available", lambda: False)
    monkeypatch.setattr(checks, "is_kernels_available", lambda: False)
    asked = settings_of("trainer=gpu", "model.attention=flash_attention_2")
    checks.check_training(asked)
    with pytest.raises(ValueError, match=r"model\.attention=flash_attention_2 needs the package flash-attn"):
        checks.check_machine(asked)
    with pytest.raises(ValueError, match=r"trainer\.devices=2: this machine has 1 GPUs"):
        checks.check_machine(settings_of("trainer=gpu", "trainer.devices=2"))


def test_langcore_lists_every_experiment_with_its_header():
    found = experiments()
    assert set(found) == {p.stem for p in (CONF / "experiment").glob("*.yaml")}
    assert all(header.endswith(".") and not header.startswith("@") for header in found.values())


def test_every_package_is_listed_for_the_wheel():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    code = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "lightning_langcore").rglob("__init__.py")}
    conf = {".".join(("lightning_langcore", *p.parent.relative_to(ROOT).parts)) for p in CONF.rglob("*.yaml")}
    assert listed == code | conf
    assert (CONF / "__init__.py").exists()
