"""The wheel holds every YAML and none of the entry points of the repository."""

import shutil
import subprocess
import sys
import zipfile

from tests.support.paths import CONF, ROOT


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
