"""The switches of training together: the same end as without them, and each still does what it is for.

Activation checkpointing, chunked loss, compiled step, kind of attention, precision, strategy and task, always guarded,
with accumulated and clipped gradients. Alone each is tested beside its own code.
"""

import pytest

from tests.support.models import VOCAB
from tests.support.switches import ALL, FAR, LOGITS, STREAM, assert_little, assert_same, train

PAIRS = [dict.fromkeys(ALL.keys() - {left_out}, True) for left_out in sorted(ALL)]
CASES = [
    ("pretrain", "sdpa", "32-true", [*PAIRS, ALL]),
    ("sft", "sdpa", "32-true", [ALL]),
    ("pretrain", "eager", "bf16-true", [ALL]),
]


@pytest.mark.parametrize(("task", "attention", "precision", "several"), CASES)
def test_pairs_and_all_end_where_the_plain_way_does(task, attention, precision, several):
    common = {"sft": task == "sft", "attention": attention, "precision": precision}
    plain = train(common)
    assert plain[0]["layers"] == 6
    assert plain[0]["runs"] == plain[0]["in_head"] == 0
    for switches in several:
        other = train(common | switches)
        assert_same(plain, other, FAR[precision])
        told = other[0]
        assert told["layers"] == (0 if switches.get("compile") else 12 if switches.get("checkpointing") else 6)
        assert told["runs"] == (6 if switches.get("compile") else 0)
        assert told["in_head"] == (VOCAB * 32 if switches.get("chunked") else 0)


def test_a_compiled_step_holds_less_with_checkpointing_and_never_all_logits():
    plain = train({})
    compiled, both = (train({"cut": True, **switches}) for switches in ({"compile": True}, ALL))
    for other in (compiled, both):
        assert_same(plain, other, FAR["32-true"])
        assert other[0]["runs"] == 6
    assert compiled[0]["in_graph"] == LOGITS
    assert compiled[0]["saved"] > 4 * LOGITS + 20 * STREAM
    assert_little(both[0])
