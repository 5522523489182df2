import base64
import io
import json
import math
import sys
from html.parser import HTMLParser

import pytest
from cli_helpers import run as run_command
from rich.console import Console

from lightning_langcore.reports import config_diff, console
from lightning_langcore.reports import page as page_
from lightning_langcore.reports.sections.perplexity import perplexity_table
from lightning_langcore.results import cost_of_freezing, number_format
from lightning_langcore.results.record import Results
from lightning_langcore.utils import tables

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that tags balance; collects the text, the tables' cells, sources and links."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.sources, self.links, self.rows = [], "", [], [], []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name == "src"]
        self.links += [value for name, value in attrs if name == "href"]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "br" and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += " "

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def make(folder, kind="core", frozen=True, seed=0, values=None, samples=1000, method="reinit"):
    """``values``: by language the nats of base, perturbed, an inner milestone, final; shorter is unfinished."""
    region = {"kind": kind, "fraction": 0.05, "num_weights": 39321} if kind else None
    run = Results(
        folder, experiment="recovery", seed=seed, model={"name": "tiny", "num_weights": 1053824}, region=region
    )
    run.guard = {"num_frozen": 39321, "max_abs_drift": 0.0} if frozen else None
    places = (("base", 0), ("perturbed", 0), ("training", 100), ("final", samples))
    for lang, nats in (values or {"zh": (2.0, 7.0, 4.0, 3.0)}).items():
        for (stage, count), value in zip(places, nats, strict=False):
            if value is not None:
                place = {
                    "stage": stage,
                    "samples": count,
                    "lang": lang,
                    "split": "test",
                    "seed": seed,
                    "method": method,
                }
                measured = {"nats_per_token": value, "bits_per_byte": 1.0, "num_tokens": 10, "num_bytes": 30}
                run.add(place | measured)
    run.status = "completed"
    return run


def family(folder, finals, lang="zh"):
    """``finals``: (kind, frozen, seed) -> final nats."""
    return [
        make(folder / f"{kind}_{frozen}_{seed}", kind, frozen, seed, {lang: (2.0, 7.0, 4.0, nats)})
        for (kind, frozen, seed), nats in finals.items()
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.919, "5.92"), (5.9, "5.90"), (359.7, "360"), (13.94, "13.9"), (999.4, "999"), (999.6, "1,000"),
        (200278.6, "200,279"), (376079936.0, "376,079,936"), (1.23e12, "1.2e+12"), (0.01234, "0.0123"),
        (math.inf, "∞"), (math.nan, "∞"), (None, "–"),
    ],
)  # fmt: skip
def test_number(value, text):
    assert number_format.number(value) == text


def test_price_is_paired_by_seed(tmp_path):
    finals = {("core", True, 0): 4.0, ("core", False, 0): 2.0, ("core", True, 1): 3.5, ("core", False, 1): 2.5}
    finals |= {("core", True, 2): 9.0}  # no free partner
    finals |= {("random", True, 0): 2.25, ("random", False, 0): 2.0}
    core, random, against = cost_of_freezing.cost_of_freezing(family(tmp_path, finals))
    assert (core.region, core.lang, core.nats) == ("core", "zh", {0: 2.0, 1: 1.0})
    assert (core.mean, core.low, core.high) == (1.5, 1.0, 2.0)
    assert core.ratio == pytest.approx(4.481689, rel=1e-6)
    assert core.text() == (
        "zh, core, frozen against free: 4.48 times (2.72–7.39);"
        " frozen ends higher than free; 2 seeds agree on the direction"
    )
    assert (random.region, random.nats) == ("random", {0: 0.25})
    assert "one seed" in random.text()
    assert (against.comparison, against.nats) == ("core minus random", {0: 1.75})
    assert "freezing core costs more than freezing random" in against.text()


@pytest.mark.parametrize(
    ("frozen", "words", "direction"),
    [(2.5, "higher than", 1), (2.0, "the same", 0), (2.009, "the same", 0), (1.5, "lower than", -1)],
)
def test_price_reads_either_way(tmp_path, frozen, words, direction):
    (cost,) = cost_of_freezing.cost_of_freezing(family(tmp_path, {("core", True, 0): frozen, ("core", False, 0): 2.0}))
    assert cost.direction == direction
    assert words in cost.reading()
    assert words in cost_of_freezing.summary([cost])


