"""The wheel holds every YAML, template and stub, and none of the entry points of the repository."""

import shutil
import subprocess
import sys
import zipfile

from tests.support.paths import CONF, ROOT


def test_the_wheel_holds_every_yaml_template_and_stub_and_no_entry_point(tmp_path):
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
    package = (ROOT / "lightning_langcore").rglob("*")
    beside = {p.relative_to(ROOT).as_posix() for p in package if p.suffix in (".j2", ".pyi") or p.name == "py.typed"}
    assert len(beside) > 5
    assert expected | beside <= names
    assert not any(name.startswith(("callbacks/", "tests/", "conf/")) for name in names)
