"""Mixing, adapting, fine-tuning, epochs, noise and hub text from a command to a result, on a small model."""

import json
import re
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from lightning_langcore.results.record import Results
from tests.support.commands import SAMPLES, SMALL, run

SHORT = ["job.milestones=[0]", "trainer.log_every_n_steps=1"]
TALKS = ["data=sft_files", "data.root=talks", "data.text=text"]
ONE = "hydra.mode=RUN"


@pytest.fixture(scope="module")
def work(work):
    """Two languages of conversations beside the text."""
    (work / "talks").mkdir()
    for lang in ("zh", "en"):
        rows = [{"inputs": f"{SAMPLES[lang].format(i=i)} {i}?", "targets": f"{i + 1}."} for i in range(300)]
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (work / "talks" / f"{lang}.jsonl").write_text(text, encoding="utf-8")
    return work


def go(work, *words, expect=0, name="run"):
    """Run with small settings; the results of the run, or of all runs of a sweep."""
    target = work / name
    text = [] if any("data=" in word for word in words) else ["data=files", "data.root=text"]
    where = [f"hydra.run.dir={target}", f"hydra.sweep.dir={target}", "region.recipe.languages=[es,ru,en]"]
    flags = [word for word in words if word == "-m"]  # it can't stand among the others
    more = [word for word in words if word != "-m"]
    done = run(work, *flags, *text, *SMALL, *SHORT, *where, *more, expect=expect, plain=True)
    if expect:
        return done
    found = sorted(path.parent for path in target.rglob("results.json"))
    return Results.load(found[0]) if len(found) == 1 else [Results.load(path) for path in found]


def parts(results):
    return {(part["source"], part["language"]): part for part in results.data["parts"]}


def test_a_mix_gives_as_many_tokens_as_it_says_and_results_tell_what_was_read(work):
    runs = go(work, "+experiment=mix_ratio", "data.mix_unit=1920", "data.mix.general=0,3", "data.batch_size=3", "-m")
    without, mixed = runs
    assert [(part["source"], part["tokens"]) for part in without.data["parts"]] == [("zh", 1920)]
    assert {key: part["tokens"] for key, part in parts(mixed).items()} == {
        ("zh", "zh"): 1920, ("general", "en"): 1920, ("general", "es"): 1920, ("general", "ru"): 1920,
    }  # fmt: skip
    assert mixed.data["ratio"] == 3
    assert mixed.data["target"] == ["zh"]
    assert all(0 < part["epochs"] <= 1 and part["documents"] > 0 for part in mixed.data["parts"])
    assert [row["stage"] for row in mixed.drift] == ["base", "final"]
    assert mixed.drift[-1]["region"] < mixed.drift[-1]["rest"]  # the core moves less
    page = (mixed.folder.parent / "report.html").read_text(encoding="utf-8")
    assert "What the mix did" in page
    logged = (mixed.folder / "logs" / "metrics.csv").read_text()
    assert "data/tokens/general/es" in logged.splitlines()[0]


def test_a_new_language_is_one_that_the_base_has_not_seen(work):
    old = ["model.base.languages=[en,es,ru]", "data.num_tokens=3200"]
    free = go(work, "+experiment=adapt_free", *old, "data.languages=[zh]", name="free")
    frozen = go(work, "+experiment=adapt_frozen", *old, "data.languages=[zh]", ONE, name="frozen")
    mixed = go(
        work,
        "+experiment=adapt_mixed",
        *old,
        "data.languages=[zh]",
        "data.mix.general=2",
        "data.max_epochs=9",
        name="mixed",
    )
    random = go(
        work, "+experiment=adapt_frozen_random", *old, "data.languages=[zh]", ONE, "region.fraction=0.5", name="random"
    )
    recipes = [json.loads(path.read_text()) for path in (work / "artifacts").glob("base-*/recipe.json")]
    assert [recipe["languages"] for recipe in recipes].count(["en", "es", "ru"]) == 1
    assert free.guard is None
    assert frozen.guard["max_abs_drift"] == random.guard["max_abs_drift"] == 0
    assert frozen.region["kind"] == "core"
    assert random.region["kind"] == "random"
    assert random.region["fraction"] == 0.5
    assert frozen.drift[-1]["region"] == 0 < frozen.drift[-1]["rest"]
    assert {part["language"] for part in mixed.data["parts"]} == set(SAMPLES)
    bits = {row["lang"]: row["bits_per_byte"] for row in free.perplexity if row["stage"] == "base"}
    assert bits["zh"] > max(bits[lang] for lang in ("en", "es", "ru"))
    report = run(work, "report", "free", "frozen", "mixed", "random", "-o", "page.html", plain=True)
    assert "Adapting" in Path(work / "page.html").read_text(encoding="utf-8")
    assert "page.html" in report.stdout


