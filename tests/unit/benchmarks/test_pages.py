"""Pages show what the result files hold, and nothing else."""

import json

import pytest

from tests.support.paths import ROOT


@pytest.fixture
def pages(benchmark_modules):
    return benchmark_modules("pages")


MACHINE = {"name": "epyc-2cores", "cpu": "AMD EPYC", "cores": 2, "memory_gb": 24.0, "gpu": None}


def content(ratio, date, machine=None, **changes):
    table = {"columns": [{"name": "ratio", "format": "{:.2f}"}], "rows": [[ratio]]}
    facts = {"command": "python benchmarks/guard.py", "commit": "0123456789", "uncommitted_changes": False}
    more = {"source": None, "seeds": [0], "versions": {"torch": "2.13.0"}, "machine": MACHINE | (machine or {})}
    return {"format": 1, "topic": "guard", "date": date, **facts, **more, "tables": {"cost": table}} | changes


@pytest.fixture
def folder(tmp_path):
    """A project with one page and two results of one topic."""
    (tmp_path / "results").mkdir()
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs/results/guard.md").write_text("Cost:\n\n<!-- table: cost -->\nold\n<!-- end -->\nafter\n")
    for name, made in {"b": content(1.0, "2026-11-24"), "a": content(2.0, "2026-11-28T10:00:00+00:00")}.items():
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(made))
    return tmp_path


def run(pages, folder, *arguments):
    return pages.main(["--root", str(folder), "--results", str(folder / "results"), *arguments])


EXPECTED = """Cost:

<!-- table: cost -->
| ratio |
|---|
| 2.00 |

*`python benchmarks/guard.py`: 2026-11-28, AMD EPYC, 2 cores, no GPU, torch 2.13.0, commit 0123456, seed 0 (`a.json`)*
<!-- end -->
after
"""


def test_the_newest_file_is_shown_and_a_second_time_nothing_changes(pages, folder, capsys):
    page = folder / "docs/results/guard.md"
    assert run(pages, folder, "--check") == 1
    assert "docs/results/guard.md differs" in capsys.readouterr().out
    assert "old" in page.read_text()
    assert run(pages, folder) == 0
    assert page.read_text() == EXPECTED
    capsys.readouterr()
    assert run(pages, folder, "--check") == 0
    assert capsys.readouterr().out == ""


def test_a_marker_may_name_the_machine(pages, folder):
    gpu = {"name": "h100-16cores", "gpu": "NVIDIA H100"}
    (folder / "results/c.json").write_text(json.dumps(content(3.0, "2026-11-20", gpu, uncommitted_changes=True)))
    page = folder / "docs/results/guard.md"
    page.write_text("<!-- table: cost on h100-16cores -->\n<!-- end -->\n")
    run(pages, folder)
    assert "| 3.00 |" in page.read_text()
    assert "NVIDIA H100" in page.read_text()
    assert "with uncommitted changes" in page.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: unknown -->\n<!-- end -->", "no result file holds the table of <!-- table: unknown -->"),
        ("<!-- table: cost -->\n| 1 |", "has no <!-- end -->"),
        ("<!-- table: cost -->\n| 1 |\n<!-- table: cost -->\n<!-- end -->", "has no <!-- end -->"),
        ("<!-- table: cost, of guard -->\n<!-- end -->", "written differently"),
    ],
)
def test_a_wrong_marker_names_page_and_table(pages, folder, text, message):
    (folder / "docs/results/guard.md").write_text(text)
    with pytest.raises(SystemExit, match=f"guard.md.*{message}"):
        run(pages, folder)


def test_list_shows_tables_files_and_pages(pages, folder, capsys):
    assert run(pages, folder, "--list") == 0
    assert capsys.readouterr().out.split() == ["cost", "a.json", "docs/results/guard.md"]


def test_the_pages_of_this_project_equal_its_result_files(pages, capsys):
    assert pages.main(["--check"]) == 0, f"run python benchmarks/pages.py: {capsys.readouterr().out}"


def test_every_result_is_on_a_page(pages):
    on_pages = {name for page in pages.pages() for name in pages.shown(page.read_text(encoding="utf-8"))}
    held = {name for name, _ in pages.sources((ROOT / "benchmarks" / "results").glob("*.json"))}
    assert held - on_pages == set()
