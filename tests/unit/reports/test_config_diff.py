"""Differences between configs, beside OmegaConf, which writes and reads the same files."""

import json

import pytest
from omegaconf import OmegaConf

from lightning_langcore.reports.config_diff import config_differences

VALUES = """
a: 1e-05
b: 1.0e-05
c: 1e5
d: 0.0001
e: null
f: [1, 2.50, 'x']
g: ${oc.env:HOME}/${paths.runs}
h: "1e-05"
i: 2024-01-02
j: yes
k: 1_000
l: {}
m: ???
n: .inf
o: -3
p: 'true'
q: bf16
r: 12:30
s: {t: {u: 3E-4}, 5: [{v: w}]}
x: é 中
y: 1.e2
z: "${eval:'1 + 1'}"
"""


def folder_of(path, text):
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "config.yaml").write_text(text, encoding="utf-8")
    return path


def flat(value, prefix=""):
    """What OmegaConf reads, as the texts that the report shows."""
    if isinstance(value, dict) and value:
        return {k: v for key, item in value.items() for k, v in flat(item, f"{prefix}.{key}".strip(".")).items()}
    return {prefix: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}


def test_values_are_those_that_omegaconf_reads(tmp_path):
    folders = [folder_of(tmp_path / "1", VALUES), folder_of(tmp_path / "2", "other: 1\n")]
    expected = flat(OmegaConf.to_container(OmegaConf.load(folders[0] / ".hydra" / "config.yaml"), resolve=False))
    found = config_differences(folders)
    assert {key: texts[0] for key, texts in found.items()} == {**expected, "other": "–"}
    assert found["a"] == ["1e-05", "–"]
    assert found["g"] == ["${oc.env:HOME}/${paths.runs}", "–"]
    assert found["s.t.u"] == ["0.0003", "–"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("1e-05", "0.00001"), ("1e-4", "0.0001"), ("1.0e-05", "1e-5"), ("[1, 2]", "[1,2]"), ("~", "null")],
)
def test_one_value_written_in_two_ways_is_no_difference(tmp_path, one, other):
    folders = [folder_of(tmp_path / name, f"lr: {text}\n") for name, text in (("1", one), ("2", other))]
    assert config_differences(folders) == {}


@pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("null", "''"), ("1e-05", "2e-05"), ("[1, 2]", "[2, 1]")])
def test_other_values_are_differences(tmp_path, one, other):
    folders = [folder_of(tmp_path / name, f"lr: {text}\n") for name, text in (("1", one), ("2", other))]
    assert list(config_differences(folders)) == ["lr"]


@pytest.mark.parametrize("text", ["", "a: [", "\x00", "- 1\n"])
def test_a_config_that_can_not_be_read_is_dashes(tmp_path, text):
    folders = [folder_of(tmp_path / "1", "a: 1\n"), folder_of(tmp_path / "2", "a: 2\n")]
    folders += [folder_of(tmp_path / "3", text), tmp_path / "none"]
    assert config_differences(folders)["a"] == ["1", "2", "–", "–"]