def test_fine_tuning_scores_held_out_answers_and_general_text(work):
    made = go(work, "+experiment=sft", *TALKS, "data.num_tokens=3000", name="sft")
    guarded = go(work, "+experiment=sft_guarded", *TALKS, "data.num_tokens=3000", name="guarded")
    mixed = go(work, "+experiment=sft_mixed", *TALKS, "data.num_tokens=1500", "data.mix.general=2", name="sft_mixed")
    for results in (made, guarded, mixed):
        splits = {(row["split"], row["lang"]) for row in results.perplexity if row["stage"] == "final"}
        answers = {(f"{split}_answers", lang) for split in ("validation", "test") for lang in ("zh", "en")}
        assert splits == answers | {(split, lang) for split in ("validation", "test") for lang in SAMPLES}
    before, after = ({r["lang"]: r["nats_per_token"] for r in made.perplexity if r["split"] == "test_answers"
                      and r["stage"] == stage} for stage in ("base", "final"))  # fmt: skip
    assert all(after[lang] < before[lang] for lang in before)  # a format is learnt at once
    assert guarded.drift[-1]["region"] == 0
    assert {part["kind"] for part in mixed.data["parts"]} == {"conversations", "text"}
    own = sum(part["tokens"] for part in mixed.data["parts"] if part["kind"] == "conversations")
    rest = sum(part["tokens"] for part in mixed.data["parts"] if part["kind"] == "text")
    assert rest / own == pytest.approx(2, rel=0.1) == mixed.data["ratio"]


def test_epochs_repeat_the_same_documents(work):
    sweep = ["data.epochs=1,3", "callbacks=default,guarded"]
    runs = go(work, "-m", "+experiment=pretrain_epochs", "data.num_documents=60", *sweep, name="epochs")
    told = {(run.data["asked"]["epochs"], run.guard is not None): run.data["parts"][0]["tokens"] for run in runs}
    assert set(told) == {(1, False), (1, True), (3, False), (3, True)}
    assert all(0.9 * run.data["asked"]["epochs"] < run.data["epochs"] <= run.data["asked"]["epochs"] for run in runs)
    assert told[3, True] == told[3, False] > 2.5 * told[1, False]
    assert "What epochs did" in (work / "epochs" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("experiment", "more"),
    [
        ("noise_repeat", ["noise.length=40"]),
        ("noise_nonword", ["noise.length=40"]),
        ("noise_instruction", TALKS),
    ],
)
def test_noise_comes_in_its_window_and_is_tagged(work, experiment, more):
    made = go(
        work, f"+experiment={experiment}", ONE, *more, "noise.rate=0.5", "data.num_tokens=7680", "data.max_epochs=9",
        "callbacks.noise_sensitivity.max_consecutive=1000", name=experiment,
    )  # fmt: skip
    assert made.data["noise"]["rate"] == 0.5
    assert made.data["noise"]["window"] == [0.333, 0.667]
    monitor = made.monitor
    assert monitor["action"] == "log"
    assert monitor["num_tagged"] > 5
    lines = (made.folder / "flagged.jsonl").read_text().splitlines() if monitor["num_flagged"] else []
    assert len(lines) == monitor["num_flagged"]
    if experiment == "noise_repeat":
        assert monitor["recall"] > 0.6
        flagged = [json.loads(line) for line in lines]
        steps = monitor["num_steps"]
        assert all(0.3 * steps < flag["step"] < 0.72 * steps for flag in flagged if "repetition" in flag["reasons"])
        tags = {about.get("tag") for flag in flagged for about in flag["documents"]}
        assert "repeat:40" in tags


def test_a_run_that_the_monitor_stops_is_not_a_completed_one(work):
    made = go(
        work, "+experiment=noise_repeat", ONE, "noise.rate=1", "data.num_tokens=7680", "data.max_epochs=9",
        "callbacks.noise_sensitivity.action=stop", name="stopped",
    )  # fmt: skip
    assert made.status == "interrupted"
    step = int(re.search(r"stopped the training before step (\d+)", made.error)[1])
    flagged = [json.loads(line) for line in (made.folder / "flagged.jsonl").read_text().splitlines()]
    assert [flag["step"] for flag in flagged] == [step] == [made.monitor["num_steps"]]
    assert made.data["course"][-1]["share"] == pytest.approx(step / 60, abs=0.02)


def test_a_resumed_run_tells_the_same_as_one_that_was_not_interrupted(work):
    common = ["+experiment=noise_repeat", ONE, "data.num_tokens=7680", "data.max_epochs=9", "job.milestones=[0,20,60]"]
    often = ["callbacks.checkpoint.every_n_train_steps=10", "callbacks.checkpoint.save_top_k=-1"]
    whole = go(work, *common, *often, "noise.rate=0.3", name="whole")
    kept = next((whole.folder / "checkpoints").glob("*step=40.ckpt"))
    resumed = go(work, *common, "noise.rate=0.3", f"job.ckpt_path='{kept}'", name="resumed")
    assert resumed.perplexity == whole.perplexity
    assert resumed.drift == whole.drift
    assert resumed.data == whole.data
    assert resumed.monitor == whole.monitor
    other = go(work, *common, "noise.rate=0", f"job.ckpt_path='{kept}'", expect=1, name="other")
    assert "other text" in other.stderr


