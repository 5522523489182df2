"""Perplexity, the loss without logits, and the switches of training together: on two ranks as on one."""

import json

import pytest
import torch

from tests.support.architectures import small_model
from tests.support.models import VOCAB, tiny_llama
from tests.support.rank_programs import perplexity
from tests.support.switches import assert_little


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory, torchrun):
    """The folder in which each program on two ranks has one, and what the ranks wrote."""
    folder, programs = (
        tmp_path_factory.mktemp("ranks"),
        ("perplexity", "chunked_loss", "switches", "dropout", "experts"),
    )
    for name in programs:
        (folder / name).mkdir()
    tiny_llama().save_pretrained(folder / "switches/base")
    mixture().save_pretrained(folder / "experts/base")
    return folder, torchrun(2, "__main__", folder, *programs)


def test_two_ranks_give_the_figures_of_one(two_ranks):
    """DDP over two gloo processes: equal samples, equal base figures, the guard exact, training equal to rounding."""
    one, loss, _, _ = perplexity.train(0, 1)
    two, loss_of_two, kept, drift = json.loads((two_ranks[0] / "perplexity/results.json").read_text())
    assert kept
    assert drift == 0.0
    assert loss_of_two == pytest.approx(loss, rel=1e-5)
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert {k: a[k] for k in ("stage", "samples", "lang", "num_tokens", "num_bytes")} == {
            k: b[k] for k in ("stage", "samples", "lang", "num_tokens", "num_bytes")
        }
        assert a["nats_per_token"] == pytest.approx(b["nats_per_token"], rel=1e-5)


def test_each_rank_goes_on_with_its_own_random_numbers(two_ranks):
    """Dropout on two ranks: resumed equals uninterrupted, and no rank draws the numbers of the other."""
    (equal, whole, resumed), (other_equal, other_whole, other_resumed) = (
        json.loads((two_ranks[0] / f"dropout/rank{rank}.json").read_text()) for rank in (0, 1)
    )
    assert equal
    assert other_equal
    assert resumed == {step: whole[step] for step in map(str, range(7, 13))}
    assert other_resumed == {step: other_whole[step] for step in map(str, range(7, 13))}
    assert not set(whole.values()) & set(other_whole.values())


def mixture():
    """Three experts, which two ranks share unevenly, with a zero below zero."""
    model = small_model("mixtral")
    model.model.layers[0].mlp.experts.down_proj.data[2, 0] = -0.0
    return model


def test_two_ranks_share_the_experts_and_gather_their_bits(two_ranks):
    found = json.loads((two_ranks[0] / "experts/results.json").read_text())
    assert found.pop("num_weights") == sum(p.numel() for p in mixture().parameters())
    assert found == dict.fromkeys(["names", "shapes", "whole", "gathered", "local"], True)


def test_two_ranks_end_where_the_plain_loss_does(two_ranks):
    results = json.loads((two_ranks[0] / "chunked_loss/results.json").read_text())
    (loss, weights), *others = results
    assert len(others) == 5
    start = dict(tiny_llama().named_parameters())
    for other, found in others:
        assert other == pytest.approx(loss, rel=1e-6)
        for name, p in weights.items():
            moved = torch.tensor(p) - start[name].detach()
            assert (torch.tensor(found[name]) - torch.tensor(p)).norm() < 1e-4 * moved.norm() + 1e-6, name


def test_two_ranks_end_where_the_plain_way_does(two_ranks):
    folder, done = two_ranks
    assert "recompile_limit" not in done.stderr
    results = json.loads((folder / "switches/results.json").read_text())
    plain, ddp, lean, both = results["pretrain"]
    assert (plain["layers"], lean["layers"]) == (6, 12)
    assert ddp["runs"] > 6  # a graph a bucket
    assert ddp["in_head"] == lean["in_head"] == VOCAB * 32
    assert_little(both)
    for first, other in (results["sft"], results["half"]):
        assert (first["runs"], first["layers"], first["in_head"]) == (0, 6, 0)
        assert other["in_head"] == VOCAB * 32
    assert results["sft"][1]["runs"] >= 6
    assert results["half"][1]["layers"] == 12
