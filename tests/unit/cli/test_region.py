"""``langcore region``: algebra against Python sets, overlap by hand, and refusals that leave nothing behind."""

import csv
import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lightning_langcore import Region
from lightning_langcore.cli import main
from lightning_langcore.cli.region import labels, plots
from lightning_langcore.utils import tables

SHAPES = {"model.layers.0.up.weight": (8, 16), "model.layers.0.down.weight": (16, 8)}
UP, DOWN = SHAPES
META = {
    "kind": "core", "score": "relative_change", "fraction": 0.05, "granularity": "element", "scope": "tensor",
    "num_ties": 1234, "languages": ["es", "ru"], "base_model": "tiny",
}  # fmt: skip


def run(folder, *words, expect=0):
    """``langcore region`` in a folder: what it prints, and nothing but the exit status that is expected."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["langcore", "region", *words])
        try:
            main.main()
        except SystemExit as end:
            status = end.code
            if isinstance(status, str):
                err.write(status)
                status = 1
    assert (status or 0) == expect, out.getvalue() + err.getvalue()
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())


def refused(folder, *words):
    """The one sentence; what lies in the folder is the same as before."""
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    done = run(folder, *words, expect=1)
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    return done.stderr


def save(path, members, shapes=SHAPES, **meta):
    """Write a region of (name, index) pairs."""
    parts = {name: torch.tensor(sorted(i for n, i in members if n == name), dtype=torch.int64) for name in shapes}
    path.parent.mkdir(parents=True, exist_ok=True)
    return Region(shapes, parts, META | meta).save(path)


def members_of(path):
    return {(name, i) for name, idx in Region.load(path) for i in idx.tolist()}


@pytest.fixture
def sets(tmp_path):
    """Four regions a, b, c, d in a folder, as sets."""
    generator = np.random.default_rng(3)
    everything = [(name, i) for name in SHAPES for i in range(128)]
    made = {}
    for name in "abcd":
        made[name] = {everything[i] for i in generator.permutation(256)[:120]}
        save(tmp_path / f"{name}.safetensors", made[name])
    return made


ALGEBRA = {
    "a": lambda s: s.a,
    "a | b": lambda s: s.a.union(s.b),
    "a & b": lambda s: s.a.intersection(s.b),
    "a-b": lambda s: s.a.difference(s.b),
    "a - b - c": lambda s: s.a.difference(s.b).difference(s.c),
    "a - (b - c)": lambda s: s.a.difference(s.b.difference(s.c)),
    "(a | b) - c": lambda s: s.a.union(s.b).difference(s.c),
    "a | b - c": lambda s: s.a.union(s.b.difference(s.c)),
    "a & b | c": lambda s: s.a.intersection(s.b).union(s.c),
    "a | b & c": lambda s: s.a.union(s.b.intersection(s.c)),
    "a & b - c": lambda s: s.a.intersection(s.b.difference(s.c)),
    "a | b & c - d": lambda s: s.a.union(s.b.intersection(s.c.difference(s.d))),
    "((a | b) & (c | d)) - (a & d)": lambda s: (
        s.a.union(s.b).intersection(s.c.union(s.d)).difference(s.a.intersection(s.d))
    ),
    "a - a & b": lambda s: s.a.difference(s.a).intersection(s.b),
}


@pytest.mark.parametrize("expression", ALGEBRA)
def test_expressions_equal_sets(tmp_path, sets, expression):
    done = run(tmp_path, "combine", expression, "-o", "new/out.safetensors")
    expected = ALGEBRA[expression](SimpleNamespace(**sets))
    assert members_of(tmp_path / "new/out.safetensors") == expected
    assert f"{len(expected):,}" in done.stdout
    assert ("is empty" in done.stderr) == (not expected)


def test_each_of_these_expressions_has_another_result(sets):
    """Else a wrong order could go unseen."""
    assert len({frozenset(plain(SimpleNamespace(**sets))) for plain in ALGEBRA.values()}) == len(ALGEBRA)


def test_the_new_region_says_where_it_comes_from(tmp_path, sets):
    save(tmp_path / "other.safetensors", sets["a"], base_model="large")
    done = run(tmp_path, "combine", " a-(b) ", "-o", "out.safetensors")
    meta = Region.load(tmp_path / "out.safetensors").meta
    assert (meta["kind"], meta["base_model"]) == ("a - b", "tiny")
    assert meta["files"] == {"a": "a.safetensors", "b": "b.safetensors"}
    assert not {"score", "fraction", "languages"} & set(meta)
    lines = [line.split() for line in done.stdout.splitlines() if ".safetensors" in line]
    rest = len(sets["a"] - sets["b"])
    assert lines == [
        ["a", "a.safetensors", "120", "46.875%"],
        ["b", "b.safetensors", "120", "46.875%"],
        ["a", "-", "b", "out.safetensors", str(rest), f"{rest / 256:.3%}"],
    ]
    run(tmp_path, "combine", "a | other", "-o", "two.safetensors")
    assert "base_model" not in Region.load(tmp_path / "two.safetensors").meta


def test_names_are_found_by_alias_and_in_folders(tmp_path, sets):
    save(tmp_path / "run/core.safetensors", sets["a"])
    save(tmp_path / "run/language/zh.safetensors", sets["b"])
    save(tmp_path / "run/mono/is.safetensors", sets["c"])
    for number, words in enumerate([
        ["core - zh - m", "-o", "{}", "--in", "run", "--in", "run/language", "m=run/mono/is.safetensors"],
        ["--in", "run", "core - zh - m", "m=run/mono/is.safetensors", "zh=run/language/zh.safetensors", "-o", "{}"],
        ["--in", "run", "core - a - m", "a=b.safetensors", "m=run/mono/is.safetensors", "-o", "{}"],
    ]):  # fmt: skip
        file = f"out{number}.safetensors"
        run(tmp_path, "combine", *(word.format(file) for word in words))
        assert members_of(tmp_path / file) == sets["a"] - sets["b"] - sets["c"]
    out = ("-o", "not.safetensors")
    assert "no region zh: no zh.safetensors in run;" in refused(tmp_path, "combine", "core - zh", *out, "--in", "run")
    save(tmp_path / "second/core.safetensors", sets["d"])
    both = refused(tmp_path, "combine", "core", *out, "--in", "run", "--in", "second")
    assert "core may be run/core.safetensors or second/core.safetensors" in both
    run(tmp_path, "combine", "core", *out, "--in", "run", "--in", "./run")


BAD_EXPRESSIONS = {
    "__import__('os').system('touch hit')": '"__import__(\'os\').system(\'touch hit\')" in the expression',
    "a | open('hit', 'w')": "open('hit', 'w')",
    "a.save": "'a.save' in the expression",
    "a ** 2": "'a ** 2' in the expression",
    "a - b * c": "'b * c' in the expression",
    "a + b": "'a + b'",
    "a ^ b": "'a ^ b'",
    "(a - ~b) | c": "'~b'",
    "a - 1": "'1'",
    "a['x']": "\"a['x']\"",
    "a if b else c": "'a if b else c'",
    "a and b": "'a and b'",
    "a < b": "'a < b'",
    "lambda: a": "'lambda: a'",
    "(a := b)": "'(a := b)'",
    "[x for x in a]": "'[x for x in a]'",
    "a, b": "'(a, b)'",
    "f'{a}'": 'f\'{a}\'',
    "None": "'None'",
    "": "can't be read",
    "a -": "can't be read",
    "a - (b": "can't be read",
    "a; b": "can't be read",
    "a = b": "can't be read",
    "import os": "can't be read",
    "mono:zh - a": "gets one with NAME=FILE",
    "is - a": "gets one with NAME=FILE",
    "a - \ud800": "can't be read",
    "(" * 500 + "a" + ")" * 500: "can't be read",
    " | ".join("a" * 5000): "too many parts",
    "a - missing": "there is no region missing",
}  # fmt: skip


@pytest.mark.parametrize("expression", BAD_EXPRESSIONS, ids=lambda text: ascii(text)[:30])
def test_other_expressions_are_refused_and_nothing_is_written(tmp_path, sets, expression):
    assert BAD_EXPRESSIONS[expression] in refused(tmp_path, "combine", expression, "-o", "new/out.safetensors")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a - b", "mono:zh=b.safetensors"], "'mono:zh' is no Python name"),
        (["a - b", "is=b.safetensors"], "'is' is no Python name"),
        (["a - b", "second"], "second is not NAME=FILE"),
        (["a - b", "b="], "b= is not NAME=FILE"),
        (["a - b", "b=a.safetensors", "b=b.safetensors"], "b= is given twice"),
        (["a - b", "c=c.safetensors"], "the expression has no c"),
        (["a - b", "--in", "nowhere"], "--in nowhere: there is no such folder"),
        (["a - b", "b=none.safetensors"], "no region file at none.safetensors"),
        (["a - broken"], "broken.safetensors is not a readable region file"),
        (["a | foreign - b"], f"foreign - b: the regions belong to different models: {UP} has two shapes"),
    ],
)
def test_bad_files_and_aliases_are_refused(tmp_path, sets, words, message):
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    save(tmp_path / "foreign.safetensors", {(UP, 1)}, {UP: (8, 15)})
    assert message in refused(tmp_path, "combine", *words, "-o", "out.safetensors")


def test_an_existing_file_is_replaced_only_by_force(tmp_path, sets):
    words = ["combine", "a - b", "-o", "a.safetensors"]
    assert "a.safetensors exists" in refused(tmp_path, *words)
    run(tmp_path, *words, "--force")
    assert members_of(tmp_path / "a.safetensors") == sets["a"] - sets["b"]
    (tmp_path / "folder").mkdir()
    refused(tmp_path, "combine", "a - b", "-o", "folder", "--force")
    refused(tmp_path, "combine", "a - b", "-o", "b.safetensors/out.safetensors")


def test_overlap_by_hand(tmp_path, monkeypatch):
    drawn = {}

    def keep(values, rows, columns, path, *texts, **options):
        drawn.update(values=values, rows=rows, columns=columns)
        real(values, rows, columns, path, *texts, **options)

    real = plots.pair_heatmap
    monkeypatch.setattr(plots, "pair_heatmap", keep)
    save(tmp_path / "x.safetensors", {(UP, i) for i in range(20)})
    save(tmp_path / "y.safetensors", {(UP, i) for i in range(10, 40)} | {(DOWN, i) for i in range(10)})
    save(tmp_path / "z.safetensors", set())
    done = run(tmp_path, "overlap", "x.safetensors", "mono:y=y.safetensors", "-o", "new", "z.safetensors")
    with (tmp_path / "new/overlap.csv").open(newline="") as file:
        rows = {(row["one"], row["other"]): row for row in csv.DictReader(file)}
    chance = (20 * 30 / 128) / (60 - 20 * 30 / 128)
    figures = ("num_one", "num_other", "num_shared", "jaccard", "chance", "share_of_one")
    assert [float(rows["x", "mono:y"][key]) for key in figures] == pytest.approx(
        [20, 40, 10, 10 / 50, chance, 10 / 20], abs=1e-6
    )
    assert [float(rows["mono:y", "x"][key]) for key in figures] == pytest.approx(
        [40, 20, 10, 10 / 50, chance, 10 / 40], abs=1e-6
    )
    assert [float(rows["x", "z"][key]) for key in figures] == [20, 0, 0, 0, 0, 0]
    assert len(rows) == 6
    assert drawn["rows"] == drawn["columns"] == ["x", "mono:y", "z"]
    nan = np.nan
    np.testing.assert_allclose(drawn["values"], [[nan, 0.2, 0], [0.2, nan, 0], [0, 0, nan]])
    assert (tmp_path / "new/overlap.png").read_bytes().startswith(b"\x89PNG")
    lines = [line.split() for line in done.stdout.splitlines() if "%" in line]
    assert lines == [
        ["x", "mono:y", "10", "0.200", f"{chance:.3f}", "50.0%", "25.0%"],
        ["x", "z", "0", "0.000", "0.000", "0.0%", "0.0%"],
        ["mono:y", "z", "0", "0.000", "0.000", "0.0%", "0.0%"],
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a/core.st", "a/random.st"], ["core", "random"]),
        (["seed0/core.st", "seed1/core.st", "seed1/random.st"], ["seed0/core", "seed1/core", "random"]),
        (["p/x/core.st", "q/x/core.st", "q/y/core.st"], ["p/x/core", "q/x/core", "y/core"]),
        (["core=a/b.st", "a/core.st"], ["core", "a/core"]),
        (["new=a/core.st", "old=a/core.st"], ["new", "old"]),
        (["mono:zh=mono/zh.st", "language/zh.st"], ["mono:zh", "zh"]),
        (["seed=0/core.st", "runs/seed=1/core.st"], ["seed", "core"]),
        (["runs/seed=0/core.st", "runs/seed=1/core.st"], ["seed=0/core", "seed=1/core"]),
        (["work/core.st", "core.st"], ["work/core", "{}/core"]),
    ],
)
def test_files_are_named_by_as_little_of_their_path_as_tells_them_apart(tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    assert list(labels(words)) == [name.format(tmp_path.name) for name in expected]


def test_a_file_with_an_equals_sign_in_its_path_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "seed=0" / "core.safetensors", {(UP, 1)})
    assert list(labels(["seed=0/core.safetensors", "x.safetensors"])) == ["core", "x"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.safetensors"], "needs two regions or more"),
        (["a.safetensors", "a.safetensors"], "give each file once"),
        (["x=a.safetensors", "x=b.safetensors"], "two regions are called x:"),
        (["a.safetensors", "none.safetensors"], "no region file at none.safetensors"),
        (["a.safetensors", "broken.safetensors"], "not a readable region file"),
        (["a.safetensors", "b.safetensors", "foreign.safetensors"], "a and foreign: the regions belong to different"),
    ],
)
def test_bad_overlaps_are_refused_and_nothing_is_written(tmp_path, sets, words, message):
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    save(tmp_path / "foreign.safetensors", {(UP, 1)}, {UP: (8, 15)})
    assert message in refused(tmp_path, "overlap", *words, "-o", "new")
    assert not (tmp_path / "new").exists()
    refused(tmp_path, "overlap", "a.safetensors", "b.safetensors", "-o", "a.safetensors")


def cells(text):
    return [line.split() for line in text.splitlines()]


def test_show_tells_what_files_hold(tmp_path):
    everything = {(UP, i) for i in range(128)}
    save(tmp_path / "core.safetensors", everything)
    Region(SHAPES, {DOWN: torch.tensor([5])}).save(tmp_path / "bare.safetensors")
    done = run(tmp_path, "show", "core.safetensors", "--by-parameter", "bare.safetensors")
    lines = cells(done.stdout)
    for expected in (
        "file core.safetensors bare.safetensors",
        "kind core –",
        "score relative_change –",
        "fraction 0.05 –",
        "granularity element –",
        "scope tensor –",
        "weights 128 (50.000%) 1 (0.391%)",
        "candidates 256 256",
        "ties 1,234 –",
        "languages es, ru –",
        "base model tiny –",
    ):
        assert expected.split() in lines, expected
    core, bare = done.stdout[done.stdout.index("base model") :].split("parameter")[1:]
    assert [UP, "128", "100.000%"] in cells(core)
    assert [DOWN, "0", "0.000%"] in cells(core)
    assert [DOWN, "1", "0.781%"] in cells(bare)
    assert "parameter" not in run(tmp_path, "show", "core.safetensors").stdout


def test_tables_are_plain_and_fit_eighty_columns(tmp_path, monkeypatch):
    """Eight files with long paths, one of them with a header that looks like markup and moves the cursor."""
    monkeypatch.setattr(tables, "WIDTH", 80)
    files = [f"a_rather_long_folder_name_for_a_run_{n}/core.safetensors" for n in range(8)]
    for n, file in enumerate(files):
        save(tmp_path / file, {(UP, n)}, kind="[red]x[/red]\x1b[2J", base_model="organisation/" + "m" * 40)
    for words in (["show", *files, "--by-parameter"], ["overlap", *files, "-o", "new"]):
        out = run(tmp_path, *words).stdout
        assert max(map(len, out.splitlines())) <= 80
        assert "\x1b" not in out
        assert "…" not in out
    assert "[red]x[/red]?[2J" in run(tmp_path, "show", files[0]).stdout
    assert "broken" in refused(tmp_path, "show", files[0], "broken.safetensors")


def test_help_tells_the_commands_and_the_precedence(tmp_path):
    assert "show,combine,overlap" in run(tmp_path, "-h").stdout.replace(" ", "")
    assert "As in Python, - comes before &, and & before |:" in run(tmp_path, "combine", "-h").stdout
    assert "invalid choice" in run(tmp_path, "cook", expect=2).stderr
    assert "required" in run(tmp_path, expect=2).stderr
