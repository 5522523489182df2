"""The loss without logits on two ranks, sharded and not, compiled too."""

import json

import pytest
import torch

from tests.support.models import tiny_llama


def test_two_ranks_end_where_the_plain_loss_does(tmp_path, torchrun):
    torchrun(2, "chunked_loss", tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    (loss, weights), *others = results
    assert len(others) == 5
    start = dict(tiny_llama().named_parameters())
    for other, found in others:
        assert other == pytest.approx(loss, rel=1e-6)
        for name, p in weights.items():
            moved = torch.tensor(p) - start[name].detach()
            assert (torch.tensor(found[name]) - torch.tensor(p)).norm() < 1e-4 * moved.norm() + 1e-6, name
