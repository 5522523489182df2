"""Perplexity on two ranks against one process."""

import json

import pytest

from tests.support.rank_programs import perplexity


def test_two_ranks_give_the_figures_of_one(tmp_path, torchrun):
    """DDP over two gloo processes: equal samples, equal base figures, the guard exact, training equal to rounding."""
    torchrun(2, "perplexity", tmp_path)
    one, _, _ = perplexity.run(0, 1)
    two, kept, drift = json.loads((tmp_path / "results.json").read_text())
    assert kept
    assert drift == 0.0
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert {k: a[k] for k in ("stage", "samples", "lang", "num_tokens", "num_bytes")} == {
            k: b[k] for k in ("stage", "samples", "lang", "num_tokens", "num_bytes")
        }
        assert a["nats_per_token"] == pytest.approx(b["nats_per_token"], rel=1e-5)