def test_the_monitor_that_only_logs_leaves_the_trained_weights_bit_for_bit(work):
    common = ["data.num_tokens=3200", "data.languages=[zh]", "trainer.accumulate_grad_batches=2"]
    go(work, *common, name="plain")
    go(work, *common, "callbacks=[default,noise_sensitivity]", name="watched")
    plain, watched = (load_file(work / name / "model" / "model.safetensors") for name in ("plain", "watched"))
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


@pytest.mark.parametrize("way", [["data.streaming=true"], ["data.streaming=false"], ["data.on_the_fly=true"]])
def test_a_dataset_laid_out_as_on_the_hub_is_trained_on(work, way):
    root = work / "hub"
    if not root.exists():
        lines = ["---", "configs:"]
        for lang, text in SAMPLES.items():
            (root / lang).mkdir(parents=True)
            for shard in range(2):
                rows = [{"text": text.format(i=i), "id": i} for i in range(shard, 400, 2)]
                Dataset.from_list(rows).to_parquet(root / lang / f"train-{shard}.parquet")
            lines += [f"- config_name: wiki.{lang}", f"  data_files: {lang}/*.parquet"]
        (root / "README.md").write_text("\n".join([*lines, "---", ""]))
    configs = ", ".join(f"{lang}: wiki.{lang}" for lang in SAMPLES)
    hub = ["data=hub", "data.path=hub", f"data.configs={{{configs}}}", "data.shuffle_buffer=50"]
    made = go(work, *hub, *way, "data.languages=[zh,es]", "data.num_tokens=3200", name=way[0].replace("=", "-"))
    assert {part["language"] for part in made.data["parts"]} == {"zh", "es"}
    assert sum(part["tokens"] for part in made.data["parts"]) == 3200 // (64 * 8) * (64 * 8)
    assert made.status == "completed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["data.mix={xx: 1}"],
            r"data\.mix names 'xx', which is not a source; available sources: en, es, ru, zh, target, general",
        ),
        (["data.mix={zh: -1}"], r"data\.mix\.zh=-1 must be a number \(relative weight in tokens\)"),
        (["data.mix={zh: 1}", "data.epochs=2"], r"data\.epochs=2 counts passes over one text"),
        (["data.mix_unit=100"], r"data\.mix_unit=100 .* there is none"),
        (["data.epochs=0"], r"data\.epochs=0 must be null, or a whole number of at least 1"),
        (["task=sft"], r"task=sft needs conversations"),
        (["noise=instruction"], r"noise=instruction changes the instructions of conversations"),
        (["noise=repeat", "noise.window=[0.5,0.2]"], r"noise\.window=\[0\.5, 0\.2\] must be two ascending shares"),
        (["noise=repeat", "noise.rate=2"], r"noise\.rate=2 must be a share"),
        (["data.on_the_fly=true", "noise=repeat"], r"data\.on_the_fly=true .* does not support noise"),
        (["data.num_tokens=10_000_000"], r"data\.num_tokens=10000000 is [\d.]+ epochs of"),
        (["data.mix=[zh]"], r"data\.mix=\['zh'\] must be null, or the tokens of each entry"),
        (["data.repetition.max_repeats=1"], r"data\.repetition\.max_repeats=1 must be .* at least 2"),
        (["data.general=[zh]"], r"data\.general=\['zh'\] has no meaning without `general`"),
        (["trainer.strategy=deepspeed_stage_3"], r"strategy=deepspeed_stage_3 holds weights in .*fsdp2"),
        (["trainer.strategy=fsdp"], r"strategy=fsdp holds weights in flat or private buffers, .* use trainer=fsdp2"),
        (["trainer=fsdp2", "optimizer=adamw8bit"], r"AdamW8bit does not support the shards of trainer=fsdp2: use"),
        (["trainer.precision=16-mixed"], r"trainer\.precision=16-mixed needs a GPU, .* trainer\.precision=bf16-mixed"),
        (["trainer.strategy=ddp_spawn"], r"trainer\.strategy=ddp_spawn trains in processes whose results are lost"),
        (
            ["callbacks=[default,noise_sensitivity]", "callbacks.noise_sensitivity.action=foo"],
            r"NoiseSensitivity: action='foo' must be one of",
        ),
        (["model.base.languages=[xx]"], r"model\.base\.languages: the language 'xx' is not in the data"),
    ],
)
def test_what_can_not_be_honoured_is_one_sentence(work, words, message):
    done = go(work, *words, expect=1, name="refused")
    error = done.stderr[done.stderr.index("error: ") :]
    assert re.search(message, error), error
    assert "Traceback" not in done.stderr
    assert len([line for line in error.splitlines() if line]) == 1


def test_a_broken_line_of_conversations_is_named(work):
    (work / "broken").mkdir()
    (work / "broken" / "zh.jsonl").write_text('{"inputs": "a", "targets": "b"}\n{"inputs": \n')
    done = go(
        work, "task=sft", "data=sft_files", "data.root=broken", TALKS[2], expect=1, name="broken_run",
    )  # fmt: skip
    assert re.search(r"zh\.jsonl, line 2 is not JSON", done.stderr)
