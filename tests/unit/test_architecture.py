"""Imports go downwards only: a folder imports what this table allows, and nothing else of the package."""

import ast
from pathlib import Path

import pytest

from tests.support.paths import PACKAGE, ROOT

ALLOWED: dict[str, set[str]] = {
    "utils": set(),
    "metrics": set(),
    "models": {"utils"},
    "results": {"utils"},
    "data": {"utils", "metrics"},
    "regions": {"utils", "models"},
    "importance": {"utils", "metrics", "models", "regions"},
    "monitoring": {"utils", "metrics", "regions"},
    "plots": {"utils", "results", "regions"},
    "callbacks": {"utils", "metrics", "models", "regions", "monitoring"},
    "reports": {"utils", "results", "plots"},
    "training": {"utils", "metrics", "models", "regions", "callbacks"},
    "jobs": {
        "utils", "metrics", "models", "results", "data", "regions", "importance", "monitoring", "plots", "callbacks",
        "training",
    },
    "cli": {
        "utils", "metrics", "models", "results", "data", "regions", "importance", "monitoring", "plots", "callbacks",
        "training", "reports", "jobs",
    },
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """The folders of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("lightning_langcore.")}


def test_the_table_names_every_folder():
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(ALLOWED)
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_go_downwards(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        upward = imported(path) - ALLOWED[folder] - {folder}
        assert not upward, f"{path.relative_to(ROOT)} imports {', '.join(sorted(upward))}"
