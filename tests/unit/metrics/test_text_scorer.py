"""Scoring through the model's own head: equal to the plain way, without all logits, and only where that is right."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from lightning_langcore.metrics import chunked_cross_entropy as room
from lightning_langcore.metrics.perplexity import TextLoss
from lightning_langcore.metrics.text_scorer import TextScorer
from tests.support.memory import Largest
from tests.support.models import VOCAB, tiny_llama

SMALL = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def gemma():
    torch.manual_seed(0)
    return Gemma2ForCausalLM(Gemma2Config(**SMALL, intermediate_size=64, num_key_value_heads=1))


class Holder(torch.nn.Module):
    """Another project's module around a model: what it makes of the logits is its own business."""

    def __init__(self, change=None):
        super().__init__()
        self.net = tiny_llama()
        self.change = change

    def forward(self, input_ids):
        logits = self.net(input_ids=input_ids).logits
        return self.change(logits) if self.change else logits


class Wide(torch.nn.Linear):
    """A head of another library, which is more than its weight."""

    def forward(self, hidden):
        return super().forward(hidden) + torch.arange(VOCAB) / 50


class Alone(torch.nn.Module):
    """No model of transformers."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(VOCAB, VOCAB)

    def forward(self, input_ids):
        return self.table(input_ids)


def with_another_head():
    holder = Holder()
    holder.net.lm_head = Wide(32, VOCAB, bias=False)
    return holder


MODULES = {  # and whether the sum of nats may stand in for the logits
    "model": (tiny_llama, True),
    "tied": (lambda: tiny_llama(tie_word_embeddings=True), True),
    "held": (Holder, True),
    "cast": (lambda: Holder(lambda logits: logits.float()), True),
    "colder": (lambda: Holder(lambda logits: logits / 0.5), False),
    "in place": (lambda: Holder(lambda logits: logits.mul_(2.0)), False),
    "cut": (lambda: Holder(lambda logits: logits.view(*logits.shape[:2], VOCAB)[:, :]), False),
    "capped": (gemma, False),
    "another head": (with_another_head, False),
    "alone": (Alone, False),
}


def a_batch(rows=3, length=20, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, VOCAB, (rows, length), generator=generator)
    labels = torch.randint(0, VOCAB, (rows, length), generator=generator)
    labels[torch.rand(rows, length, generator=generator) < 0.3] = -100
    return {"input_ids": ids, "shift_labels": labels, "num_bytes": 40}


def scored(module, batch):
    metric = TextLoss()
    with torch.no_grad():
        TextScorer(module, module)(metric, batch)
    return {name: value.item() for name, value in metric.compute().items()}


def plain(module, batch):
    with torch.no_grad():
        output = module(batch["input_ids"])
    logits = (output if isinstance(output, torch.Tensor) else output.logits).double()
    chosen = logits.log_softmax(-1).gather(-1, batch["shift_labels"].clamp(min=0)[..., None])[..., 0]
    return -chosen[batch["shift_labels"] != -100].mean().item()


@pytest.mark.parametrize("kind", MODULES)
def test_figures_are_those_of_the_modules_own_logits(monkeypatch, kind):
    monkeypatch.setattr(room, "_ROWS", 8)
    make, lends = MODULES[kind]
    module, batch = make().eval(), a_batch()
    assert (TextScorer(module, module)._head is not None) == lends
    found = scored(module, batch)
    assert found["nats_per_token"] == pytest.approx(plain(module, batch), rel=1e-6)
    assert found["num_tokens"] == (batch["shift_labels"] != -100).sum()
    assert found["num_bytes"] == 40
    assert not any(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("way", ["bfloat16", "autocast"])
def test_half_precision_is_scored_as_its_logits_are(way):
    model, batch = tiny_llama().eval(), a_batch()
    if way == "bfloat16":
        model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        assert scored(model, batch)["nats_per_token"] == pytest.approx(plain(model, batch), rel=1e-4)


def test_neither_all_logits_nor_a_gradient_of_the_head_are_made(monkeypatch):
    monkeypatch.setattr(room, "_ROWS", 8)
    model, batch = tiny_llama().eval(), a_batch(rows=4, length=32)
    with Largest() as mode:
        plain(model, batch)
    assert mode.numel == 4 * 32 * VOCAB
    with Largest() as mode:
        scored(model, batch)
    assert mode.numel == 4 * 32 * 64  # what a layer makes; a gradient of the head would be VOCAB x 32
    assert mode.numel < VOCAB * 32


def test_a_batch_without_labels_adds_nothing():
    model, batch = tiny_llama().eval(), a_batch()
    metric, score = TextLoss(), TextScorer(model, model)
    with torch.no_grad():
        score(metric, batch)
        nats = metric.nats.clone()
        score(metric, {**batch, "shift_labels": torch.full_like(batch["shift_labels"], -100), "num_bytes": 0})
    assert torch.equal(metric.nats, nats)


def test_a_batch_that_does_not_fit_is_refused():
    model, batch = tiny_llama().eval(), a_batch()
    with pytest.raises(ValueError, match="a batch to evaluate needs shift_labels or labels; it has"):
        scored(model, {"input_ids": batch["input_ids"]})
    with pytest.raises(ValueError, match=r"hidden states \(3, 20, 32\) do not fit labels \(3, 19\)"):
        scored(model, {**batch, "shift_labels": batch["shift_labels"][:, 1:]})
