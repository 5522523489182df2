"""The page of recoveries and perturbations: self-contained, and its numbers right."""

import base64
import io
import json
import math
import sys

import pytest
from rich.console import Console

from lightning_langcore.reports import config_diff, console
from lightning_langcore.reports import page as page_
from lightning_langcore.reports.sections.perplexity import perplexity_table
from tests.support.commands import run as run_command
from tests.support.pictures import PIXEL
from tests.support.reports import Page, family, grid, make, page_of


def test_table_fits_80_columns_and_cuts_nothing(tmp_path):
    languages = ("zh", "en", "ar", "ko", "es", "ru", "vi", "de")
    runs = []
    for seed, shift in ((0, 0.0), (1, math.log(4))):
        for frozen in (True, False):
            values = {lang: (math.log(10), math.log(100000) + shift, 5.0, math.log(8) + shift) for lang in languages}
            runs.append(make(tmp_path, frozen=frozen, seed=seed, values=values))
    out = io.StringIO()
    Console(width=80, file=out, color_system=None).print(console.renderable(perplexity_table(runs), 80))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for part in ("200,000", "(100,000–400,000)", "16.0", "(8.00–32.0)", "core, frozen", "core, free"):
        assert text.count(part) in (8, 16)
    assert all(f"│{lang} " in text for lang in languages)


