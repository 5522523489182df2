"""What we ship is what we test: every YAML composes, has comments, and is in the wheel."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from lightning_langcore.cli import experiments

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
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


def composed(*overrides: str):
    with initialize_config_module("lightning_langcore.conf", version_base="1.3"):
        return compose("train", overrides=["paths.output=out", *overrides])


@pytest.mark.parametrize(("group", "choice"), [c for c in CHOICES if c not in NOT_A_CHOICE])
def test_every_choice_composes_and_resolves(group, choice):
    sign = "+" if group == "experiment" else ""
    value = f"[default,{choice}]" if group == "callbacks" and choice != "default" else choice
    if group == "callbacks" and choice in {"checkpoint", "guarded", "multilingual_perplexity"}:
        value = f"[{choice}]"
    cfg = composed(f"{sign}{group}={value}", *NEEDED.get((group, choice), []))
    assert OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


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


def test_the_wheel_holds_every_yaml_and_no_door(tmp_path):
    copy = tmp_path / "source"  # a build leaves folders behind
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("lightning_langcore", "conf", "callbacks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    subprocess.run([*command, str(copy)], check=True, capture_output=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    expected = {f"lightning_langcore/conf/{p.relative_to(CONF).as_posix()}" for p in CONF.rglob("*.yaml")}
    assert expected <= names
    assert "lightning_langcore/py.typed" in names
    assert not any(name.startswith(("callbacks/", "tests/", "conf/")) for name in names)


def readme_commands():
    """The words of every ``python train.py`` line in the README, the first value of each swept one."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("FOLDER_OR_HUB_ID", "FOLDER")
    for line in re.findall(r"python train\.py ([^`#\n]+)", text):
        words = [word for word in shlex.split(line) if word != "-m"]
        yield tuple(word if set("[{") & set(word) else word.split(",")[0] for word in words)


@pytest.mark.parametrize("words", sorted(set(readme_commands())), ids=" ".join)
def test_every_command_of_the_readme_composes(words):
    assert composed(*words).name in experiments()