def test_price_says_when_seeds_disagree(tmp_path):
    finals = {("core", True, 0): 3.0, ("core", False, 0): 2.0, ("core", True, 1): 1.9, ("core", False, 1): 2.0}
    (cost,) = cost_of_freezing.cost_of_freezing(family(tmp_path, finals))
    assert "2 seeds disagree" in cost.reading()
    assert "In 1 the seeds disagree" in cost_of_freezing.summary([cost])


def test_price_is_empty_where_an_arm_is_missing_or_unequal(tmp_path):
    assert cost_of_freezing.cost_of_freezing([]) == []
    assert cost_of_freezing.cost_of_freezing([make(tmp_path)]) == []
    unequal = [make(tmp_path), make(tmp_path, frozen=False, samples=900)]
    assert cost_of_freezing.cost_of_freezing(unequal) == []
    unfinished = [make(tmp_path), make(tmp_path, frozen=False, values={"zh": (2.0, 7.0, 4.0)})]
    assert cost_of_freezing.cost_of_freezing(unfinished) == []
    both = {"zh": (2.0, 7.0, 4.0, math.inf)}
    assert (
        cost_of_freezing.cost_of_freezing([make(tmp_path, values=both), make(tmp_path, frozen=False, values=both)])
        == []
    )


def test_price_with_an_infinite_side_is_infinite(tmp_path):
    runs = family(tmp_path, {("core", True, 0): math.inf, ("core", False, 0): 2.0})
    (cost,) = cost_of_freezing.cost_of_freezing(runs)
    assert number_format.number(cost.ratio) == "∞"
    assert cost.direction == 1
    page_.write_html(runs, tmp_path / "report.html")


def test_without_damage_any_free_run_is_the_partner(tmp_path):
    frozen = make(tmp_path, "core", values={"zh": (2.0, None, 2.0, 1.9)}, method=None)
    control = make(tmp_path, "random", values={"zh": (2.0, None, 2.0, 1.6)}, method=None)
    free = make(tmp_path, None, frozen=False, values={"zh": (2.0, None, 2.0, 1.5)}, method=None)
    costs = cost_of_freezing.cost_of_freezing([frozen, control, free])
    assert [(cost.comparison, cost.nats[0]) for cost in costs] == [
        ("core, frozen against free", pytest.approx(0.4)),
        ("random, frozen against free", pytest.approx(0.1)),
        ("core minus random", pytest.approx(0.3)),
    ]


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


def grid(folder, variants=("core", "random", "peripheral"), fractions=(0.01, 0.05), experiment="perturb_core"):
    """A run of the perturbation job: nothing trained."""
    run = Results(folder, experiment=experiment, seed=0, model={"name": "tiny"}, region={"score": "taylor"})
    plain = {"samples": 0, "split": "test", "seed": 0, "bits_per_byte": 1.0, "num_tokens": 9, "num_bytes": 20}
    for lang in ("zh", "en"):
        run.add({**plain, "stage": "base", "lang": lang, "nats_per_token": math.log(5)})
        for place, (variant, fraction) in enumerate((v, f) for v in variants for f in fractions):
            about = {"stage": "perturbed", "variant": variant, "fraction": fraction, "method": "set", "strength": 2.0}
            run.add({**plain, **about, "lang": lang, "nats_per_token": math.log(10 + place)})
    run.status = "completed"
    run.write()
    return run


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


def reading(folder, experiment, finals, seed=0, kind=None, fraction=None, during=None, split="test", **data):
    """A run on zh from an intact base: ``finals`` and ``during`` (at 400 of 1000 documents) are nats above it."""
    region = {"kind": kind, "fraction": fraction} if kind else None
    run = Results(folder, experiment=experiment, seed=seed, model={"name": "tiny"}, region=region)
    run.guard = {"num_frozen": 9, "max_abs_drift": 0.0} if kind else None
    part = {"source": "zh", "language": "zh", "kind": "text", "tokens": 9000, "epochs": 0.5, "documents": 90}
    run.data = {"target": ["zh"], "parts": [part], "epochs": 0.5} | data
    places = [("base", 0, dict.fromkeys(finals, 0.0)), ("training", 400, during), ("final", 1000, finals)]
    for stage, samples, above in places:
        for lang, nats in (above or {}).items():
            place = {"stage": stage, "samples": samples, "lang": lang, "split": split, "seed": seed}
            measured = {"nats_per_token": 3 + nats, "bits_per_byte": 2 + nats / 2, "num_tokens": 9, "num_bytes": 30}
            run.add(place | measured)
    run.status = "completed"
    return run


