"""``langcore report`` starts fast: what reads and shows results loads no library for training."""

import ast
from pathlib import Path

import pytest

import lightning_langcore

PACKAGE = Path(lightning_langcore.__file__).parent
SLOW = {"torch", "lightning", "transformers", "datasets", "pandas", "omegaconf", "hydra"}
WHERE_USED = {"matplotlib", "jinja2", "rich"}


@pytest.mark.parametrize("folder", ["reports", "results"])
def test_slow_libraries_are_not_imported_and_drawing_ones_only_where_used(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not SLOW & {name for node in ast.walk(tree) for name in roots(node)}, path
        assert not WHERE_USED & {name for node in tree.body for name in roots(node)}, path


def roots(node):
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {str(node.module).split(".")[0]} if isinstance(node, ast.ImportFrom) else set()
