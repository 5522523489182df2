"""Conversations in packed rows, against plain lists."""

from collections import Counter

import numpy as np
import pytest
import torch

from lightning_langcore.data.chat_encoding import Encoded
from lightning_langcore.data.packing.conversations import PackedConversations, first_fit, pack_conversations
from lightning_langcore.data.sources.base import Conversation, identity
from tests.support.packed_conversations import IGNORE, pair, table


def pack(folder, found, made, block_size, num_tokens=None):
    return pack_conversations(found, lambda talk: made[talk.key], folder, num_tokens, block_size)


def plain_row(made, keys, block_size):
    """The row that these conversations make one after another, written down token by token."""
    ids, positions, labels = [], [], []
    for key in keys:
        tokens, flags = made[key].ids, made[key].is_answer
        ids += tokens
        positions += range(len(tokens))
        labels += [tokens[i + 1] if flags[i + 1] else IGNORE for i in range(len(tokens) - 1)] + [IGNORE]
    rest = block_size - len(ids)
    return ids + [0] * rest, positions + list(range(rest)), labels + [IGNORE] * rest


@pytest.mark.parametrize(("count", "longest", "block_size"), [(700, 20, 32), (300, 32, 32), (600, 3, 200), (1, 5, 5)])
def test_every_conversation_stands_whole_in_one_row(tmp_path, count, longest, block_size):
    found, made = table(count, longest)
    by_identity = {identity(talk.key): talk for talk in found}
    packed = pack(tmp_path / "p", found, made, block_size)
    seen = []
    for number in range(packed.num_rows(block_size)):
        row = packed.row(number, block_size)
        about = [packed.describe(i) for i in row["documents"]]
        inside = [by_identity[one["document"]] for one in about]
        assert [one.get("tag") for one in about] == [talk.tag for talk in inside]
        ids, positions, labels = plain_row(made, [talk.key for talk in inside], block_size)
        assert row["input_ids"].tolist() == ids
        assert row["position_ids"].tolist() == positions
        assert row["shift_labels"].tolist() == labels
        assert {row[name].dtype for name in ("input_ids", "position_ids", "shift_labels")} == {torch.int64}
        assert int(row["num_documents"]) == len(inside) == packed.num_documents(np.array([number]), block_size)
        seen += [talk.key for talk in inside]
    assert sorted(seen) == sorted(talk.key for talk in found)
    total = sum(len(encoded.ids) for encoded in made.values())
    assert (packed.num_tokens, packed.num_conversations) == (total, count)
    assert packed.num_answer_tokens == sum(sum(encoded.is_answer) for encoded in made.values())
    assert packed.num_cut == sum(encoded.num_cut > 0 for encoded in made.values())
    assert packed.num_cut_tokens == sum(encoded.num_cut for encoded in made.values())
    assert packed.padding == pytest.approx(1 - total / (len(packed) * block_size))
    assert packed.tokens_per_row(block_size) == pytest.approx(total / len(packed))
    assert packed.num_documents(np.array([0, 0]), block_size) == 2 * int(packed.row(0, block_size)["num_documents"])


def test_little_is_padded_and_conversations_stay_near_their_place(tmp_path):
    found, made = table(3000, 40)
    packed = pack(tmp_path / "p", found, made, 128)
    assert packed.padding < 0.01
    place = {identity(talk.key): number for number, talk in enumerate(found)}
    order = [place[packed.describe(i)["document"]] for i in range(len(found))]
    assert max(abs(number - i) for i, number in enumerate(order)) < 300
    assert abs(np.mean([number - i for i, number in enumerate(order)])) < 1


def test_first_fit_never_overfills_and_is_within_its_bound_of_the_least():
    for seed in range(30):
        found, made = table(60, 20, seed)
        pairs = [(talk, made[talk.key]) for talk in found]
        rows = first_fit(pairs, 25)
        sizes = [sum(len(encoded.ids) for _, encoded in row) for row in rows]
        assert max(sizes) <= 25
        assert sizes[-1] == min(sizes)
        assert len(rows) <= np.ceil(11 / 9 * np.ceil(sum(sizes) / 25)) + 1
        assert Counter(talk.key for row in rows for talk, _ in row) == Counter(talk.key for talk in found)


def test_packing_reads_no_more_than_it_needs_and_finds_its_folder_again(tmp_path):
    found, made = table(500, 20)
    ends = np.cumsum([len(made[talk.key].ids) for talk in found])
    for wanted in (1, int(ends[10]), int(ends[10]) + 1):
        read = []
        packed = pack(tmp_path / str(wanted), (read.append(talk) or talk for talk in found), made, 32, wanted)
        count = int(np.searchsorted(ends, wanted)) + 1
        assert (len(read), packed.num_tokens) == (count, ends[count - 1])
    again = pack(tmp_path / "1", [], {}, 32, 1)
    assert again.num_tokens == ends[0]
    assert PackedConversations(tmp_path / "1").row(0, 32)["input_ids"].tolist()[: ends[0]] == made["key 0"].ids
    assert len(pack(tmp_path / "empty", [], {}, 32)) == 0


def test_a_failure_leaves_no_folder_behind(tmp_path):
    found, made = table(600, 20)
    del made["key 550"]
    with pytest.raises(KeyError):
        pack(tmp_path / "p", found, made, 32)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_first_token_that_is_an_answer_is_not_learnt_from_the_conversation_before(tmp_path):
    made = {"a": Encoded([1, 2, 3], [False, True, True]), "b": Encoded([4, 5], [True, True])}
    packed = pack(tmp_path / "p", [Conversation(key, pair("q", "a")) for key in made], made, 6)
    row = packed.row(0, 6)
    assert row["input_ids"].tolist() == [1, 2, 3, 4, 5, 0]
    assert row["shift_labels"].tolist() == [2, 3, IGNORE, 5, IGNORE, IGNORE]
    assert row["position_ids"].tolist() == [0, 1, 2, 0, 1, 0]


def test_the_last_token_of_the_last_answer_of_each_conversation(tmp_path):
    made = {
        "two": Encoded([1, 2, 3, 4, 5], [False, True, False, True, False]),
        "none left": Encoded([6, 7], [False, False]),
        "one": Encoded([8, 9], [False, True]),
    }
    found = [Conversation(key, pair("q", "a")) for key in made]
    packed = pack(tmp_path / "p", found, made, 16)
    assert sorted(packed.last_answer_tokens().tolist()) == [4, 9]
    none = pack(tmp_path / "none", found[1:2], made, 16)
    assert none.last_answer_tokens().tolist() == []
