"""Fine-tuning on packed conversations: the same logits, loss and gradients as each conversation by itself."""

import functools
import math

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from lightning_langcore import ContinuedPretraining
from lightning_langcore.metrics.functional import next_token_mean
from lightning_langcore.training.modules import SupervisedFineTuning
from tests.support.conversations import IGNORE, LENGTHS, WIDTH, Losses, packed, with_documents
from tests.support.models import VOCAB, tiny_llama
from tests.support.training import fit

sgd = functools.partial(torch.optim.SGD, lr=0.1)


def model_of(kind, attention):
    small = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    made = {
        "llama": lambda: tiny_llama(num_key_value_heads=1),
        "mistral": lambda: MistralForCausalLM(
            MistralConfig(**small, intermediate_size=64, num_key_value_heads=1, sliding_window=3)
        ),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=2)),
    }[kind]()
    made.set_attn_implementation(attention)
    with torch.no_grad():
        for p in made.parameters():  # a fresh model of the usual spread attends to everything alike
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return made.float()


def cut_apart(logits, lengths=LENGTHS):
    return [part for row, sizes in zip(logits, lengths, strict=True) for part in row[: sum(sizes)].split(sizes)]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2"])
def test_logits_of_packed_rows_are_those_of_each_conversation_alone(kind, attention):
    module = SupervisedFineTuning(model_of(kind, attention), sgd).eval()
    batch, alone = packed()
    with torch.no_grad():
        found = cut_apart(module(batch["input_ids"], batch["position_ids"]))
        mixed = cut_apart(module(batch["input_ids"]))
        expected = [module(torch.tensor([tokens]))[0] for tokens, _ in alone]
    assert len(found) == len(expected) == 7
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    behind_another = [1, 2, 3, 6]
    assert all((mixed[i] - expected[i]).abs().max() > 1e-2 for i in behind_another)


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_loss_and_gradients_of_packed_rows_are_those_of_the_answers_alone(attention):
    batch, alone = packed()
    model = model_of("llama", attention)
    nats, count = 0.0, 0
    for tokens, flags in alone:
        logits = model(torch.tensor([tokens])).logits[0]
        for position, (token, flag) in enumerate(zip(tokens, flags, strict=True)):
            if flag:
                nats = nats - logits[position - 1].log_softmax(-1)[token]
                count += 1
    assert count > 10
    (nats / count).backward()
    expected = gradients(model)
    model.zero_grad()
    logits = SupervisedFineTuning(model, sgd)(batch["input_ids"], batch["position_ids"])
    loss = next_token_mean(logits, batch["shift_labels"])
    loss.backward()
    assert loss.item() == pytest.approx(nats.item() / count, rel=1e-6)
    for name, gradient in gradients(model).items():
        assert torch.allclose(gradient, expected[name], atol=1e-6), name


def test_a_fit_follows_plain_steps_over_single_conversations():
    batches = [packed(seed=seed) for seed in range(3)]
    reference, trained = model_of("llama", "sdpa"), model_of("llama", "sdpa")
    optimizer, losses = torch.optim.SGD(reference.parameters(), lr=0.1), []
    for _, alone in batches:
        pairs = [(torch.tensor([tokens]), torch.tensor([flags])) for tokens, flags in alone]
        nats = [
            F.cross_entropy(reference(t).logits[0, :-1][f[0, 1:]], t[0, 1:][f[0, 1:]], reduction="sum")
            for t, f in pairs
        ]
        loss = sum(nats) / sum(int(f.sum()) for _, f in pairs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    seen = Losses()
    fit(SupervisedFineTuning(trained, sgd), [with_documents(batch) for batch, _ in batches], [seen])
    assert seen.losses == pytest.approx(losses, rel=1e-5)
    for (name, p), q in zip(trained.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-5), name


def test_rows_of_one_text_are_trained_as_in_pretraining_bit_for_bit():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, VOCAB, (4, 2, WIDTH + 1), generator=generator)
    batches = [
        with_documents(
            {
                "input_ids": t[:, :-1],
                "shift_labels": t[:, 1:],
                "position_ids": torch.arange(WIDTH).expand(2, -1),
            }
        )
        for t in tokens
    ]
    states = []
    for kind in (ContinuedPretraining, SupervisedFineTuning):
        model = tiny_llama(attention_dropout=0.1)  # draws random numbers: trying the model must draw none
        torch.manual_seed(3)
        fit(kind(model, functools.partial(torch.optim.AdamW, lr=1e-3), "cosine", 1), batches, [], gradient_clip_val=0.5)
        states.append([p.detach() for p in model.parameters()])
        assert all(m.training for m in model.modules())
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


