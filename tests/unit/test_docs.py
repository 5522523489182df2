"""The README and the pages of docs/: every command composes, every link leads somewhere, the site builds."""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest
import yaml

from lightning_langcore.cli import main as command_line
from lightning_langcore.cli.main import experiments
from tests.support.configs import settings_of
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
FLAGS = {"-m": 0, "--cfg": 1, "--memory": 1}  # flag -> number of values that follow
COMMAND = re.compile(r"(?:^|[ `])(python train\.py|langcore) ([^`\n]+)", re.MULTILINE)


def documented_commands():
    """The overrides of each command in a ``bash`` block or inline: of a sweep the first value of each swept setting."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("FOLDER_OR_HUB_ID", "FOLDER")
        blocks = re.findall(r"```(?:bash)?\n(.*?)```", text, re.DOTALL)
        inline = re.findall(r"(?<!`)`(?!`)[^`\n]+`", text)
        for part in (*blocks, *inline):
            for program, line in COMMAND.findall(part.replace("\\\n", " ")):
                words = shlex.split(line, comments=True)
                if "..." not in words and not any("$" in word for word in words):  # a part, and a loop of the shell
                    yield program, tuple(words)


def overrides(words):
    """The overrides among the words of a command."""
    remaining = iter(words)
    for word in remaining:
        if word in FLAGS:
            [next(remaining) for _ in range(FLAGS[word])]
        else:
            yield word if set("[{") & set(word) else word.split(",")[0]


COMMANDS = sorted(set(documented_commands()))
SUBCOMMANDS = {words[0] for _, words in COMMANDS if words[0] in command_line.SUBCOMMANDS} - {"plan"}


def runs():
    for _, words in COMMANDS:
        if words[0] == "plan":
            yield tuple(overrides(words[1:]))
        elif words[0] not in SUBCOMMANDS and not words[0].startswith("--help"):
            yield tuple(overrides(words))


@pytest.mark.slow
@pytest.mark.parametrize("words", sorted({words for words in runs() if "model.path=7b" not in words}), ids=" ".join)
def test_every_documented_command_composes(words):
    assert settings_of(*words).name in {*experiments(), "train"}


@pytest.mark.parametrize("words", [words for _, words in COMMANDS if words[0] in SUBCOMMANDS], ids=" ".join)
def test_the_arguments_of_every_documented_subcommand_are_accepted(words, tmp_path, monkeypatch):
    """Without the files of the command, the error is about these files and not about the arguments."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^error: .*(no such folder|no region file)"):
        import_module(f"lightning_langcore.cli.{words[0]}").main(words[1:])


def test_guides_and_readme_have_commands():
    assert len(set(runs())) > 40
    assert {"region", "report"} <= SUBCOMMANDS


def test_the_readme_is_short_and_has_its_table():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert text.count("<!-- table: readme -->\n|") == text.count("json`)*\n<!-- end -->") == 1


def anchors(page):
    """The anchors of the headings of a page, as MkDocs and GitHub make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[ -]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            assert file.is_file(), f"{target} does not exist"
            assert not anchor or anchor in anchors(file), f"{target}: no such heading"


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES if page != README)


@pytest.mark.slow
def test_the_script_of_the_guide_runs(tmp_path, monkeypatch, capsys):
    text = (DOCS / "guides" / "script.md").read_text(encoding="utf-8").partition("## A score of your own")[0]
    monkeypatch.chdir(tmp_path)
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), {})
    assert "final" in capsys.readouterr().out


def test_every_public_name_is_in_the_reference():
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference" / "api").glob("*.md"))
    listed = {name.rpartition(".")[2] for name in re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE)}
    for package in ("lightning_langcore", *(f"lightning_langcore.{name}" for name in ("callbacks", "data", "plots"))):
        assert not set(import_module(package).__all__) - listed


def test_the_reference_of_settings_is_that_of_the_models(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "tools")
    made = import_module("settings")
    page = made.PAGE.read_text(encoding="utf-8")
    assert made.with_tables(page) == page, "python docs/tools/settings.py"
    assert page.count("| `region.fraction` | a number in (0, 1]") == 1


def test_every_experiment_is_in_getting_started():
    text = (DOCS / "getting_started.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`python train\.py \+experiment=(\w+)`", text)) == set(experiments())


def test_the_citation_has_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = cited["preferred-citation"]
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert paper["title"] == "Unveiling Linguistic Regions in Large Language Models"
    assert paper["year"] == 2024


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs the extra docs")
def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=environment)
    pages = {page: page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")}
    assert {page.relative_to(DOCS).with_suffix(".html") for page in PAGES if page != README} <= {
        page.relative_to(tmp_path) for page in pages
    }
    for page, text in pages.items():
        assets = re.findall(r'<(?:script|img|iframe)[^>]*src="([^"]+)"|<link[^>]*href="([^"]+)"', text)
        network = [asset for pair in assets for asset in pair if re.match("(https?:)?//", asset)]
        assert not network, page
        assert not re.search(r":(?:math|class|func|meth):`|class=\"arithmatex\"", text), page
    for page, text in pages.items():
        assert "&gt;&gt;&gt;" not in re.sub(r"<pre.*?</pre>", "", text, flags=re.DOTALL), (
            f"{page}: an example is no code"
        )
        assert "<blockquote>" not in text, page
    callbacks = pages[tmp_path / "reference" / "api" / "callbacks.html"]
    for expected in ("lightning_langcore.CoreGuard", "Parameters:", "Raises:", "Example"):
        assert expected in callbacks
    assert "Returns:" in pages[tmp_path / "reference" / "api" / "regions.html"]
    assert "<math" in pages[tmp_path / "methods" / "scores.html"]