def mix(folder, others=(0.6, 0.1)):
    """``others``: nats that en and ar lose without general text and with five times as much."""
    runs = []
    for ratio, above in zip((0.0, 5.0), others, strict=True):
        runs.append(reading(folder / f"{ratio}", "mix_ratio", {"zh": -1.0, "en": above, "ar": above}, ratio=ratio))
        general = {"source": "general", "kind": "text", "tokens": int(9000 * ratio / 2), "documents": 40, "epochs": 0.1}
        runs[-1].data["parts"] += [general | {"language": lang} for lang in ("en", "ar")] if ratio else []
    return runs


def page_of(runs, folder):
    return Page(page_.write_html(runs, folder / "page.html").read_text(encoding="utf-8"))


NEW = ("Adapting: gain against loss", "What the mix did", "What epochs did", "What noise did", "The text that was read")
OLD = ("Frozen against free", "The cost of freezing", "Recovery", "Damage before training")


def headings(page):
    return [title for title in (*NEW, *OLD, "Language by language") if title in page.text]


def test_page_of_a_mix(tmp_path):
    page = page_of(mix(tmp_path), tmp_path)
    assert headings(page) == ["What the mix did", "The text that was read", "Language by language"]
    assert (
        "The other languages' perplexity ends at 1.822 times the base's without general text"
        " and 1.105 with 5 times as much." in page.text
    )
    assert ["no region, free", "0", "0.368", "1.822", "0.500", "1"] in page.rows
    assert ["", "5", "0.368", "1.105", "0.500", "1"] in page.rows
    assert ["mix_ratio", "general x5", "1", "target", "text", "zh", "9,000", "90", "0.500", "0", "0"] in page.rows
    assert ["", "", "", "general", "text", "en ar", "45,000", "80", "0.100", "", ""] in page.rows
    assert "The runs read 9,000 to 54,000 tokens each, the target for up to 0.500 epochs." in page.text
    assert len(page.sources) == 2  # against the ratio, and every language


def test_sentences_are_true_either_way(tmp_path):
    page = page_of(mix(tmp_path, others=(-0.2, 0.3)), tmp_path)
    assert "ends at 0.819 times the base's without general text and 1.350 with 5 times as much." in page.text


def test_page_of_adapting(tmp_path):
    runs = [reading(tmp_path / "free", "adapt_free", {"zh": -1.0, "en": 0.4, "ar": 0.8})]
    for place, (fraction, loss) in enumerate(((0.01, 0.5), (0.5, -0.1))):
        finals = {"zh": -0.6, "en": loss, "ar": loss}
        runs.append(reading(tmp_path / f"{place}", "adapt_frozen", finals, kind="core", fraction=fraction))
    page = page_of(runs, tmp_path)
    assert headings(page) == ["Adapting: gain against loss", "The text that was read", "Language by language"]
    assert (
        "Adapting to zh, in bits per byte: no region, free gains 0.500 and costs the others 0.300; it costs them least"
        " with core, frozen at 50 %, −0.0500 for a gain of 0.300." in page.text
    )
    assert ["core, frozen", "50 %", "0.300", "-0.0500", "0.549", "0.905", "1"] in page.rows
    assert ["no region, free", "–", "0.500", "0.300", "0.368", "1.822", "1"] in page.rows


def test_page_of_epochs(tmp_path):
    runs = []
    for epochs in (1.0, 10.0):
        during = {"zh": -0.8, "en": -0.8} if epochs > 1 else None
        finals = {"zh": -0.5 + 0.1 * epochs, "en": 0.1 * epochs}
        runs.append(reading(tmp_path / f"{epochs}", "sft_epochs", finals, during=during, epochs=epochs))
        for row in [row for row in runs[-1].perplexity if row["lang"] == "zh"]:
            measured = {key: value for key, value in row.items() if key != "ppl"}
            runs[-1].add(measured | {"split": "validation_answers"})
        runs[-1].drift = [{"stage": "final", "samples": 1000, "region": 0.01 * epochs, "rest": 0.1 * epochs}]
    page = page_of(runs, tmp_path)
    assert headings(page) == ["What epochs did", "The text that was read", "Language by language"]
    assert (
        "The other languages' perplexity ends at 1.105 times the base's after 1 epoch and 2.72 after 10 epochs;"
        " of 10 epochs, validation is best after 4.00." in page.text
    )
    assert ["", "10", "1.649", "2.72", "10 %", "100 %", "4.00", "1"] in page.rows
    assert len(page.sources) == 4  # perplexity, drift, validation, every language


