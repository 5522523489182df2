"""Plain Lightning scripts: validate, monitor ``val/loss``, save and restore; and runs, which evaluate by a callback."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.nn import functional
from torch.utils.data import DataLoader

from lightning_langcore import (
    ContinuedPretraining,
    LangcoreError,
    MultilingualPerplexity,
    PhrasebookSource,
    Splitter,
    SupervisedFineTuning,
    TextDataModule,
)
from lightning_langcore.data.evaluation_batches import EvalLoader
from tests.support.datamodules import datamodule
from tests.support.evaluation import LOADERS, ragged
from tests.support.models import VOCAB, tiny_llama
from tests.support.training import Plain, Rows, blocks, loader

SGD = partial(torch.optim.SGD, lr=0.1)
TEXT = [batch for batches in LOADERS.values() for batch in batches]


def trainer_of(folder=None, **more):
    return pl.Trainer(**Plain(folder, **({"max_epochs": 1, "enable_checkpointing": False} | more)))


def by_hand(model, batches):
    """Mean nats over all labels of all batches, from all logits at once."""
    with torch.no_grad():
        nats = torch.stack(
            [
                functional.cross_entropy(
                    model.eval()(b["input_ids"]).logits.double().flatten(0, 1), b["shift_labels"].flatten(),
                    reduction="sum",
                )
                for b in batches
            ]
        )  # fmt: skip
    return (nats.sum() / sum(int((b["shift_labels"] != -100).sum()) for b in batches)).item()


@pytest.mark.parametrize("kind", [ContinuedPretraining, SupervisedFineTuning])
@pytest.mark.parametrize("chunked", [False, True])
def test_every_token_has_the_same_weight_whatever_the_batches(kind, chunked):
    model = tiny_llama()
    expected = by_hand(model, TEXT)
    module = kind(model, SGD, chunked_loss=chunked)
    for loaders in (EvalLoader(TEXT), [EvalLoader(LOADERS["zh"]), EvalLoader(LOADERS["en"])]):
        [result, *_] = trainer_of().validate(module, loaders, verbose=False)
        assert result["val/loss"] == pytest.approx(expected, rel=1e-6)
    means = [by_hand(model, [batch]) for batch in TEXT]
    assert sum(means) / len(means) != pytest.approx(expected, rel=1e-4)  # the mean of batches is another figure


def test_any_loader_of_our_batches_serves():
    batches = blocks(3)
    expected = by_hand(tiny_llama(), batches)
    rows = DataLoader(Rows(batches), batch_size=4)
    unshifted = [{"input_ids": b["input_ids"], "labels": b["input_ids"]} for b in batches]
    shifted = [{**b, "shift_labels": functional.pad(b["input_ids"][:, 1:], (0, 1), value=-100)} for b in batches]
    for loaded, figure in ((rows, expected), (EvalLoader(unshifted), by_hand(tiny_llama(), shifted))):
        [result] = trainer_of().validate(ContinuedPretraining(tiny_llama()), loaded, verbose=False)
        assert result["val/loss"] == pytest.approx(figure, rel=1e-6)


def test_conversations_of_a_row_are_kept_apart():
    ids = torch.randint(0, VOCAB, (1, 8))
    labels = functional.pad(ids[:, 1:], (0, 1), value=-100)
    labels[0, 3] = -100
    packed = {"input_ids": ids, "shift_labels": labels, "position_ids": torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]])}
    alone = [{"input_ids": ids[:, s], "shift_labels": labels[:, s]} for s in (slice(4), slice(4, 8))]
    [result] = trainer_of().validate(SupervisedFineTuning(tiny_llama()), EvalLoader([packed]), verbose=False)
    assert result["val/loss"] == pytest.approx(by_hand(tiny_llama(), alone), rel=1e-5)
    assert result["val/loss"] != pytest.approx(by_hand(tiny_llama(), [packed]), rel=1e-5)


def test_the_datamodule_gives_what_the_callback_measures_pooled(tmp_path, tokenizer):
    data = datamodule(tmp_path, tokenizer, num_eval_tokens={"validation": 200})
    callback = MultilingualPerplexity(data.eval_loaders()["validation"], milestones=[0])
    still = ContinuedPretraining(tiny_llama(), partial(torch.optim.SGD, lr=0.0))
    trainer = trainer_of(callbacks=[callback], max_steps=1)
    trainer.fit(still, datamodule=data)
    base = [row for row in callback.rows if row["stage"] == "base"]
    tokens = sum(row["num_tokens"] for row in base)
    pooled = sum(row["nats_per_token"] * row["num_tokens"] for row in base) / tokens
    assert {row["lang"] for row in base} == {"ar", "ru", "zh"}
    [result] = trainer_of().validate(still, datamodule=data, verbose=False)
    assert result["val/loss"] == pytest.approx(pooled, rel=1e-6)


def test_validating_packs_no_training_text(tmp_path, tokenizer):
    source = datamodule(tmp_path / "elsewhere", tokenizer, num_eval_tokens={"validation": 50})
    data = type(source)(
        source.source, source.splitter, tokenizer, tmp_path / "tokens", num_eval_tokens={"validation": 50},
        block_size=20, num_tokens=1200,
    )  # fmt: skip
    trainer_of().validate(ContinuedPretraining(tiny_llama()), datamodule=data, verbose=False)
    assert not list((tmp_path / "tokens").rglob("*"))


def test_callbacks_monitor_it(tmp_path):
    held_out = EvalLoader(ragged([[9, 4], [12]], 5))
    stopper = EarlyStopping(monitor="val/loss", patience=0, mode="max")  # the loss falls, so it stops at once
    best = ModelCheckpoint(tmp_path, monitor="val/loss", save_top_k=1)
    trainer = trainer_of(tmp_path, max_epochs=9, enable_checkpointing=True, callbacks=[stopper, best])
    batches = [{k: v for k, v in b.items() if k != "num_bytes"} for b in held_out]
    trainer.fit(ContinuedPretraining(tiny_llama(), SGD), EvalLoader(batches), held_out)
    assert trainer.current_epoch == 2  # one epoch to compare with, one without improvement
    assert best.best_model_score.item() == pytest.approx(trainer.callback_metrics["val/loss"].item())
    trained = ContinuedPretraining.load_from_checkpoint(best.best_model_path, model=tiny_llama(seed=9))
    assert by_hand(trained.model, list(held_out)) == pytest.approx(best.best_model_score.item(), rel=1e-5)


@pytest.mark.parametrize("kind", [ContinuedPretraining, SupervisedFineTuning])
def test_a_checkpoint_restores_weights_and_settings_into_any_model_of_the_shape(kind, tmp_path):
    module = kind(tiny_llama(), SGD, "constant_with_warmup", num_warmup_steps=3, chunked_loss=True)
    trainer = trainer_of(tmp_path)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    restored = kind.load_from_checkpoint(tmp_path / "one.ckpt", model=tiny_llama(seed=1))
    for name, tensor in module.model.state_dict().items():
        assert torch.equal(restored.model.state_dict()[name], tensor), name
    assert dict(restored.hparams) == {
        "schedule": "constant_with_warmup", "num_warmup_steps": 3, "schedule_kwargs": None,
        "chunked_loss": True, "compile": False,
    }  # fmt: skip
    with pytest.raises(LangcoreError, match="has no optimizer to train with"):
        trainer_of().fit(restored, loader(blocks(1)))
    again = kind.load_from_checkpoint(tmp_path / "one.ckpt", model=tiny_llama(seed=1), optimizer=SGD)
    positions = {"position_ids": torch.arange(16).expand(2, -1)}
    fit = trainer_of(max_steps=2)
    fit.fit(again, EvalLoader([{**batch, **positions} for batch in blocks(2)]))
    assert fit.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 2 / 3)  # the warm-up of three steps


def test_validation_leaves_training_as_it_is():
    states = []
    for held_out in (None, EvalLoader(TEXT)):
        module = ContinuedPretraining(tiny_llama(attention_dropout=0.2), SGD)
        pl.seed_everything(1)
        trainer_of(max_epochs=2).fit(module, loader(blocks(4)), held_out)
        states.append(module.model.state_dict())
    assert all(torch.equal(states[1][name], tensor) for name, tensor in states[0].items())


def test_a_fit_on_text_without_end_is_not_validated_and_asked_for_it_says_what_is_missing(tmp_path, tokenizer):
    text = TextDataModule(
        PhrasebookSource(),
        Splitter(0.1, 0.1, {"run": 1}),
        tokenizer,
        tmp_path,
        languages=["en"],
        num_tokens=600,
        block_size=20,
    )
    module = ContinuedPretraining(tiny_llama(), SGD)
    trainer = pl.Trainer(**Plain(tmp_path, max_epochs=1, enable_checkpointing=False))
    trainer.fit(module, datamodule=text)
    assert trainer.global_step > 0
    assert "val/loss" not in trainer.callback_metrics
    with pytest.raises(LangcoreError, match=r"num_eval_tokens\.validation=null .* has no end: set a number"):
        pl.Trainer(**Plain(tmp_path)).validate(module, datamodule=text)
