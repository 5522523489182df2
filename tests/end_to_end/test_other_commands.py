"""Other strategies, models, limits and choices, from a command to a result."""

import re

import pytest
import torch
from safetensors.torch import load_file

from lightning_langcore import Region
from lightning_langcore.results.record import Results
from tests.support.commands import SAMPLES, run


def test_locate_writes_regions_tables_and_heat_maps(work):
    done = run(work, "+experiment=locate_core", "hydra.run.dir=located", pictures=True)
    folder = work / "located"
    assert "languages: es, ru, zh" in done.stderr
    assert "pretraining" not in done.stderr
    core, peripheral, random = (Region.load(folder / f"{k}.safetensors") for k in ("core", "peripheral", "random"))
    assert len(core) == len(peripheral) == len(random) == len(Region.load(folder / "region.safetensors"))
    assert len(core & peripheral) == 0
    lines = (folder / "union.csv").read_text().splitlines()
    assert lines[0] == "parameter,changed_more_than_0.01,changed_more_than_0.03,changed_more_than_0.05"
    assert any("post_attention_layernorm" in line for line in lines)
    shares = [[float(x) for x in line.split(",")[1:]] for line in lines[1:]]
    assert all(1 >= a >= b >= c >= 0 for a, b, c in shares)
    assert "union" not in done.stderr
    assert "q_proj" in done.stdout
    assert (folder / "plots/core.png").exists()
    # and its file is a region for others
    other = run(
        work,
        "+experiment=recovery_frozen",
        "region=file",
        f"region.file={folder}/core.safetensors",
        "hydra.run.dir=fromfile",
    )
    assert "error" not in other.stderr
    assert Results.load(work / "fromfile").perplexity[0]["variant"] == "file"


def test_pretrain_base_sets_the_model_beside_ngrams(work):
    run(work, "+experiment=pretrain_base", "hydra.run.dir=base")
    lines = (work / "base/base.csv").read_text().splitlines()
    assert lines[0] == "lang,unigram,trigram,model"
    assert [line.split(",")[0] for line in lines[1:]] == sorted(SAMPLES)
    assert all(float(x) > 1 for line in lines[1:] for x in line.split(",")[1:])


def test_limits_of_the_run_do_not_shape_what_others_will_find(work):
    """A base built by a run with one step and bfloat16 equals, to the bit, one that an ordinary run builds."""
    bases = []
    for folder, words in (("limited", ["+trainer.max_steps=1", "trainer.precision=bf16-true"]), ("plain", [])):
        common = ["+experiment=recovery_unfrozen", "region=random", "data.num_tokens=1000", "data.batch_size=2"]
        run(work, *common, *words, f"paths.artifacts=art_{folder}", f"hydra.run.dir=run_{folder}")
        bases.append(load_file(next((work / f"art_{folder}").glob("base-*")) / "model.safetensors"))
    assert all(torch.equal(bases[0][name], bases[1][name]) for name in bases[0])


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer=sgd", "callbacks=[default,weight_diff,core_guard]", "callbacks.weight_diff.every_n_steps=2"],
        ["trainer.precision=bf16-mixed", "trainer.accumulate_grad_batches=2", "callbacks=[default,core_guard]"],
        ["perturbation=zero"],
        ["perturbation=scale"],
        ["perturbation=set"],
        ["region=peripheral", "region.score=weight_change"],
        ["region.parameters=['*.self_attn.*']"],
    ],
    ids=lambda words: words[0],
)
def test_other_choices_run(work, words):
    folder = "choice-" + words[0].replace("'", "").replace("*", "_")
    run(work, "+experiment=recovery_unfrozen", *words, "data.num_tokens=2000", f'hydra.run.dir="{folder}"')
    results = Results.load(work / folder)
    assert results.status == "completed"
    assert results.guard is None or results.guard["max_abs_drift"] == 0.0


def test_a_run_in_bfloat16_tells_of_how_many_weights_the_updates_were_lost(work):
    words = ["+experiment=recovery_frozen", "trainer.precision=bf16-true", "optimizer.lr=1e-5"]
    said = run(work, *words, "hydra.run.dir=narrow").stderr
    assert "trainer.precision=bf16-true with model.dtype=float32 rounds small updates away; callbacks=[default," in said
    measured = ["callbacks=[default,core_guard,weight_diff]", "callbacks.weight_diff.every_n_steps=2"]
    said = run(work, *words, *measured, "hydra.run.dir=narrow_measured").stderr
    assert re.search(r"[89]\d% of the weights never moved: trainer.precision=bf16-true", said)
    inside = "callbacks.weight_diff.region=${region.file}"
    said = run(work, *words, *measured, inside, "hydra.run.dir=narrow_region").stderr
    assert re.search(r"[89]\d% of the weights outside the region never moved: trainer.precision=bf16-true", said)
    words[1] = "trainer.precision=bf16"  # Lightning's short word for bf16-mixed, whose weights stay float32
    assert "rounds" not in run(work, *words, "hydra.run.dir=wide").stderr