def test_a_batch_without_answers_has_no_loss_and_no_gradient():
    batch, _ = packed()
    batch["shift_labels"][:] = IGNORE
    seen = Losses()
    fit(SupervisedFineTuning(tiny_llama(), sgd), [with_documents(batch)], [seen])
    assert seen.losses == [0.0]
    assert all(not gradient.any() for gradient in seen.gradients[0].values())


def test_each_micro_batch_counts_the_same_when_gradients_are_accumulated():
    few, many = packed([[8]], seed=1)[0], packed([[16]], seed=2)[0]
    few["shift_labels"][:, 3:] = IGNORE
    few["shift_labels"][:, 2] = few["input_ids"][:, 3]
    expected = []
    for batch in (few, many):
        model = tiny_llama()
        logits = model(batch["input_ids"], position_ids=batch["position_ids"]).logits
        F.cross_entropy(logits.flatten(0, 1), batch["shift_labels"].flatten()).backward()
        expected.append(gradients(model))
    assert (few["shift_labels"] != IGNORE).sum() * 2 < (many["shift_labels"] != IGNORE).sum()
    seen = Losses()
    batches = [with_documents(batch) for batch in (few, many)]
    fit(SupervisedFineTuning(tiny_llama(), sgd), batches, [seen], accumulate_grad_batches=2)
    (found,) = seen.gradients
    for name, gradient in found.items():
        assert torch.allclose(gradient, (expected[0][name] + expected[1][name]) / 2, atol=1e-6), name


class Deaf(LlamaForCausalLM):
    """Sees positions, but no ends of conversations, as flash attention does with several rows."""

    def forward(self, input_ids, position_ids=None, **more):
        return super().forward(input_ids, attention_mask=torch.ones_like(input_ids), position_ids=position_ids, **more)


@pytest.mark.parametrize("kind", [Deaf, LlamaForCausalLM])
def test_only_the_model_that_does_not_heed_the_positions_is_refused(kind):
    model = kind(tiny_llama().config)
    module = SupervisedFineTuning(model, sgd)
    trainer = functools.partial(fit, module, [with_documents(packed()[0])], [])
    if kind is Deaf:
        before = [p.detach().clone() for p in model.parameters()]
        with pytest.raises(ValueError, match=r"task=sft: Deaf with model\.attention=sdpa lets a conversation see"):
            trainer()
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    else:
        trainer()


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_half_precision_is_not_taken_for_mixing(precision):
    fit(SupervisedFineTuning(tiny_llama(), sgd), [with_documents(packed()[0])], [], precision=precision)


def test_batches_without_positions_and_losses_that_are_no_number_are_refused():
    batch, _ = packed()
    del batch["position_ids"]
    with pytest.raises(ValueError, match=r"task=sft: the batches have no position_ids: choose data=phrasebook_sft"):
        fit(SupervisedFineTuning(tiny_llama(), sgd), [with_documents(batch)], [])
    broken = tiny_llama()
    with torch.no_grad():
        broken.lm_head.weight[0, 0] = math.nan
    with pytest.raises(ValueError, match="train/loss is nan at step 0"):
        fit(SupervisedFineTuning(broken, sgd), [with_documents(packed()[0])], [])
