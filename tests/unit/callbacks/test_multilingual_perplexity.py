"""Figures against a plain loop; milestones against hand-counted documents; training untouched."""

import copy
import math
from functools import partial

import lightning.pytorch as pl
import pytest
import torch

from lightning_langcore import ContinuedPretraining, CoreGuard, MultilingualPerplexity
from lightning_langcore.callbacks import in_order
from tests.support.evaluation import LOADERS
from tests.support.models import VOCAB, random_half, tiny_llama
from tests.support.training import Plain, blocks, fit, loader

ADAMW = partial(torch.optim.AdamW, lr=1e-2)


def plain_nats(model, batches):
    """Sequence by sequence, without padding, token by token."""
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            for ids, labels in zip(batch["input_ids"], batch["shift_labels"], strict=True):
                length = int((labels != -100).sum())
                logp = model(input_ids=ids[None, :length]).logits[0].double().log_softmax(-1)
                total -= sum(float(logp[t, labels[t]]) for t in range(length))
                count += length
    return total, count


def test_figures_equal_a_plain_loop_and_are_logged_by_name():
    module = ContinuedPretraining(tiny_llama(), ADAMW)
    model = copy.deepcopy(module.model).eval()
    callback = MultilingualPerplexity(LOADERS, milestones=[0])
    fit(module, blocks(1), [callback])
    rows = {(r["stage"], r["lang"]): r for r in callback.rows}
    for lang, batches in LOADERS.items():
        nats, count = plain_nats(model, batches)
        row = rows["base", lang]
        assert row["num_tokens"] == count
        assert row["nats_per_token"] == pytest.approx(nats / count, rel=1e-6)
        assert row["ppl"] == pytest.approx(math.exp(nats / count), rel=1e-5)
        assert row["bits_per_byte"] == pytest.approx(nats / math.log(2) / (3 * count), rel=1e-6)


class Log(pl.loggers.CSVLogger):
    def __init__(self, folder):
        super().__init__(folder)
        self.seen = []

    def log_metrics(self, metrics, step=None):
        self.seen.append((step, dict(metrics)))


def test_milestones_fire_at_the_first_step_that_reaches_them(tmp_path):
    """Each batch has 2 rows, each ends one document: 2 samples a step, 4 with accumulation over two batches."""
    for accumulate, expected in ((1, [(0, "base"), (4, "training"), (6, "training"), (12, "final")]),
                                 (2, [(0, "base"), (4, "training"), (8, "training"), (12, "final")])):  # fmt: skip
        callback = MultilingualPerplexity(LOADERS, milestones=[0, 3, 4, 5, 12])
        log = Log(tmp_path)
        module = ContinuedPretraining(tiny_llama(), ADAMW)
        trainer = pl.Trainer(
            **Plain(None, max_epochs=1, enable_checkpointing=False, accumulate_grad_batches=accumulate)
            | {"logger": log},
            callbacks=[callback],
        )
        trainer.fit(module, loader(blocks(6)))
        assert [(r["samples"], r["stage"]) for r in callback.rows if r["lang"] == "zh"] == expected
        names = {name for _, metrics in log.seen for name in metrics}
        assert {"val/ppl/zh", "val/ppl/en", "val/bits_per_byte/zh", "val/ppl/mean", "samples"} <= names


def test_training_with_it_is_bit_identical_and_the_mode_stays():
    model = tiny_llama(attention_dropout=0.2)
    model.model.layers[0].eval()
    results = []
    for callbacks in ([], [MultilingualPerplexity(LOADERS, milestones=range(12))]):
        pl.seed_everything(3)
        module = ContinuedPretraining(copy.deepcopy(model), ADAMW)
        fit(module, blocks(6), callbacks)
        results.append({n: p.detach() for n, p in module.named_parameters()})
        assert module.model.training
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