def noisy(folder):
    runs = []
    for seed in (0, 1):
        for rate in (0.0, 0.2):
            noise = {"kind": "repeat", "rate": rate, "length": 64, "window": [0.2, 0.5]} if rate else None
            finals, during = {"zh": rate, "en": rate}, {"zh": 3 * rate, "en": 5 * rate}
            run = reading(folder / f"{seed}{rate}", "noise_repeat", finals, seed, during=during, noise=noise)
            tagged = 100 if rate else 0
            run.monitor = {
                "num_steps": 600, "num_flagged": tagged * 9 // 10 + 3, "num_skipped": 0, "num_tagged": tagged,
                "num_caught": tagged * 9 // 10, "num_clean_steps": 600 - tagged, "num_false_alarms": 3,
            }  # fmt: skip
            lines = [
                ("model.layers.0.mlp.up_proj.weight", "row", 7, 0.5 + 0.2 * seed, 7.0 + 2 * seed),
                ("model.norm.weight", "weight", seed, 0.9 - 0.8 * seed, 3.0 + seed),
            ]
            run.moved = [dict(zip(("name", "axis", "index", "relative", "ratio"), line, strict=True)) for line in lines]
            runs.append(run)
    return runs


def test_page_of_noise(tmp_path):
    page = page_of(noisy(tmp_path), tmp_path)
    assert headings(page) == ["What noise did", "The text that was read", "Language by language"]
    assert (
        "The other languages' perplexity ends at 1.000 times the base's without noise and 1.221 with repeat noise in"
        " 20 % of the documents; with 20 %, all languages' is at worst 2.23 times the base's and does not come back to"
        " within 1 % of the clean run; the monitors caught 90 % of"
        " 200 documents with noise and flagged, falsely, 6 of 1,000 clean steps." in page.text
    )
    assert ["no region, free", "0 %", "1.000", "1.000", "1.000", "–", "2"] in page.rows
    assert ["", "20 %", "1.221", "1.221", "2.23", "never", "2"] in page.rows
    caught = ["no region, free", "20 %", "1,200", "200", "180", "186", "0", "90 %", "96.8 %", "0.6 %"]
    assert caught in page.rows
    assert ["no region, free", "0 %", "1,200", "0", "0", "6", "0", "–", "–", "0.5 %"] in page.rows
    assert "documents until back within 1 % of the clean run" in page.text
    assert "rows masked" not in page.text
    assert ["en", "– / 2.72 / 1.221"] in page.rows, "the intact base is not what the noise began from"
    moved = [row for row in page.rows if row[:2] == ["no region, free", "20 %"] and len(row) == 7]
    up = ["model.layers.0.mlp.up_proj.weight", "row 7", "60 %", "8.00", "2 of 2"]
    assert [row[2:] for row in moved] == [
        up,
        ["model.norm.weight", "weight 1", "10 %", "4.00", "1 of 2"],
        ["model.norm.weight", "weight 0", "90 %", "3.00", "1 of 2"],
    ]
    assert "The rows, columns and weights of norms that moved most, over the mean of their own parameter" in page.text
    assert len(page.sources) == 3  # against the dose, over time, every language


def test_a_line_counts_what_its_own_monitors_saw(tmp_path):
    runs = noisy(tmp_path)
    for run in noisy(tmp_path / "guarded"):
        run.region, run.guard = {"kind": "core", "fraction": 0.05}, {"num_frozen": 9, "max_abs_drift": 0.0}
        run.monitor["num_caught"] = 0
        runs.append(run)
    page = page_of(runs, tmp_path)
    assert "caught 90 % of 200 documents with noise and flagged, falsely, 6 of 1,000 clean steps" in page.text
    assert page.text.count("the monitors caught") == 1


