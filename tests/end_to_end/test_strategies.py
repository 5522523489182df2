"""Guard, diffs, damage and perplexity on two and three gloo ranks against one process: DDP, and FSDP2's shards.

The frozen bits are equal everywhere; everything else is equal up to the order in which floats are added.
"""

import json

import pytest
import torch
from safetensors.torch import load_file

from lightning_langcore import Region
from tests.support.models import random_half, tiny_llama
from tests.support.rank_programs import strategies

FSDP2 = {"strategy": "fsdp2"}
ONE = [
    {"name": "one"},
    {"name": "one-sgd", "optimizer": "sgd", "method": "scale"},
    {"name": "one-half", "precision": "bf16-true", "method": "zero"},
    {"name": "one-mixed", "precision": "bf16-mixed"},
    {"name": "one-tied", "base": "tied"},
]
TWO = [
    {"name": "ddp", "strategy": "ddp"},
    {"name": "fsdp2", "keep": True, **FSDP2},
    {"name": "fsdp2-meta", "meta": True, **FSDP2},
    {"name": "fsdp2-tied", "base": "tied", "meta": True, **FSDP2},
    {"name": "fsdp2-sgd", "optimizer": "sgd", "method": "scale", **FSDP2},
    {"name": "fsdp2-half", "precision": "bf16-true", "method": "zero", **FSDP2},
    {"name": "fsdp2-mixed", "precision": "bf16-mixed", **FSDP2},
    {"name": "fsdp2-resumed", "keep": True, "resume": "fsdp2/checkpoints/step=2.ckpt", **FSDP2},
    {"name": "file", "keep": True, "one_file": True, **FSDP2},
    {"name": "file-resumed", "one_file": True, "resume": "file/checkpoints/step=2.ckpt", **FSDP2},
]
THREE = [
    {"name": "fsdp2-three", "meta": True, **FSDP2},
    {"name": "fsdp2-other", "resume": "fsdp2/checkpoints/step=2.ckpt", **FSDP2},
]
SAME = {  # what must equal what, and how far apart floats may be
    "ddp": ("one", 1e-5),
    "fsdp2": ("one", 1e-5),
    "fsdp2-meta": ("one", 1e-5),
    "fsdp2-tied": ("one-tied", 1e-4),
    "fsdp2-sgd": ("one-sgd", 1e-5),
    "fsdp2-half": ("one-half", 0.06),
    "fsdp2-mixed": ("one-mixed", 0.06),
    "fsdp2-three": ("one", 1e-5),
    "fsdp2-other": ("one", 1e-5),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory, torchrun):
    """A folder a case; an intermediate size of 4 leaves the third rank without any row of two matrices a layer."""
    folder = tmp_path_factory.mktemp("strategies")
    model = tiny_llama(intermediate_size=4)
    model.save_pretrained(folder / "base")
    tiny_llama(intermediate_size=4, tie_word_embeddings=True).save_pretrained(folder / "tied")
    random_half(model, fraction=0.3).save(folder / "region.safetensors")
    for case in ONE:
        strategies.run(folder, case, 0, 1)
    for num_ranks, cases in ((2, TWO), (3, THREE)):
        torchrun(num_ranks, "strategies", folder, json.dumps(cases), gpus=True)
    return folder


def figures(work, name, rank=0):
    return json.loads((work / name / f"rank{rank}.json").read_text())


def close(one, other, tolerance):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], atol=tolerance, rtol=tolerance), name


@pytest.mark.parametrize("name", SAME)
def test_the_guarded_bits_are_those_of_the_damaged_start(work, name):
    region = Region.load(work / "region.safetensors")
    first, last = (load_file(work / name / f"{when}.safetensors") for when in ("start", "end"))
    if name != "fsdp2-other":  # whose start is that of step 2
        base = load_file(work / ("tied" if "tied" in name else "base") / "model.safetensors")
        assert any(not torch.equal(first[n].float(), w) for n, w in base.items())
    for parameter, part in region.parts.items():
        assert torch.equal(part.gather(first[parameter]), part.gather(last[parameter])), parameter
    assert all(not torch.equal(first[n], last[n]) for n in first)
    assert figures(work, name)["max_abs_drift"] == 0.0


@pytest.mark.parametrize(("name", "reference", "tolerance"), [(n, *to) for n, to in SAME.items()])
def test_weights_changes_and_snapshots_equal_those_of_one_process(work, name, reference, tolerance):
    files = ["end", "change"] if name == "fsdp2-other" else ["start", "end", "change", "step_000002"]
    for file in files:
        one, other = (load_file(work / n / f"{file}.safetensors") for n in (reference, name))
        close(one, other, 0 if file == "start" else tolerance)


@pytest.mark.parametrize(("name", "reference", "tolerance"), [(n, *to) for n, to in SAME.items()])
def test_every_rank_tells_the_figures_of_one_process(work, name, reference, tolerance):
    one = figures(work, reference)
    ranks = 3 if name in {case["name"] for case in THREE} else 2
    for rank in range(ranks):
        other = figures(work, name, rank)
        assert other["means"] == pytest.approx(one["means"], rel=10 * tolerance, abs=tolerance)
        assert other["drift"][:2] == pytest.approx(one["drift"][:2], rel=10 * tolerance)
        if tolerance < 1e-3:
            assert [line["index"] for line in other["drift"][2]] == [line["index"] for line in one["drift"][2]]
        assert other["scores_without_logits"]
        assert len(other["rows"]) == len(one["rows"]) == 4
        for row, expected in zip(other["rows"], one["rows"], strict=True):
            words, numbers = ({k: v for k, v in expected.items() if isinstance(v, kind)} for kind in (str, int | float))
            assert {k: row[k] for k in words} == words
            assert {k: row[k] for k in row.keys() - words} == pytest.approx(numbers, rel=tolerance)


def test_each_rank_guards_its_own_part_of_the_region_alone(work):
    total = len(Region.load(work / "region.safetensors"))
    for name, num_ranks in (("fsdp2", 2), ("fsdp2-three", 3)):
        here = [figures(work, name, rank)["guarded_here"] for rank in range(num_ranks)]
        assert sum(here) == total
        assert max(here) < total
        assert figures(work, name)["num_sharded"] > 0
    assert [figures(work, "ddp", rank)["guarded_here"] for rank in (0, 1)] == [total, total]


@pytest.mark.parametrize("kind", ["fsdp2", "file"])
def test_a_resumed_sharded_run_ends_as_one_that_was_not_interrupted(work, kind):
    assert (work / kind / "checkpoints" / "step=2.ckpt").is_file() == (kind == "file")
    whole, resumed = (load_file(work / name / "end.safetensors") for name in (kind, f"{kind}-resumed"))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
    assert figures(work, f"{kind}-resumed")["rows"] == figures(work, kind)["rows"]