class Foreign(pl.LightningModule):
    """A module of another project: transformers' unshifted labels, output with .logits."""

    def __init__(self):
        super().__init__()
        self.net = tiny_llama()

    def forward(self, input_ids):
        return self.net(input_ids=input_ids)

    def training_step(self, batch, _):
        return self.net(input_ids=batch["input_ids"], labels=batch["input_ids"]).loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_foreign_module_with_unshifted_labels():
    module = Foreign()
    start = copy.deepcopy(module.net).eval()
    ids = torch.randint(0, VOCAB, (2, 10), generator=torch.Generator().manual_seed(0))
    callback = MultilingualPerplexity({"xx": [{"input_ids": ids, "labels": ids, "num_bytes": 40}]}, milestones=[0])
    fit(module, blocks(2), [callback])
    with torch.no_grad():
        expected = float(start(input_ids=ids, labels=ids).loss)
    assert callback.rows[0]["nats_per_token"] == pytest.approx(expected, rel=1e-6)
    assert callback.rows[0]["num_tokens"] == 18
    assert callback.rows[-1]["samples"] == 4  # rows count as documents where a batch does not say


class Pairs(Foreign):
    """Batches are pairs of tensors, as a TensorDataset gives them."""

    def training_step(self, batch, _):
        return self.net(input_ids=batch[0], labels=batch[1]).loss


def test_rows_of_a_batch_that_is_a_pair_count_as_documents():
    ids = torch.randint(0, VOCAB, (6, 10), generator=torch.Generator().manual_seed(0))
    callback = MultilingualPerplexity(LOADERS)
    trainer = pl.Trainer(**Plain(None, max_epochs=1, enable_checkpointing=False), callbacks=[callback])
    pairs = torch.utils.data.TensorDataset(ids, ids)
    trainer.fit(Pairs(), torch.utils.data.DataLoader(pairs, batch_size=3))
    assert {row["samples"] for row in callback.rows} == {6}


def test_resumed_rows_equal_uninterrupted_ones(tmp_path):
    batches = blocks(8)
    whole = MultilingualPerplexity(LOADERS, milestones=[0, 4, 12])
    fit(ContinuedPretraining(tiny_llama(), ADAMW), batches, [whole], max_epochs=-1, max_steps=8)
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=3, save_top_k=-1)
    first = MultilingualPerplexity(LOADERS, milestones=[0, 4, 12])
    pl.Trainer(**Plain(tmp_path, max_steps=8), callbacks=[first, checkpoint]).fit(
        ContinuedPretraining(tiny_llama(), ADAMW), loader(batches)
    )
    resumed = MultilingualPerplexity(LOADERS, milestones=[0, 4, 12])
    trainer = pl.Trainer(**Plain(tmp_path, max_steps=8), callbacks=[resumed])
    at_three = next(tmp_path.glob("*step=3.ckpt"))
    trainer.fit(ContinuedPretraining(tiny_llama(5), ADAMW), loader(batches), ckpt_path=at_three, weights_only=True)
    assert resumed.rows == whole.rows == first.rows


def test_nothing_to_score_is_refused():
    with pytest.raises(ValueError, match="no text to evaluate"):
        fit(ContinuedPretraining(tiny_llama(), ADAMW), blocks(1), [MultilingualPerplexity(milestones=[0])])
    with pytest.raises(ValueError, match="must not be negative"):
        MultilingualPerplexity(milestones=[-1])
    with pytest.raises(ValueError, match="a loader is empty"):
        fit(ContinuedPretraining(tiny_llama(), ADAMW), blocks(1), [MultilingualPerplexity({"zh": []}, [0])])


@pytest.mark.parametrize("averaging", [pl.callbacks.EMAWeightAveraging(decay=0.5), pl.callbacks.WeightAveraging()])
def test_the_final_row_is_of_the_averaged_weights_that_the_module_holds(averaging):
    module = ContinuedPretraining(tiny_llama(), ADAMW)
    start = copy.deepcopy(module.model)
    callback = MultilingualPerplexity(LOADERS)
    guard = CoreGuard(random_half(module))
    fit(module, blocks(6), in_order([callback, guard, averaging]))
    for lang, batches in LOADERS.items():
        nats, count = plain_nats(module.model.eval(), batches)
        (row,) = [row for row in callback.rows if row["lang"] == lang]
        assert row["nats_per_token"] == pytest.approx(nats / count, rel=1e-6)
        nats, count = plain_nats(start.eval(), batches)
        assert row["nats_per_token"] != pytest.approx(nats / count, rel=1e-3)


def test_an_average_after_the_evaluation_is_refused():
    module = ContinuedPretraining(tiny_llama(), ADAMW)
    with pytest.raises(ValueError, match=r"EMAWeightAveraging comes after MultilingualPerplexity .* were evaluated"):
        fit(module, blocks(1), [MultilingualPerplexity(LOADERS), pl.callbacks.EMAWeightAveraging()])
