"""Documents in packed blocks, against plain lists."""

import json

import numpy as np
import pytest
import torch

from lightning_langcore.data.mixing import Part
from lightning_langcore.data.noise import RepeatNoise
from lightning_langcore.data.packing.dataset import PackedRows
from lightning_langcore.data.packing.documents import Repetition, pack
from lightning_langcore.data.sources.base import Document
from tests.support.char_tokenizer import BEGIN, END, chars

# --- packing


def docs(texts):
    return [Document(str(number), text) for number, text in enumerate(texts)]


@pytest.mark.parametrize(("size", "bytes_each"), [(1 << 16, 2), ((1 << 16) + 1, 4)])
def test_packed_tokens_are_the_documents_between_begin_and_end(tmp_path, size, bytes_each):
    documents = ["ab", "", "длинный", "猫" * 30, "z"]
    plain = [token for text in documents for token in (BEGIN, *map(ord, text), END)]
    packed = pack(docs(documents), chars(size), tmp_path / "p", num_tokens=10**6)
    assert packed.tokens.tolist() == plain
    assert packed.ends.tolist() == [i for i, token in enumerate(plain) if token == END]
    assert (tmp_path / "p" / "tokens.bin").stat().st_size == bytes_each * len(plain)


@pytest.mark.parametrize("block_size", [1, 3, 4, 7])
def test_blocks_are_the_row_cut_with_labels_one_further_on(tmp_path, block_size):
    documents = [chr(100 + i) * (i % 5) for i in range(20)]
    plain = [token for text in documents for token in (BEGIN, *map(ord, text), END)]
    packed = pack(docs(documents), chars(), tmp_path / "p", num_tokens=10**6)
    count = packed.num_rows(block_size)
    assert count * block_size < len(plain) <= (count + 1) * block_size
    order = np.array([(0, i) for i in range(count)])
    items = list(PackedRows([packed], [Part("mine", "en", None, "text", 1.0)], order, block_size, positions=False))
    scored = count * block_size
    assert torch.cat([item["input_ids"] for item in items]).tolist() == plain[:scored]
    assert torch.cat([item["shift_labels"] for item in items]).tolist() == plain[1 : scored + 1]
    owners = [number for number, text in enumerate(documents) for _ in range(len(text) + 2)]
    names = [document.identity for document in docs(documents)]
    for start, item in zip(range(0, scored, block_size), items, strict=True):
        assert int(item["num_documents"]) == item["shift_labels"].tolist().count(END)
        overlapped = sorted(set(owners[start : start + block_size + 1]))
        expected = [{"source": "mine", "language": "en", "document": names[number]} for number in overlapped]
        assert json.loads(item["documents"]) == expected
    assert packed.num_documents(order[:, 1], block_size) == sum(int(item["num_documents"]) for item in items)


def test_a_begin_token_that_is_the_end_token_is_written_once(tmp_path):
    packed = pack(docs(["ab", "c"]), chars(begin=END), tmp_path / "p", 100)
    assert packed.tokens.tolist() == [97, 98, END, 99, END]


def test_packing_reads_no_more_than_it_needs_and_finds_its_folder_again(tmp_path):
    read = []
    documents = (read.append(i) or Document(str(i), "abc") for i in range(100_000))
    packed = pack(documents, chars(), tmp_path / "p", num_tokens=10)
    assert len(packed.tokens) == 15  # the first whole documents with more than 10 tokens: a label for the tenth
    assert len(read) <= 256
    again = pack(docs(["something else"]), chars(), tmp_path / "p", num_tokens=10)
    assert again.tokens.tolist() == packed.tokens.tolist()
    assert pack([], chars(), tmp_path / "empty", 10).num_rows(1) == 0


def test_a_failure_leaves_no_folder_behind(tmp_path):
    def documents():
        yield from docs(["text"] * 300)
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        pack(documents(), chars(), tmp_path / "p", 10**6)
    assert [entry.name for entry in tmp_path.iterdir()] == [".p.lock"]
    with pytest.raises(OverflowError):  # a token id that does not fit two bytes is not cut off
        pack(docs(["\U0001f408"]), chars(), tmp_path / "p", 10)
    assert [entry.name for entry in tmp_path.iterdir()] == [".p.lock"]


def test_documents_that_repeat_a_span_are_left_out_and_named(tmp_path):
    texts = ["abc" * 31, "x" + "abc" * 32, "plain text", "z" * 32 + "end", "abcdefghijklmn" * 40]
    packed = pack(docs(texts), chars(), tmp_path / "p", None, Repetition(13, 32))
    kept = [texts[0], texts[2], texts[4]]  # 31 times; nothing; a period of 14
    assert packed.tokens.tolist() == [token for text in kept for token in (BEGIN, *map(ord, text), END)]
    assert packed.num_filtered == 2
    named = [json.loads(line) for line in (tmp_path / "p" / "filtered.jsonl").read_text().splitlines()]
    assert [(row["document"], row["repeats"], row["period"]) for row in named] == [
        (docs(texts)[1].identity, 32, 3),
        (docs(texts)[3].identity, 32, 1),
    ]
    assert named[0]["head"] == texts[1][:80]


def test_noise_hits_the_documents_of_its_window_and_they_are_tagged(tmp_path):
    texts = [f"word{i} one two three" for i in range(300)]
    clean = pack(docs(texts), chars(), tmp_path / "clean", None)
    size = len(clean.tokens)
    noise = RepeatNoise(1.0, 5)
    packed = pack(docs(texts), chars(), tmp_path / "noisy", size, Repetition(), noise, (0.25, 0.5))
    tagged = [number for number in range(len(packed.ends)) if "tag" in packed.describe(number)]
    assert tagged == list(range(tagged[0], tagged[-1] + 1))
    starts = np.concatenate([[0], packed.ends[:-1] + 1])
    assert starts[tagged[0] - 1] < size / 4 <= starts[tagged[0]]
    assert starts[tagged[-1]] < size / 2 <= starts[tagged[-1] + 1]
    for number in (tagged[0] - 1, tagged[0], tagged[-1], tagged[-1] + 1):
        text = "".join(map(chr, packed.tokens[starts[number] + 1 : packed.ends[number]]))
        expected = noise.document(docs(texts)[number]).text if number in tagged else texts[number]
        assert text == expected
        assert packed.describe(number).get("tag") == ("repeat:5" if number in tagged else None)