def test_rows_that_a_monitor_masked_are_shown_where_there_are_some(tmp_path, capsys):
    runs = noisy(tmp_path)
    page_.print_table(runs)
    assert "masked" not in capsys.readouterr().out
    for run in runs:
        noise = bool(run.data["noise"])
        run.monitor |= {"action": "skip", "num_masked_rows": 7 * noise, "num_skipped": 2 * noise}
    page = page_of(runs, tmp_path)
    caught = ["no region, free", "20 %", "1,200", "200", "180", "186", "4", "14", "90 %", "96.8 %", "0.6 %"]
    assert next(row for row in page.rows if "rows masked" in row)[7] == "rows masked"
    assert caught in page.rows
    assert "A step whose rows are all masked counts as skipped." in page.text
    page_.print_table(runs)
    out = capsys.readouterr().out
    (row,) = [line.replace("│", " ").split() for line in out.splitlines() if "96.8 %" in line]
    assert row[-10:] == ["1,200", "186", "4", "14", "90", "%", "96.8", "%", "0.6", "%"]
    assert "A step whose rows are all masked counts as skipped." in out


def test_a_run_that_did_not_leave_is_told_so(tmp_path, capsys):
    runs = noisy(tmp_path)
    for run in runs:
        for row in run.perplexity:
            row["nats_per_token"] = 3.0
    page = page_of(runs, tmp_path)
    assert (
        "all languages' is at worst 1.000 times the base's and did not leave the clean run by more than 1 %"
        in page.text
    )
    assert ["", "20 %", "1.000", "1.000", "1.000", "did not leave", "2"] in page.rows
    page_.print_table(runs)
    out = " ".join(capsys.readouterr().out.split())
    assert "documents until back within 1 % of the clean run" in out


def test_recovery_without_a_clean_run_is_from_the_value_before_the_noise(tmp_path, capsys):
    (run,) = noisy(tmp_path)[1:2]
    place = {"stage": "training", "samples": 150, "split": "test", "seed": 0, "bits_per_byte": 1.0}
    for lang in ("zh", "en"):
        run.add(place | {"lang": lang, "nats_per_token": 3.2, "num_tokens": 9, "num_bytes": 30})
    text = page_of([run], tmp_path).text
    assert "and is back within 1 % of the value before the noise 500 documents after the noise" in text
    assert "documents until back within 1 % of the value before the noise" in text
    page_.print_table([run])
    assert "back within 1 % of the value before the noise" in " ".join(capsys.readouterr().out.split())


def test_a_run_that_its_monitor_stopped_is_named_and_compared_with_nothing(tmp_path, capsys):
    runs = noisy(tmp_path)[:2]
    runs[1].status, runs[1].error = "interrupted", "NoiseSensitivity stopped the training before step 9"
    runs[1].data["course"] = [{"samples": 1000, "share": 0.4}]
    page = page_of(runs, tmp_path)
    assert headings(page) == ["Adapting: gain against loss", "The text that was read", "Language by language"]
    assert "NoiseSensitivity stopped the training before step 9" in page.text
    assert "1 of 2 runs did not finish" in page.text
    assert "20 %" not in page.text.partition("The text that was read")[0]
    page_.print_table(runs)
    assert "20 %" not in capsys.readouterr().out
    page_.print_table(runs[1:])
    assert "1 of 1 runs did not finish" in capsys.readouterr().out


def test_after_conversations_answers_come_first_and_the_rest_is_general_text(tmp_path, capsys):
    parts = [{"source": "conversations", "language": "zh", "kind": "conversations", "tokens": 9}]
    runs = []
    for epochs in (1.0, 3.0):
        run = reading(tmp_path / f"{epochs}", "sft_epochs", {"zh": 0.1 * epochs}, epochs=epochs, parts=parts)
        for row in list(run.perplexity):
            measured = {key: value for key, value in row.items() if key != "ppl"}
            measured["nats_per_token"] -= 0.3 * epochs * (row["stage"] == "final")
            run.add(measured | {"split": "test_answers"})
        runs.append(run)
    page = page_of(runs, tmp_path)
    assert (
        "The perplexity of held-out answers ends at 0.819 times the base's after 1 epoch and 0.549 after 3 epochs;"
        " that of general text ends at 1.105 times the base's after 1 epoch and 1.350 after 3 epochs" in page.text
    )
    assert "trained on" not in page.text
    assert ["region and text", "epochs", "answers", "general text", "seeds"] in page.rows
    assert ["", "3", "0.549", "1.350", "1"] in page.rows
    page_.print_table(runs)
    head = capsys.readouterr().out
    assert head.index("answers") < head.index("general")
    page_.print_table([*runs, *mix(tmp_path)])
    assert "trained on / general text" in " ".join(capsys.readouterr().out.replace("┃", " ").split())


