"""The loss without logits: equal to the plain way and to float64 by hand, never N x V numbers, sharded too."""

from functools import partial

import pytest
import torch
from torch import nn
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from lightning_langcore import ContinuedPretraining, CoreGuard
from lightning_langcore.metrics import chunked_cross_entropy as room
from lightning_langcore.metrics.chunked_cross_entropy import LossHead
from tests.support.memory import Largest
from tests.support.models import VOCAB, random_half, tiny_llama
from tests.support.training import blocks, fit

SGD = partial(torch.optim.SGD, lr=0.1)
SMALL = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
KINDS = {
    "untied": tiny_llama,
    "tied": lambda: tied(tiny_llama()),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=1, n_head=2)),
    "bias": lambda: PhiForCausalLM(PhiConfig(**SMALL, intermediate_size=64)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, intermediate_size=64, num_key_value_heads=1)),
    "cohere": lambda: CohereForCausalLM(CohereConfig(**SMALL, intermediate_size=64)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(**SMALL, intermediate_size=64, logits_scaling=8.0)),
}


def tied(model):
    model.lm_head.weight = model.model.embed_tokens.weight
    return model


def make(kind):
    torch.manual_seed(0)
    model = KINDS[kind]().float().train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def a_head(num=30, hidden=8, vocab=50, bias=True, dtype=torch.float64):
    """Head, hidden states of two rows and labels, every fourth of which does not count."""
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(hidden, vocab, bias=bias, dtype=dtype)
    with torch.no_grad():
        for p in head.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    states = torch.randn(2, num // 2, hidden, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    labels = torch.randint(0, vocab, (2, num // 2), generator=generator)
    labels.view(-1)[::4] = -100
    return head, states, labels


def by_hand(head, states, labels):
    """Nats of each position and the gradients of their weighted sum, from the definition, one position at a time."""
    weight, bias = head.weight.detach().double(), None if head.bias is None else head.bias.detach().double()
    nats, d_weight = torch.zeros(labels.shape, dtype=torch.float64), torch.zeros_like(weight)
    d_states, d_bias = torch.zeros(states.shape, dtype=torch.float64), torch.zeros(len(weight), dtype=torch.float64)
    for b, t in (labels != -100).nonzero().tolist():
        h = states[b, t].detach().double()
        logits = weight @ h if bias is None else weight @ h + bias
        p = torch.exp(logits) / torch.exp(logits).sum()
        nats[b, t] = -torch.log(p[labels[b, t]])
        p[labels[b, t]] -= 1
        d_states[b, t], d_bias = weight.T @ p, d_bias + p
        d_weight += torch.outer(p, h)
    return nats, d_states, d_weight, d_bias


def through(head, states, labels):
    loss = LossHead(head)
    with loss.installed(labels):
        total = head(states)
    return total, loss.nats


@pytest.mark.parametrize("rows", [1, 7, 512])
@pytest.mark.parametrize("bias", [False, True])
def test_nats_and_gradients_are_those_of_the_definition(monkeypatch, rows, bias):
    monkeypatch.setattr(room, "_ROWS", rows)
    head, states, labels = a_head(bias=bias)
    nats, d_states, d_weight, d_bias = by_hand(head, states, labels)
    total, each = through(head, states, labels)
    (0.25 * total).backward()
    assert total.item() == pytest.approx(nats.sum().item(), rel=1e-12)
    assert each.dtype == torch.float32
    assert not each.requires_grad
    assert torch.allclose(each.double(), nats, rtol=1e-6)
    assert torch.allclose(states.grad, 0.25 * d_states, rtol=1e-10, atol=1e-12)
    assert torch.allclose(head.weight.grad, 0.25 * d_weight, rtol=1e-10, atol=1e-12)
    if bias:
        assert torch.allclose(head.bias.grad, 0.25 * d_bias, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("way", ["autocast", "bfloat16"])
def test_half_precision_is_as_near_to_float64_as_the_plain_way(monkeypatch, way):
    monkeypatch.setattr(room, "_ROWS", 7)
    head, states, labels = a_head(num=64, dtype=torch.float32 if way == "autocast" else torch.bfloat16)
    nats, *expected = by_hand(head, states, labels)
    errors = []
    for chunked in (False, True):
        states.grad = head.weight.grad = head.bias.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
            if chunked:
                total, _ = through(head, states, labels)
            else:
                total = nn.functional.cross_entropy(
                    head(states).float().flatten(0, 1), labels.flatten(), reduction="sum"
                )
        total.backward()
        assert total.dtype == torch.float32
        found = [states.grad, head.weight.grad, head.bias.grad]
        assert all(g.dtype == p.dtype for g, p in zip(found, [states, *head.parameters()], strict=True))
        gradients = [((g.double() - e).norm() / e.norm()).item() for g, e in zip(found, expected, strict=True)]
        errors.append([abs(total.item() / nats.sum().item() - 1), *gradients])
    plain, chunked = errors
    assert max(plain) < 0.02
    assert all(mine < 2 * other + 1e-3 for mine, other in zip(chunked, plain, strict=True)), (plain, chunked)


@pytest.mark.parametrize("kind", ["untied", "tied", "gpt2", "bias"])
def test_loss_and_gradients_of_a_model_are_those_of_the_plain_way(monkeypatch, kind):
    monkeypatch.setattr(room, "_ROWS", 13)
    model = make(kind)
    batch = {name: values.clone() for name, values in blocks(1)[0].items()}
    batch["shift_labels"][:, 3:6] = -100
    results = []
    for chunked in (False, True):
        module = ContinuedPretraining(model, SGD, chunked_loss=chunked)
        module._head = LossHead(model.get_output_embeddings()) if chunked else None
        model.zero_grad()
        loss = module._loss(module._inputs(batch), batch["shift_labels"])
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        results.append((loss.item(), module.token_nats, gradients))
    (loss, nats, plain), (chunked_loss, chunked_nats, chunked) = results
    assert chunked_loss == pytest.approx(loss, rel=1e-6)
    assert torch.allclose(chunked_nats, nats, rtol=1e-5)
    assert (nats == 0).tolist() == (chunked_nats == 0).tolist() == (batch["shift_labels"] == -100).tolist()
    assert nats.sum().item() / (nats != 0).sum().item() == pytest.approx(loss, rel=1e-6)
    for name, gradient in plain.items():
        assert torch.allclose(chunked[name], gradient, rtol=1e-5, atol=1e-7), name


def test_no_operation_ever_makes_all_logits(monkeypatch):
    monkeypatch.setattr(room, "_ROWS", 8)
    model, batch = tiny_llama(), blocks(1, size=32, rows=4)[0]
    largest = []
    for chunked in (False, True):
        module = ContinuedPretraining(model, SGD)
        module._head = LossHead(model.lm_head) if chunked else None
        with Largest() as mode:
            module._loss(module._inputs(batch), batch["shift_labels"]).backward()
        largest.append(mode.numel)
    assert largest[0] == 4 * 32 * VOCAB
    assert largest[1] == VOCAB * 32  # the gradient of the head; the chunks are 8 x VOCAB


def test_positions_without_a_label_are_not_looked_at():
    head, states, labels = a_head()
    with torch.no_grad():
        states[labels == -100] = torch.nan
    total, nats = through(head, states, labels)
    total.backward()
    assert torch.isfinite(total)
    assert not nats[labels == -100].any()
    assert not states.grad[labels == -100].any()
    assert all(torch.isfinite(g).all() for g in (states.grad, head.weight.grad))
    total, nats = through(head, states, torch.full_like(labels, -100))
    states.grad = head.weight.grad = None
    total.backward()
    assert total.item() == 0.0
    assert not any(x.any() for x in (nats, states.grad, head.weight.grad))


def test_a_frozen_head_gets_no_gradient_and_passes_it_on():
    head, states, labels = a_head(bias=False)
    _, d_states, _, _ = by_hand(head, states, labels)
    head.requires_grad_(requires_grad=False)
    through(head, states, labels)[0].backward()
    assert head.weight.grad is None
    assert torch.allclose(states.grad, d_states, rtol=1e-10, atol=1e-12)


def test_the_head_gets_its_own_forward_back_and_misfits_are_refused():
    head, states, labels = a_head()
    logits = head(states)
    with pytest.raises(ValueError, match=r"hidden states \(2, 15, 8\) do not fit labels \(2, 14\)"):
        through(head, states, labels[:, 1:])
    assert "forward" not in vars(head)
    assert torch.equal(head(states), logits)
    head.forward = own = lambda h: h  # as hooks of other libraries leave it
    through(head, states, labels)
    assert head.forward is own


def test_one_loss_goes_backward_once():
    total, _ = through(*a_head())
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"task\.chunked_loss=true: backward can't run twice on one loss"):
        total.backward()


@pytest.mark.parametrize("kind", ["gemma2", "cohere", "granite"])
def test_models_that_change_their_logits_are_refused_by_name(kind):
    model = make(kind)
    before = [p.detach().clone() for p in model.parameters()]
    pattern = (
        rf"task\.chunked_loss=true: the logits of {type(model).__name__} are not .* choose task\.chunked_loss=false"
    )
    with pytest.raises(ValueError, match=pattern):
        fit(ContinuedPretraining(model, SGD, chunked_loss=True), blocks(1), [])
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    fit(ContinuedPretraining(model, SGD), blocks(1), [])
    if kind == "gemma2":
        model.config.final_logit_softcapping = None
        fit(ContinuedPretraining(model, SGD, chunked_loss=True), blocks(1), [])


def test_float16_is_refused_for_the_small_gradients_it_would_lose():
    with pytest.raises(ValueError, match=r"task\.chunked_loss=true: with trainer\.precision=16-true small gradients"):
        fit(ContinuedPretraining(tiny_llama(), SGD, chunked_loss=True), blocks(1), [], precision="16-true")


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "bf16-mixed"])
def test_a_guarded_fit_ends_where_the_plain_one_does(precision):
    ends, region = [], random_half(tiny_llama())
    for chunked in (False, True):
        module = ContinuedPretraining(tiny_llama(), SGD, chunked_loss=chunked)
        more = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5, "precision": precision}
        trainer = fit(module, blocks(6), [CoreGuard(region)], **more)
        ends.append((float(trainer.callback_metrics["train/loss"]), dict(module.model.named_parameters())))
    start = {name: p.to(ends[0][1][name].dtype) for name, p in tiny_llama().named_parameters()}
    exact = precision == "32-true"
    assert ends[1][0] == pytest.approx(ends[0][0], rel=1e-6 if exact else 1e-3)
    for name, p in ends[0][1].items():
        moved = (p - start[name]).float().norm()
        assert moved > 0 or ("norm" in name and precision == "bf16-true")  # near 1, where bfloat16 is coarse
        assert (p - ends[1][1][name]).float().norm() < (1e-4 if exact else 0.1) * moved + 1e-6, name
    for name, idx in region:
        assert torch.equal(ends[1][1][name].detach().view(-1)[idx], start[name].detach().view(-1)[idx])
