"""What a run sees of the text, and that a resumed run sees the same."""

import json
import re
from collections import Counter

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.nn import functional

from lightning_langcore.data import PhrasebookConversations, PhrasebookSource
from lightning_langcore.data.datamodule import ResumableLoader, TextDataModule
from lightning_langcore.data.noise import InstructionNoise, RepeatNoise
from lightning_langcore.data.sources.base import Splitter
from lightning_langcore.models import from_scratch
from tests.support.datamodules import datamodule
from tests.support.models import tiny_llama
from tests.support.training import Plain, Rows, blocks, loader


def order_of(made):
    return made.train_dataloader().dataset.order


def test_languages_get_equal_numbers_of_blocks_in_a_seeded_order(tmp_path, tokenizer):
    made = datamodule(tmp_path, tokenizer, num_tokens=62 * 20)
    order = order_of(made)
    assert Counter(order[:, 0].tolist()) == {0: 21, 1: 21, 2: 20}
    assert np.array_equal(order, order_of(datamodule(tmp_path, tokenizer, num_tokens=62 * 20)))
    assert not np.array_equal(order, order_of(datamodule(tmp_path, tokenizer, num_tokens=62 * 20, seed=1)))
    assert len(set(order[:20, 0].tolist())) == 3  # mixed, not one language after the other
    assert len({tuple(pair) for pair in order.tolist()}) == len(order)


@pytest.mark.parametrize("languages", [["zh"], ["zh", "ar"]])
def test_every_epoch_of_a_language_is_a_permutation_of_its_blocks(tmp_path, tokenizer, languages):
    made = datamodule(tmp_path, tokenizer, languages=languages, num_tokens=30_000, max_epochs=1000)
    for number, packed in enumerate(made.train_dataloader().dataset.packed):
        mine = [block for row, block in order_of(made).tolist() if row == number]
        available = packed.num_rows(20)
        epochs = [mine[i : i + available] for i in range(0, len(mine), available)]
        assert len(epochs) > 2
        assert all(sorted(epoch) == list(range(available)) for epoch in epochs[:-1])
        assert len(set(epochs[-1])) == len(epochs[-1])
        assert epochs[0] != epochs[1]


def test_training_text_comes_from_the_pool_alone(tmp_path, tokenizer):
    made = datamodule(tmp_path, tokenizer, languages=["ru"], num_tokens=600)
    packed = made.train_dataloader().dataset.packed[0]
    found = tokenizer.decode(packed.tokens.astype(int)).split("</s>")[:-1]
    assert [text.removeprefix("<s>") for text in found] == list(made.splitter.texts(made.source, "ru", "run"))[
        : len(found)
    ]


def test_too_many_tokens_are_refused_with_a_way_out_that_works(tmp_path, tokenizer):
    with pytest.raises(ValueError, match=r"is \d+\.\d\d epochs of 'zh'.*data\.max_epochs=\d+") as caught:
        datamodule(tmp_path, tokenizer, languages=["zh"], num_tokens=20_000)
    enough = int(re.search(r"max_epochs=(\d+)", str(caught.value))[1])
    datamodule(tmp_path, tokenizer, languages=["zh"], num_tokens=20_000, max_epochs=enough)
    with pytest.raises(ValueError, match=r"data\.max_epochs"):
        datamodule(tmp_path, tokenizer, languages=["zh"], num_tokens=20_000, max_epochs=enough - 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"languages": ["xx"]}, r"data\.languages: the language 'xx' is not in the data \(ar, ru, zh\)"),
        ({"eval_languages": []}, r"data\.eval_languages=\[\] must name each language once"),
        ({"languages": ["zh", "zh"]}, r"data\.languages=.* must name each language once"),
        ({"languages": "zh"}, r"data\.languages=zh must be a list"),
        ({"mix_unit": 100}, r"data\.mix_unit=100 .* there is none"),
        ({"mix": {"zh": 1}, "epochs": 2}, r"data\.epochs=2 counts passes over one text"),
        ({"epochs": 2, "window": (0.2, 0.4)}, r"noise\.window=\[0\.2, 0\.4\] needs data\.num_tokens"),
        ({"on_the_fly": True, "noise": RepeatNoise(1.0, 4)}, r"data\.on_the_fly=true .* does not support noise"),
        ({"on_the_fly": True, "epochs": 1}, r"data\.on_the_fly=true .* does not support data\.epochs"),
        ({"num_tokens": 40}, r"data\.num_tokens=40 leaves less than a row of 20 tokens for 'zh'"),
        ({"num_tokens": 60}, r"makes 3 rows of 20 tokens, less than one batch of data\.batch_size=4"),
        ({"block_size": 50_000, "num_tokens": 150_000}, r"do not fill one row of data\.block_size=50000"),
    ],
)
def test_settings_that_can_not_be_honoured_are_refused_by_name(tmp_path, tokenizer, changes, message):
    with pytest.raises(ValueError, match=message):
        datamodule(tmp_path, tokenizer, **changes)