def test_a_recovery_that_knows_its_text_has_the_sections_of_one_that_does_not(tmp_path):
    finals = {("core", frozen, 0): nats for frozen, nats in ((True, 4.0), (False, 3.0))}
    texts = []
    for known in (False, True):
        runs = family(tmp_path, finals)
        for run in runs:
            run.data = {"target": ["zh"], "epochs": 0.5, "parts": [{"tokens": 9, "language": "zh"}]} if known else None
        page = page_of(runs, tmp_path)
        texts.append(page)
    assert headings(texts[0]) == list(OLD)
    assert headings(texts[1]) == ["The text that was read", *OLD]
    assert texts[1].text.startswith(texts[0].text[: texts[0].text.index("Damage before")])
    assert len(texts[0].sources) == len(texts[1].sources) == 2


def test_old_and_new_runs_share_a_page(tmp_path):
    runs = [*family(tmp_path, {("core", True, 0): 4.0, ("core", False, 0): 3.0}), *mix(tmp_path)]
    page = page_of(runs, tmp_path)
    assert headings(page) == ["What the mix did", "The text that was read", *OLD, "Language by language"]
    assert ["zh", "core, frozen", "7.39", "1,097", "54.6", "1"] in page.rows
    assert ["zh", "no region, free (plain)", "20.1", "7.39", "1"] in page.rows


def test_one_run_of_a_new_kind_is_a_page(tmp_path):
    runs = [mix(tmp_path)[1], noisy(tmp_path)[1]]
    page = page_of([runs[0]], tmp_path)
    assert "ends at 1.105 times the base's with 5 times as much general text." in page.text
    page = page_of([runs[1]], tmp_path)
    assert "ends at 1.221 times the base's with repeat noise in 20 % of the documents" in page.text
    runs[1].perplexity = [row for row in runs[1].perplexity if row["stage"] != "final"]
    runs[1].status = "interrupted"
    assert "at 400, unfinished" in page_of([runs[1]], tmp_path).text


def test_runs_that_are_named_as_averaged_differ_in_nothing_that_is_told(tmp_path):
    runs = [reading(tmp_path / name, "adapt_free", {"zh": -1.0, "en": 0.1}, target=[name]) for name in ("zh", "en")]
    assert "averaged" not in page_of(runs, tmp_path).text
    runs.append(reading(tmp_path / "again", "adapt_free", {"zh": -1.0, "en": 0.1}))
    assert "configs may differ in other ways: #1, #3." in page_of(runs, tmp_path).text


@pytest.mark.parametrize("width", [60, 120])
def test_effects_fit_the_terminal_and_nothing_is_cut(tmp_path, monkeypatch, width):
    out = io.StringIO()
    terminal = Console(width=width, file=out, force_terminal=True, color_system=None)
    monkeypatch.setattr(tables, "console", lambda: terminal)
    runs = [*mix(tmp_path), *noisy(tmp_path)]
    page_.print_table(runs)
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    cells = " ".join(" ".join(line.replace("│", " ").split()) for line in text.splitlines())
    for part in ("0.368", "1.822", "1.105", "trained", "on zh", "others", "recall", "90 %", "0.6 %", "back", "answers"):
        assert (part in cells) == (part != "answers"), part
    assert ("steps" in cells) == (width > 100)
    assert "perturbed" not in cells
    assert "mix_ratio" in cells, "two experiments without noise or general text are not one"


def test_many_arms_are_not_told_language_by_language(tmp_path, capsys):
    runs = [
        reading(tmp_path / f"{n}", "adapt_frozen", {"zh": -1.0, "en": 0.1}, kind="core", fraction=n / 100)
        for n in range(1, 8)
    ]
    page_.print_table(runs[:6])
    assert "20.1" in capsys.readouterr().out
    page_.print_table(runs)
    out = capsys.readouterr().out
    assert "20.1" not in out
    assert "core, frozen (7 %)" in out
