"""Result files: written and read back, strict JSON, and the facts that a figure needs."""

import json
import math
import platform
import statistics
import subprocess
import sys

import pytest
import torch

from tests.support.paths import ROOT


@pytest.fixture
def files(benchmark_modules):
    return benchmark_modules("result_files")


def test_a_table_shows_numbers_strings_lists_and_what_is_absent(files):
    table = files.Table({"way": "{}", "ratio": "{:.3f}", "seeds": "{:.2f} ({:.2f}-{:.2f})", "share": "{:.1%}"})
    table.add("guard", 1.0124, [1, 0.9, 1.125], 0.5)
    table.add("a|b", None, [1.0, None, 2.0], 0.001)
    assert table.markdown().splitlines() == [
        "| way | ratio | seeds | share |",
        "|---|---|---|---|",
        "| guard | 1.012 | 1.00 (0.90-1.12) | 50.0% |",
        "| a\\|b | – | – | 0.1% |",
    ]


def test_a_row_of_another_length_is_an_error(files):
    with pytest.raises(ValueError, match="1 cells for the columns way, ratio"):
        files.Table({"way": "{}", "ratio": "{}"}).add("guard")


def test_a_file_holds_raw_numbers_and_where_they_come_from(files, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks" / "guard.py"), "--rounds", "3", "--text", "a b"])
    table = files.Table({"way": "{}", "ratio": "{:.1f}"}, [["guard", torch.tensor(1.25)], ["other", math.inf]])
    empty = files.Table({"way": "{}"})
    text = {"name": "phrasebook", "digest": "abc"}
    path = files.write_result("guard", {"guard_cost": table, "empty": empty}, tmp_path, seeds=[0, 1], text=text)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == f"guard_{content['machine']['name']}_{content['date'][:10]}.json"
    assert content["tables"] == {"guard_cost": table.to_json()}
    assert content["tables"]["guard_cost"]["rows"] == [["guard", 1.25], ["other", None]]
    assert content["command"] == "python benchmarks/guard.py --rounds 3 --text 'a b'"
    assert (content["seeds"], content["text"], content["source"]) == ([0, 1], text, None)
    assert content["versions"]["python"] == platform.python_version()
    assert content["versions"]["torch"] == torch.__version__
    assert content["machine"]["cores"] >= 1
    assert content["machine"]["memory_gb"] > 0
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert content["commit"] == (head.stdout.strip() or None)
    assert files.load(path) == content
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("model", "cores", "name"),
    [
        ("AMD EPYC", 2, "epyc-2cores"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", 8, "xeon-8cores"),
        ("NVIDIA H100 80GB HBM3", 16, "h100-16cores"),
        ("", 4, "machine-4cores"),
    ],
)
def test_the_short_name_of_a_machine(files, model, cores, name):
    assert files.short_name(model, cores) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no result file"),
        ('{"format": 2}', "format 2"),
        ('{"format": 1, "tables": {"t": {"columns": [{"name": "a", "format": "{}"}], "rows": [[1, 2]]}}}', "2 cells"),
    ],
)
def test_a_damaged_file_is_named(files, tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"x\.json.*{message}"):
        files.load(path)


def test_the_module_needs_the_standard_library_only():
    code = "import sys, pages; sys.exit('torch' in sys.modules or 'lightning_langcore' in sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT / "benchmarks", check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_geometric_mean_and_the_range(files):
    values = [1.3, 1.1, 1.2]
    assert files.spread_of(values) == pytest.approx([statistics.geometric_mean(values), 1.1, 1.3])
