"""Imports go downwards only; what would break the arrows of the architecture fails here."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lightning_langcore"

# room -> rooms it may use; `files` and `progress` are tools that every room may use
ALLOWED = {
    "files": set(),
    "progress": set(),
    "params": set(),
    "weightset": {"params"},
    "region_file": {"weightset"},
    "region": {"params", "region_file", "weightset"},
    "kth": set(),
    "scores": {"kth", "params"},
    "weights": {"scores"},
    "selectors": {"kth", "weightset"},
    "select": {"kth", "region", "scores", "selectors", "weightset"},
    "locate": {"region", "scores", "select", "selectors", "weights"},
    "overlap": {"region"},
    "drift": {"region"},
    "repetition": set(),
    "text_memory": set(),
    "signals": {"repetition", "weightset", "region", "params"},
    "dimensions": {"params", "region"},
    "shards": set(),
    "footprint": set(),
    "plan": {"footprint"},
    "perturb": {"params", "region", "shards", "weightset"},
    "metrics": set(),
    "sensitivity": {"params", "metrics"},
    "hub": set(),
    "models": {"hub"},
    "chunked_loss": {"metrics"},
    "fsdp2": {"models", "params", "shards", "weights"},
    "modules": {"chunked_loss", "fsdp2", "metrics", "params"},
    "data": {"data", "hub", "metrics", "repetition"},
    "callbacks": {
        "callbacks", "chunked_loss", "drift", "signals", "repetition", "scores", "select", "perturb", "metrics",
        "region", "params", "shards", "text_memory", "weights", "weightset",
    },
    "artifacts": set(),
    "results": set(),
    "arms": {"results"},
    "compare": {"arms", "results"},
    "monolingual": {"arms", "results"},
    "concentration": set(),
    "effects": {"arms", "results"},
    "courses": {"effects", "results"},
    "plots": {"arms", "courses", "effects", "results", "plots", "concentration"},
    "report_html": set(),
    "report_words": {"arms", "compare", "courses", "effects", "results"},
    "report_sections": {"arms", "compare", "courses", "effects", "plots", "report_html", "report_words", "results"},
    "report_table": {"arms", "compare", "effects", "plots", "report_words", "results"},
    "report": {
        "arms", "compare", "effects", "plots", "report_html", "report_sections", "report_table", "report_words",
        "results",
    },
    "jobs": {
        "jobs", "callbacks", "modules", "models", "data", "artifacts", "results", "plots", "region", "scores", "select",
        "perturb", "params", "metrics", "kth", "selectors", "weights", "locate", "sensitivity", "dimensions", "overlap",
        "concentration", "monolingual", "weightset", "compare", "footprint",
        "fsdp2", "plan",
    },
    "region_command": {"region", "overlap", "plots", "concentration"},
    "plan_command": {"jobs", "plan", "footprint"},
    "cli": {"jobs", "plan_command", "region_command", "report", "results"},
    "__init__": {"callbacks", "metrics", "modules", "perturb", "region", "select"},
}  # fmt: skip
TOOLS = {"files", "progress"}
HYDRA = {"jobs", "plan_command", "cli"}
PLAIN = {
    "kth",
    "drift",
    "repetition",
    "footprint",
    "plan",
    "shards",
    "signals",
    "text_memory",
    "chunked_loss",
    "locate",
    "overlap",
    "weights",
    "selectors",
    "sensitivity",
    "params", "weightset", "region_file", "region", "scores", "select", "perturb", "metrics", "concentration",
    "dimensions",
}  # fmt: skip


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if node.module == "lightning_langcore" else {node.module}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_room_is_in_the_table():
    assert {room_of(path) for path in FILES} == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    room = room_of(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "lightning_langcore" and rest:
            used = rest.split(".")[0]
            assert used in ALLOWED[room] | TOOLS | {room}, f"{room} must not use {used}"
        if top in {"hydra", "omegaconf"}:
            assert room in HYDRA | {"report"}, f"{room} must not know {top}"
        if room in PLAIN:
            assert top not in {"lightning", "wandb", "hydra", "transformers"}, f"{room} must not know {top}"


def test_no_top_level_rooms_beyond_the_plan():
    door = ROOT / "callbacks" / "__init__.py"
    tree = ast.parse(door.read_text(encoding="utf-8"))
    kinds = {type(node) for node in tree.body}
    assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}, "the door re-exports, it holds no code"
