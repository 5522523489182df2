"""What a mix means, how it is dealt out, and what a datamodule then reads."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from lightning_langcore.data.mixing import interleave, make_parts, numbers
from lightning_langcore.data.options import Mixture
from tests.support.datamodules import datamodule
from tests.support.texts import ListSource


class Talks:
    languages = ("ru", "zh")

    def conversations(self, language):
        return iter(())

    def digest(self):
        return "talks"


TEXT, MORE, TALKS = ListSource(), ListSource(50, ("de", "en")), Talks()


def shares(mix, **available):
    return [(p.name, p.language, p.kind, round(p.share, 6)) for p in make_parts(TEXT, Mixture(mix=mix, **available))]


def test_names_are_languages_general_conversations_and_further_sources():
    assert shares({"zh": 1, "general": 5}) == [
        ("zh", "zh", "text", round(1 / 6, 6)),
        ("general", "ar", "text", round(2.5 / 6, 6)),
        ("general", "ru", "text", round(2.5 / 6, 6)),
    ]
    assert shares({"zh": 2, "general": 2}, general=["ar", "zh"]) == [
        ("zh", "zh", "text", 0.5),
        ("general", "ar", "text", 0.5),
    ]
    assert shares({"conversations": 1, "wiki": 3}, conversations=TALKS, sources={"wiki": MORE}) == [
        ("conversations", "ru", "conversations", 0.125),
        ("conversations", "zh", "conversations", 0.125),
        ("wiki", "de", "text", 0.375),
        ("wiki", "en", "text", 0.375),
    ]
    assert shares({"zh": 1, "general": 0}) == [("zh", "zh", "text", 1.0)]


def test_the_target_is_the_languages_to_train_on_and_general_all_others():
    assert shares({"target": 1, "general": 5}, languages=["zh"]) == shares({"zh": 1, "general": 5})
    assert shares({"target": 4}, languages=["zh", "ar"]) == shares(None, languages=["zh", "ar"])
    assert shares({"target": 0, "general": 5}, languages=["zh"]) == [
        ("general", "ar", "text", 0.5),
        ("general", "ru", "text", 0.5),
    ]


def test_without_a_mix_the_languages_have_equal_parts_and_conversations_go_first():
    assert shares(None) == [(x, x, "text", round(1 / 3, 6)) for x in ("ar", "ru", "zh")]
    assert shares(None, languages=["zh", "ar"]) == [("zh", "zh", "text", 0.5), ("ar", "ar", "text", 0.5)]
    assert shares(None, conversations=TALKS, languages=["zh"]) == [("conversations", "zh", "conversations", 1.0)]
    assert make_parts(TEXT, Mixture(mix={"wiki": 1}, sources={"wiki": MORE}))[0].label == "wiki/de"


@pytest.mark.parametrize(
    ("mix", "available", "message"),
    [
        (
            {"xx": 1},
            {},
            r"data\.mix names 'xx', which is not a source; available sources: ar, ru, zh, target, general$",
        ),
        ({"conversations": 1}, {}, r"data\.mix names 'conversations', which is not a source"),
        ({"zh": -1, "general": 5}, {}, r"data\.mix\.zh=-1 must be a number .* 0 or more"),
        ({"zh": "a"}, {}, r"data\.mix\.zh=a must be a number"),
        ({"zh": float("inf")}, {}, r"data\.mix\.zh=inf must be a number"),
        ({"zh": 0, "general": 0}, {}, r"leaves nothing to train on"),
        ({"zh": 1, "ar": 1, "ru": 1, "general": 1}, {}, r"data\.mix\.general: the mix names every language"),
        ({"zh": 1}, {"languages": ["zh"]}, r"data\.languages=\['zh'\] has no effect with this data\.mix"),
    ],
)
def test_a_mix_that_can_not_be_honoured_is_refused(mix, available, message):
    with pytest.raises(ValueError, match=message):
        make_parts(TEXT, Mixture(mix=mix, **available))


@pytest.mark.parametrize("seed", range(20))
def test_numbers_add_up_and_are_less_than_one_off(seed):
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 50, size=rng.integers(1, 9)).tolist()
    total = int(rng.integers(0, 500))
    found = numbers([weight / sum(weights) for weight in weights], total)
    assert sum(found) == total
    assert all(abs(n - Fraction(w * total, sum(weights))) < 1 for n, w in zip(found, weights, strict=True))


def test_equal_shares_give_the_first_the_rest():
    assert numbers([1 / 3] * 3, 62) == [21, 21, 20]


def test_a_part_has_its_own_order_whatever_is_mixed_in():
    alone, mixed, other = interleave([40], [25], 7), interleave([40, 200], [25, 90], 7), interleave([40], [25], 8)
    assert alone[:, 1].tolist() == mixed[mixed[:, 0] == 0, 1].tolist() != other[:, 1].tolist()
    assert sorted(alone[:25, 1].tolist()) == list(range(25))  # an epoch, and then another
    # turns are spread over the run: the first half has about half of each
    assert abs(int((mixed[:120, 0] == 0).sum()) - 20) < 4 * np.sqrt(40 * 0.25)


def test_a_window_keeps_its_rows_together():
    order = interleave([100], [100], 3, [(25, 50)])[:, 1]
    assert [sorted(part.tolist()) for part in np.split(order, [25, 50])] == [
        list(range(25)),
        list(range(25, 50)),
        list(range(50, 100)),
    ]
    assert order[:25].tolist() != list(range(25))


def test_ratios_are_of_tokens_and_what_was_read_is_counted(tmp_path, tokenizer):
    made = datamodule(tmp_path, tokenizer, mix={"zh": 1, "general": 5}, mix_unit=400, max_epochs=9)
    rows = made.num_rows
    assert rows == 120  # 6 x 400 tokens in rows of 20
    used = {part["language"]: part for part in made.used(rows // 4)}
    assert {lang: part["tokens"] for lang, part in used.items()} == {"zh": 400, "ar": 1000, "ru": 1000}
    batches = list(made.train_dataloader())
    assert sum(part["documents"] for part in used.values()) == sum(int(b["num_documents"].sum()) for b in batches)
    half = made.used(len(batches) // 2)
    assert sum(part["tokens"] for part in half) == 20 * 4 * (len(batches) // 2)
    two_ranks = made.used(len(batches) // 4, world_size=2)
    assert sum(part["tokens"] for part in two_ranks) == 2 * 20 * 4 * (len(batches) // 4)


def test_oversampling_counts_its_epochs_and_must_be_allowed(tmp_path, tokenizer):
    plenty = {"mix": {"zh": 1, "general": 1}, "num_tokens": 30_000}
    with pytest.raises(ValueError, match=r"epochs of 'zh' .* allow it with data\.max_epochs=\d+"):
        datamodule(tmp_path, tokenizer, **plenty)
    made = datamodule(tmp_path, tokenizer, **plenty, max_epochs=50)
    zh = next(part for part in made.used(10**6) if part["language"] == "zh")
    packed = made.train_dataloader().dataset.packed[0]
    assert zh["epochs"] == zh["tokens"] / 20 / packed.num_rows(20) > 1


def test_epochs_go_through_a_number_of_documents_that_often(tmp_path, tokenizer):
    made = datamodule(tmp_path, tokenizer, languages=["zh", "ar"], num_documents=40, epochs=3)
    counts = Counter(map(tuple, made.train_dataloader().dataset.order.tolist()))
    assert set(counts.values()) == {3}
    for packed in made.train_dataloader().dataset.packed:
        assert len(packed.ends) == 20
    assert [part["epochs"] for part in made.used(10**6)] == [3.0, 3.0]