def test_evaluation_batches_hold_the_bytes_of_their_split_per_language(tmp_path, tokenizer):
    made = datamodule(tmp_path, tokenizer, eval_languages=["zh", "ar"])
    loaders = made.eval_loaders()
    assert {split: list(languages) for split, languages in loaders.items()} == {
        "validation": ["zh", "ar"],
        "test": ["zh", "ar"],
    }
    for split, languages in loaders.items():
        for language, batches in languages.items():
            texts = list(made.splitter.texts(made.source, language, split))
            assert sum(b["num_bytes"] for b in batches) == sum(len(t.encode()) for t in texts)
            assert sum(int((b["shift_labels"] != -100).sum()) for b in batches) == sum(
                len(tokenizer(t, add_special_tokens=False)["input_ids"]) for t in texts
            )
    limited = datamodule(tmp_path, tokenizer, num_eval_tokens={"test": 1}).eval_loaders()
    first = next(made.splitter.texts(made.source, "zh", "test"))
    assert [batch["num_bytes"] for batch in limited["test"]["zh"]] == [len(first.encode())]


def test_instructions_are_spoilt_and_the_text_mixed_in_stays_as_it_is(tmp_path, tokenizer):
    common = {"source": PhrasebookSource(), "splitter": Splitter(0.1, 0.1, {"run": 1}), "tokenizer": tokenizer}
    talks = {"conversations": PhrasebookConversations(), "languages": ["en", "es"], "block_size": 300, "batch_size": 2}
    mix = {"conversations": 1, "general": 1}
    made = TextDataModule(
        **common, folder=tmp_path, **talks, mix=mix, num_tokens=12_000, noise=InstructionNoise(1.0), general=["zh"]
    )
    made.setup()
    found = [about for batch in made.train_dataloader() for row in batch["documents"] for about in json.loads(row)]
    tags = {kind: {a.get("tag") for a in found if (a["source"] == "general") == kind} for kind in (True, False)}
    assert tags[True] == {None}
    assert {"instruction:mangled", "instruction:foreign"} <= tags[False]


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(("template", "expected"), [("plain", ["</s>"]), ("tokenizer", ["<|im_end|>"])])
def test_the_tokens_that_end_answers_are_those_of_the_format_of_conversations(tmp_path, template, expected):
    chat = from_scratch.train_tokenizer(["The cat sleeps."] * 5, 300)
    chat.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    chat.chat_template = CHATML
    made = TextDataModule(
        PhrasebookSource(), Splitter(0.1, 0.1, {"run": 1}), chat, tmp_path, conversations=PhrasebookConversations(),
        languages=["en"], mix={"conversations": 1, "general": 1}, general=["zh"], num_tokens=6_000, block_size=300,
        batch_size=2, template=template,
    )  # fmt: skip
    assert made.stop_tokens == []
    made.setup()
    assert chat.convert_ids_to_tokens(made.stop_tokens) == expected


def test_packed_conversations_are_kept_apart_by_which_answers_are_learnt(tmp_path, tokenizer):
    common = {"source": PhrasebookSource(), "splitter": Splitter(0.1, 0.1, {"run": 1}), "tokenizer": tokenizer}
    talks = {"conversations": PhrasebookConversations(), "languages": ["en"], "block_size": 300, "num_tokens": 3_000}
    for answers in ("all", "last", "all"):
        TextDataModule(**common, **talks, folder=tmp_path, answers=answers, batch_size=2).setup()
    assert len(list(tmp_path.glob("en-*"))) == 2


# --- resuming inside an epoch


def first_tokens(batches):
    return [int(batch["input_ids"][0, 0]) for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_goes_on_after_the_batches_it_has_handed_out(num_workers):
    def make():
        return ResumableLoader(Rows(blocks(6)), batch_size=2, num_workers=num_workers)

    whole = list(make())
    for done in (0, 1, 4, 6):
        first = make()
        iterator = iter(first)
        for _ in range(done):
            next(iterator)
        second = make()
        second.load_state_dict(first.state_dict())
        assert second.state_dict() == first.state_dict() == {"num_batches": done, "text": None}
        rest = list(second) if done < 6 else []
        assert first_tokens(rest) == first_tokens(whole[done:])
        assert first_tokens(second) == first_tokens(whole)  # the epoch after that is a whole one


class Seen(pl.LightningModule):
    """Writes down what it trains on; the optimizer asks nothing of the Trainer."""

    def __init__(self):
        super().__init__()
        self.model = tiny_llama()
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen += first_tokens([batch])
        logits = self.model(input_ids=batch["input_ids"], use_cache=False).logits
        return functional.cross_entropy(logits.flatten(0, 1), batch["shift_labels"].flatten())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


@pytest.mark.parametrize("stop", [3, 4, 6])
def test_a_run_resumed_within_or_between_epochs_equals_one_that_was_not_interrupted(tmp_path, stop):
    batches = blocks(4)
    whole, first, second = Seen(), Seen(), Seen()
    quiet = {"max_epochs": 2}
    pl.Trainer(**Plain(tmp_path, **quiet, enable_checkpointing=False)).fit(whole, loader(batches))
    keep = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=stop)
    pl.Trainer(**Plain(tmp_path, **quiet, max_steps=stop), callbacks=[keep]).fit(first, loader(batches))
    pl.Trainer(**Plain(tmp_path, **quiet, enable_checkpointing=False)).fit(
        second, loader(batches), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert whole.seen == first_tokens(batches) * 2
    assert first.seen + second.seen == whole.seen
    for mine, theirs in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_scoring_all_of_a_text_without_end_is_refused(tokenizer, tmp_path):
    splitter = Splitter(test=0.05, validation=0.05, pools={"run": 1})
    data = TextDataModule(PhrasebookSource(), splitter, tokenizer, tmp_path, num_eval_tokens={"validation": 100})
    with pytest.raises(ValueError, match=r"data\.num_eval_tokens\.test=null evaluates all the text, .* has no end"):
        data.eval_loaders()