def test_print_table_is_plain_without_a_terminal(tmp_path, capsys, monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    assert not sys.stdout.isatty()
    page_.print_table([make(tmp_path, values={"zh": (2.0, math.log(123456), 4.0)}), make(tmp_path, None, False)])
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "123,456" in text
    assert "at 100, unfinished" in text


def test_page_is_self_contained_and_its_numbers_are_right(tmp_path):
    finals = {
        (kind, frozen, seed): 2.0 + seed for kind in ("core", "random") for frozen in (True, False) for seed in (0, 1)
    }
    finals |= {("core", True, 0): 2.0 + math.log(50), ("core", True, 1): 3.0 + math.log(8)}
    runs = family(tmp_path / "runs", finals, lang="z<h")
    for run in runs:
        run.write()
        (run.folder / ".hydra").mkdir()
        (run.folder / "plots").mkdir()
        (run.folder / "plots" / "region.png").write_bytes(PIXEL)
        guard = "{core_guard: {region: '${region}'}}" if run.guard else "{}"
        config = f"seed: {run.seed}\nlr: 1e-4\nregion: {{kind: {run.region['kind']}}}\ncallbacks: {guard}\n"
        (run.folder / ".hydra" / "config.yaml").write_text(config)
    path = page_.write_html([tmp_path / "runs"], tmp_path / "out" / "report.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.sources) == 4  # curves, bars, two heat maps
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert base64.b64decode(page.sources[2].partition(",")[2]) == PIXEL
    assert len(page.links) == 8
    assert all((path.parent / link / "results.json").is_file() for link in page.links)
    assert [
        "z<h",
        "20.0",
        "8.00–50.0",
        "+2.996",
        "frozen ends higher than free; 2 seeds agree on the direction",
    ] in page.rows
    assert ["z<h", "core, frozen", "7.39", "1,097", "244 (161–369)", "2"] in page.rows
    assert ["z<h", "7.39", "1,097 × 148", "1,097 × 148"] in page.rows
    assert "core against random: freezing costs more in 1 of 1 language; median ratio 20.0." in page.text
    keys = {row[0]: row[1:] for row in page.rows if len(row) == 9 and "." in row[0]}
    assert set(keys) == {"callbacks.core_guard.region", "region.kind"} | ({"callbacks"} & set(keys))
    assert keys["region.kind"].count("core") == 4
    assert keys["callbacks.core_guard.region"].count("${region}") == 4
    assert not any(row[0] == "lr" for row in page.rows)


def test_page_marks_what_did_not_finish(tmp_path):
    failed = make(tmp_path / "a", values={"zh": (2.0, 7.0)})
    failed.status, failed.error = "failed", "ValueError: <b>no & such file"
    cut = make(tmp_path / "b", frozen=False, values={"en": (2.0, 7.0, 4.0)})
    cut.status = "interrupted"
    earlier = {key: value for key, value in cut.perplexity[-1].items() if key != "ppl"}
    cut.add(earlier | {"samples": 50, "nats_per_token": 5.0})
    moved = make(tmp_path / "c", "random")
    moved.guard = {"num_frozen": 3}  # a drift that was not finite
    page = Page(page_.write_html([failed, cut, moved], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "2 of 3 runs did not finish" in page.text
    assert "ValueError: <b>no & such file" in page.text
    assert "54.6 at 100, unfinished" in page.text
    assert "In 1 of 3 runs the frozen weights moved" in page.text
    assert "Nothing to compare yet" in page.text


def test_page_skips_what_is_broken(tmp_path):
    make(tmp_path / "a/good").write()
    whole = (tmp_path / "a/good/results.json").read_text(encoding="utf-8")
    content = json.loads(whole)
    broken = {
        "cut": whole[: len(whole) // 2],
        "not_json": "\x00<html>",
        "rows": json.dumps(content | {"perplexity": ["x"]}),
        "no_rows": json.dumps(content | {"perplexity": None}),
    }
    for name, text in broken.items():
        (tmp_path / "a" / name).mkdir()
        (tmp_path / "a" / name / "results.json").write_text(text, encoding="utf-8")
    page = page_of([tmp_path / "a"], tmp_path)
    for name in broken:
        assert f"skipped: {tmp_path}/a/{name}/results.json: " in page.text
    assert ["1", "good"] in [row[:2] for row in page.rows]
    assert not any(row[:1] == ["2"] for row in page.rows)
    with pytest.raises(ValueError, match=r"skipped: .*cut/results.json: no valid JSON"):
        page_.write_html([tmp_path / "a/cut"], tmp_path / "r.html")


def test_the_command_reports_the_others_and_says_what_it_skips(tmp_path):
    make(tmp_path / "good").write()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut/results.json").write_text('{"format": 1, ')
    done = run_command(tmp_path, "report", ".", plain=True)
    assert "skipped: cut/results.json: no valid JSON" in done.stderr
    assert "core, frozen" in done.stdout
    assert "skipped: cut/results.json" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("guard", "told", "moved"),
    [
        ({"num_frozen": 1020, "max_abs_drift": 0.0}, "1,020 weights not moved until it ended, unfinished", False),
        ({"num_frozen": 1020}, "1,020 weights not known: unfinished", False),
        ({"num_frozen": 1020, "max_abs_drift": 0.5}, "1,020 weights moved by up to 0.500 until it ended", True),
    ],
)
def test_frozen_weights_of_a_run_that_did_not_finish(tmp_path, guard, told, moved):
    run = make(tmp_path)
    run.status, run.guard = "failed", guard
    page = page_of([run], tmp_path)
    assert any(cell.startswith(told) for row in page.rows for cell in row)
    assert ("the frozen weights moved" in page.text) == moved


def test_page_warns_of_runs_that_it_averages(tmp_path):
    runs = [make(tmp_path / name) for name in "ab"] + [make(tmp_path / "c", seed=1)]
    page = Page(page_.write_html(runs, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "averaged, though their configs may differ in other ways: #1, #2." in page.text


@pytest.mark.parametrize(
    "change",
    [
        {"kind": None, "frozen": False},
        {"kind": None, "frozen": False, "values": {"zh": (None, None, 3.0, 2.0)}},
        {"values": {"zh": (2.0,)}},
        {"values": {"zh": (None, math.inf)}},
        {"values": {"zh": ()}},
        {"values": {"zh": (math.inf, 700.0, 800.0, 3.0)}},
    ],
)
def test_page_of_any_single_run(tmp_path, change):
    run = make(tmp_path / "run", **change)
    text = page_.write_html([run], tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "http" not in text
    assert "nan" not in page.text
    assert perplexity_table([run]).columns


def test_page_of_no_run_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no runs"):
        page_.write_html([], tmp_path / "r.html")
    with pytest.raises(ValueError, match="no run to report"):
        page_.write_html([tmp_path], tmp_path / "r.html")


def test_config_differences(tmp_path):
    texts = ["a: {b: 1, c: '${x}'}\nd: [1, 2]\n", "a: {b: 2, c: '${x}'}\nd: [1, 2]\ne: null\n", None]
    folders = []
    for position, text in enumerate(texts):
        folders.append(tmp_path / str(position))
        (folders[-1] / ".hydra").mkdir(parents=True)
        if text:
            (folders[-1] / ".hydra" / "config.yaml").write_text(text)
    assert config_diff.config_differences(folders) == {"a.b": ["1", "2", "–"], "e": ["–", "null", "–"]}


def test_damage_is_printed_in_the_talks_layout(tmp_path, capsys):
    page_.print_table([grid(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].strip() for line in lines if "perturbation" in line] == ["1 %", "5 %"]
    heads = [line for line in lines if "lang" in line]
    assert heads[0].replace("┃", " ").split() == ["lang", "base", "random", "peripheral", "core"]
    row = next(line for line in lines if line.startswith("│zh")).replace("│", " ").split()
    assert row == ["zh", "5.00", "12.0", "14.0", "10.0"]


def test_too_many_regions_for_a_line_are_printed_as_a_list(tmp_path, capsys):
    page_.print_table([grid(tmp_path, variants=[f"mono:{n}" for n in "abcdefghij"])])
    out = capsys.readouterr().out
    assert "perturbed" in out
    assert "mono:a (1 %)" in out


def test_runs_of_single_weights_have_their_picture_and_their_sentence_and_no_bars(tmp_path, capsys):
    weights = grid(tmp_path / "w", variants=["model.norm.weight[3]"], fractions=(None,), experiment="dimension")
    weights.notes = ["no massive activation"]
    weights.write()
    (tmp_path / "w" / "plots").mkdir()
    (tmp_path / "w" / "plots" / "dimensions.png").write_bytes(PIXEL)
    page_.print_table([weights])
    assert capsys.readouterr().out == ""
    page = Page(page_.write_html([weights, grid(tmp_path / "g")], tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "no massive activation" in page.text
    assert "norm.weight" not in page.text
    assert "The cost of freezing" not in page.text
    assert len(page.sources) == 2  # the bars of the grid and the picture of the weights
