"""Trainings with several switches together on several ranks."""

import json

from tests.support.switches import ALL, FAR, assert_same, train

SHARDED = {"strategy": "fsdp2"}
TWO = {  # in which the first of a group is what the others are compared with
    "pretrain": [
        {"strategy": "ddp"},
        {"strategy": "ddp", **ALL},
        {"checkpointing": True, "chunked": True, **SHARDED},
        {"cut": True, **ALL, **SHARDED},
    ],
    "sft": [{"sft": True, **SHARDED}, {"sft": True, **ALL, **SHARDED}],
    "half": [
        {"precision": "bf16-mixed", "attention": "eager", **SHARDED},
        {"precision": "bf16-mixed", "attention": "eager", "checkpointing": True, "chunked": True, **SHARDED},
    ],
}


def run(folder, rank, num_ranks):
    """On each rank: all groups, each compared with its first; rank 0 writes what the switches did."""
    results = {}
    for group, cases in TWO.items():
        ends = [train(case, folder / "base", num_ranks) for case in cases]
        for other in ends[1:]:
            assert_same(ends[0], other, FAR[cases[0].get("precision", "32-true")])
        results[group] = [told for told, *_ in ends]
    if rank == 0:
        (folder / "results.json").write_text(json.dumps(results))
