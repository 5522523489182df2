"""One weight changed at a time: perplexities against transformers' own loss, greedy text against argmax, undo exact."""

import csv
import math
import re
from collections import Counter

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lightning_langcore.data import FileSource, Splitter
from lightning_langcore.models import loading
from lightning_langcore.results.record import Results
from tests.support.commands import SAMPLES, run

NORM = "model.layers.{}.input_layernorm.weight"
DOWN = "model.layers.{}.mlp.down_proj.weight"
COMMON = ["+experiment=perturb_dimension", "data.block_size=128", "job.num_new_tokens=5"]
FEW = ["job.set=[0,1]", "job.scale=[4]", "job.grid=[0,2.5]"]
BELOW = "largest, below the criterion"


@pytest.fixture(scope="module")
def work(fresh_work):
    return fresh_work  # a base of other blocks


@pytest.fixture(scope="module")
def auto(work):
    """A run on the small model as it is, and the model that the job held, as it left it."""
    held = []
    load = loading.load_model

    def keep(*arguments, **more):
        held.append(load(*arguments, **more))
        return held[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load_model", keep)
        done = run(work, *COMMON, *FEW, "hydra.run.dir=auto", pictures=True)
    return done, Results.load(work / "auto"), held[-1]


def plant(work, folder, dimensions):
    """The small model with massive dimensions, made by its begin token, saved beside its tokenizer."""
    model, tokenizer = base_of(work)
    model.config.tie_word_embeddings = False  # or the head would have it too
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with torch.no_grad():
        model.model.embed_tokens.weight[tokenizer.bos_token_id, dimensions] = 3000.0
    loading.save(model, tokenizer, work / folder)
    return ["model=hub", f"model.path=./{folder}"]


def base_of(work):
    (folder,) = [p for p in (work / "artifacts").glob("base-*") if p.is_dir()]
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def documents(work, lang):
    splitter = Splitter(test=0.05, validation=0.05, pools={"base": 5, "locate": 2, "run": 3})
    source = FileSource(work / "text", "line", "text", work / "artifacts" / "datasets")
    return splitter.texts(source, lang, "test")


def nats_per_token(model, tokenizer, texts, num_tokens=300):
    """Whole documents until there are enough tokens, each after the begin token, by transformers' own loss."""
    nats, count = 0.0, 0
    for text in texts:
        if count >= num_tokens:
            break
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
        assert ids.shape[1] <= 129, "longer documents would be cut into windows"
        with torch.no_grad():
            nats += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return nats / count


def greedy(model, tokenizer, prompt, num_tokens):
    ids = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    start = len(ids)
    while len(ids) < start + num_tokens and ids[-1] != tokenizer.eos_token_id:
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return tokenizer.decode(ids[start:], clean_up_tokenization_spaces=False)


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def parsed(target):
    name, _, place = target.removesuffix("]").partition("[")
    return name, [int(n) for n in place.split(",")]


def roles(folder):
    return {row["variant"]: row["role"] for row in table(folder / "generations.csv")}


def test_every_target_gets_every_change_once(auto, work):
    _, results, _ = auto
    assert results.status == "completed"
    assert {row["stage"] for row in results.perplexity[: len(SAMPLES)]} == {"base"}
    assert all("variant" not in row for row in results.perplexity[: len(SAMPLES)])
    changes = [("set", 0.0), ("set", 1.0), ("set", 2.5), ("scale", 4.0)]
    targets = list(roles(work / "auto"))[1:]
    expected = [(t, *change, lang) for t in targets for change in changes for lang in SAMPLES]
    rows = results.perplexity[len(SAMPLES) :]
    assert Counter((r["variant"], r["method"], r["strength"], r["lang"]) for r in rows) == Counter(expected)
    assert not any("fraction" in row for row in rows)
    assert {row["seed"] for row in rows} == {0}


def test_a_small_model_without_outliers_says_so(auto, work):
    done, results, _ = auto
    (note,) = results.notes
    assert note.startswith("no massive activation: the largest is |h| ")
    assert "; no super weight: the best candidate model.layers." in note
    assert note in done.stderr
    told = [role for name, role in roles(work / "auto").items() if name != "base"]
    assert told == [BELOW, "control"] * 3
    assert {row["meets_criterion"] for row in table(work / "auto/dimensions.csv")} == {"false"}


def test_targets_are_the_largest_and_controls_that_differ(auto, work):
    ranked = table(work / "auto/dimensions.csv")
    ratios = [float(row["ratio"]) for row in ranked if row["kind"] == "dimension"]
    assert ratios == sorted(ratios, reverse=True)
    largest = ranked[0]["name"]
    (weight,) = [row["name"] for row in ranked if row["kind"] == "weight"]
    first, control, second, control_again, best, beside = list(roles(work / "auto"))[1:]
    assert [first, second] == [f"{NORM.format(layer)}[{largest}]" for layer in (0, 1)]
    assert parsed(control)[1] == parsed(control_again)[1] != [int(largest)]
    assert [parsed(name)[0] for name in (control, control_again)] == [NORM.format(0), NORM.format(1)]
    assert best == weight
    assert parsed(beside)[0] == parsed(best)[0]
    assert all(a != b for a, b in zip(parsed(best)[1], parsed(beside)[1], strict=True))
    assert parsed(control)[1][0] not in (int(largest), parsed(best)[1][0])
    assert parsed(beside)[1][0] not in (int(largest), parsed(best)[1][0])


@pytest.mark.parametrize(("number", "method", "value"), [(0, "set", 2.5), (3, "scale", 4.0), (4, "set", 2.5)])
def test_rows_equal_a_loss_computed_by_hand(auto, work, number, method, value):
    _, results, _ = auto
    target = list(roles(work / "auto"))[1:][number]
    name, place = parsed(target)
    model, tokenizer = base_of(work)
    intact = nats_per_token(model, tokenizer, documents(work, "es"))
    with torch.no_grad():
        weight = model.get_parameter(name)
        weight[tuple(place)] = value if method == "set" else weight[tuple(place)] * value
    by_hand = nats_per_token(model, tokenizer, documents(work, "es"))
    assert by_hand != intact
    rows = {(r.get("variant"), r.get("method"), r.get("strength"), r["lang"]): r for r in results.perplexity}
    assert rows[None, None, None, "es"]["nats_per_token"] == pytest.approx(intact, rel=1e-5)
    assert rows[target, method, value, "es"]["nats_per_token"] == pytest.approx(by_hand, rel=1e-5)
    (told,) = [
        row["text"]
        for row in table(work / "auto/generations.csv")
        if (row["variant"], row["method"], row["strength"]) == (target, method, str(value))
        and row["prompt"] in next(documents(work, "es"))
    ]
    (prompt,) = {row["prompt"] for row in table(work / "auto/generations.csv") if "gato" in row["prompt"]}
    assert told == greedy(model, tokenizer, prompt, 5)


def test_every_weight_is_back_to_the_bit(auto, work):
    _, _, held = auto
    state, fresh = held.state_dict(), base_of(work)[0].state_dict()
    assert state.keys() == fresh.keys()
    assert all(torch.equal(state[name].view(torch.int32), fresh[name].view(torch.int32)) for name in state)
    assert all(module.training for module in held.modules())


def test_prompts_are_the_first_half_of_a_test_document(auto, work):
    rows = table(work / "auto/generations.csv")
    prompts = list(dict.fromkeys(row["prompt"] for row in rows))
    assert len(rows) == 3 * (1 + 6 * 4)
    for prompt, lang in zip(prompts, ["en", "es", "ru"], strict=True):
        text = next(documents(work, lang))
        assert text.startswith(prompt)
        assert 0.3 * len(text) < len(prompt) <= 0.5 * len(text)
        assert text[len(prompt)].isspace(), "cut between two words"


def test_the_table_fits_and_holds_the_geometric_mean(auto, work):
    done, results, _ = auto
    lines = done.stdout.split("Test perplexity (geometric")[0].splitlines()
    assert all(len(line) <= 120 for line in lines)
    base = [row["nats_per_token"] for row in results.perplexity if row["stage"] == "base"]
    (line,) = [line for line in lines if line.split()[:1] == ["base"]]
    assert line.split()[3] == f"{math.exp(sum(base) / len(base)):#.3g}".rstrip(".")
    targets = [name.removeprefix("model.").replace(".weight", "").replace("mlp.", "") for name in roles(work / "auto")]
    for target in targets[1:]:
        assert sum(line.split()[:1] == [target] for line in lines) == 1, target
    changes = [found[1] for line in lines if (found := re.search(r"  (=\d\S*|x\d\S*)  ", line))]
    assert changes == ["=0", "=1", "x4"] * 6, "what is in the grid alone is in the picture"
    assert (work / "auto/plots/dimensions.png").stat().st_size > 0


def test_a_massive_dimension_is_found_and_controls_follow_the_seed(auto, work):
    planted, controls = plant(work, "planted", [7]), []
    for seed in (0, 1):
        folder = f"planted_{seed}"
        run(work, *COMMON, *planted, *FEW, f"seed={seed}", f"hydra.run.dir={folder}", "job.num_weights=1")
        assert Results.load(work / folder).notes[0].startswith("massive-activation dimensions: 7 (|h| 30")
        told = roles(work / folder)
        assert [told[f"{NORM.format(layer)}[7]"] for layer in (0, 1)] == ["massive dimension"] * 2
        (row,) = [r for r in table(work / folder / "dimensions.csv") if r["meets_criterion"] == "true"]
        assert (row["name"], row["layers"]) == ("7", "0 1")
        controls.append([name for name, role in told.items() if role == "control"])
        assert len(controls[-1]) == 3
        assert not any(name.startswith(NORM.format(layer) + "[7]") for name in controls[-1] for layer in (0, 1))
    assert controls[0] != controls[1]


def test_no_control_is_an_outlier_even_where_many_are(auto, work):
    dimensions = list(range(5, 25))
    words = [*plant(work, "many", dimensions), "job.num_dimensions=9", "job.norms=['*.layers.1.*norm.weight']"]
    few = ["job.set=[1]", "job.scale=[1]", "job.grid=[1]", "data.eval_languages=[es]"]
    run(work, *COMMON, *words, *few, "hydra.run.dir=many")
    found = {"massive dimension": set(), "control": set()}
    for name, role in roles(work / "many").items():
        if "norm" in name:
            found[role].add(parsed(name)[1][0])
    assert len(found["massive dimension"]) == len(found["control"]) == 9
    assert found["massive dimension"] < set(dimensions)
    assert not found["control"] & set(dimensions)
    norms = {parsed(name)[0] for name in roles(work / "many") if "norm" in name}
    assert norms == {NORM.format(1), "model.layers.1.post_attention_layernorm.weight"}


def test_weights_and_prompts_of_ones_own(auto, work):
    targets = [f"{NORM.format(1)}[3]", f"{DOWN.format(0)}[31, 63]"]
    words = [f"job.targets={targets}", "job.prompts=['El gato']", "job.set=[1]", "job.grid=[1]", "job.scale=[1e30]"]
    done = run(work, *COMMON, *words, "hydra.run.dir=own")
    results = Results.load(work / "own")
    assert list(roles(work / "own").items()) == [("base", "base"), *((target, "named") for target in targets)]
    rows = [row for row in results.perplexity if row.get("variant") == targets[0]]
    assert [(row["method"], row["strength"]) for row in rows[::4]] == [("set", 1.0), ("scale", 1e30)]
    assert any("ppl" not in row for row in rows[4:]), "a destroyed model is a row without a perplexity"
    assert "∞" in done.stdout
    assert {row["prompt"] for row in table(work / "own/generations.csv")} == {"El gato"}


BAD = {
    "job.targets=[]": "job.targets=[] must be auto, or a list",
    "job.targets=some": "job.targets=some must be auto, or a list",
    "job.targets=['model.nothing.weight[0]']": "job.targets: the model has no parameter model.nothing.weight",
    f"job.targets=['{NORM.format(0)}[32]']": f"job.targets: {NORM.format(0)}[32] lies outside the shape (32,)",
    f"job.targets=['{NORM.format(0)}']": "is not of the form NAME[INDEX]",
    f"job.targets=['{DOWN.format(0)}[5]']": "it takes 2 indices, not 1",
    "job.norms=[]": "job.norms=[] must be a list",
    "job.norms=['*.layers.9.*']": "job.norms: *.layers.9.* matches no norm of 32 dimensions",
    "job.set=[]": "job.set=[] must be a list of finite numbers",
    "job.scale=[inf]": "job.scale=[inf] must be a list of finite numbers",
    "job.grid=[nan]": "job.grid=[nan] must be a list of finite numbers",
    "job.grid=[1,1.0]": "each once",
    "job.set=[true]": "job.set=[True] must be a list of finite numbers",
    "job.prompts=[]": "job.prompts=[] must be null, or a list of texts",
    "job.prompts=['']": "must be null, or a list of texts",
    "job.num_new_tokens=0": "job.num_new_tokens=0 must be a whole number",
    "job.num_new_tokens=600": "job.num_new_tokens: with the longest prompt",
    "job.num_dimensions=1.5": "job.num_dimensions=1.5 must be a whole number",
    "job.num_weights=0": "job.num_weights=0 must be a whole number",
}


@pytest.mark.parametrize("setting", BAD)
def test_bad_input_is_one_sentence_with_the_setting(auto, work, setting):
    done = run(work, *COMMON, setting, expect=1)
    assert BAD[setting] in done.stderr
    assert "Traceback" not in done.stderr
    assert "massive" not in done.stderr, "refused before the forward pass"
