"""The wheel holds every YAML, template and stub, none of the entry points, and works where there is no source tree."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import CONF, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"  # a build leaves folders behind
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("lightning_langcore", "conf", "callbacks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder)]
    subprocess.run([*command, str(copy)], check=True, capture_output=True)
    shutil.rmtree(copy)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    """The programs of an environment with the wheel; its dependencies are those of this environment.

    A .pth file adds folders of packages without running the .pth files in them, which would add the source tree.
    """
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False)
    packages = Path(sysconfig.get_path("purelib", vars={"base": folder, "platbase": folder}))
    dependencies = [path for path in sys.path if path.endswith("-packages")]
    (packages / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    python = folder / "bin" / "python"
    install = ["-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "-q", "--ignore-installed"]
    subprocess.run([sys.executable, *install, str(wheel)], check=True, capture_output=True)
    return folder / "bin"


def used(clean, folder, program, *arguments):
    """What a program prints, started in an empty folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(clean / program), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_yaml_template_and_stub_and_no_entry_point(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"lightning_langcore/conf/{p.relative_to(CONF).as_posix()}" for p in CONF.rglob("*.yaml")}
    package = (ROOT / "lightning_langcore").rglob("*")
    beside = {p.relative_to(ROOT).as_posix() for p in package if p.suffix in (".j2", ".pyi") or p.name == "py.typed"}
    assert len(beside) > 5
    assert expected | beside <= names
    assert not any(name.startswith(("callbacks/", "tests/", "conf/")) for name in names)


def test_the_installed_package_works_in_an_empty_folder(clean, tmp_path):
    program = "import lightning_langcore as l; print(l.__file__); [getattr(l, name) for name in l.__all__]"
    file = Path(used(clean, tmp_path, "python", "-c", program).strip())
    assert clean.parent in file.parents
    assert "recovery_frozen" in used(clean, tmp_path, "langcore")
    assert "perturbation" in used(clean, tmp_path, "langcore", "--help")
    assert "CoreGuard" in used(clean, tmp_path, "langcore", "+experiment=recovery_frozen", "--cfg", "job")
    assert not list(tmp_path.iterdir())
