"""The switches of training together, on two ranks."""

import json

from tests.support.models import VOCAB, tiny_llama
from tests.support.switches import assert_little


def test_two_ranks_end_where_the_plain_way_does(tmp_path, torchrun):
    tiny_llama().save_pretrained(tmp_path / "base")
    done = torchrun(2, "switches", tmp_path)
    assert "recompile_limit" not in done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
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
