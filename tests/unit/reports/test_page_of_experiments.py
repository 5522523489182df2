"""The page of runs that mix, adapt, repeat and add noise."""

import io

import pytest
from rich.console import Console

from lightning_langcore.reports import page as page_
from lightning_langcore.utils import tables
from tests.support.reports import OLD, family, headings, mix, page_of, reading


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
