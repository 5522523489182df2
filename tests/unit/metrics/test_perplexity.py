"""Perplexity against torchmetrics, where that is right, and against two plain loops."""

import math
import random

import pytest
import torch
import torchmetrics.text
from torch.nn import functional
from torchmetrics import MetricCollection

from lightning_langcore import BitsPerByte, Perplexity
from lightning_langcore.metrics.functional import IGNORE, next_token_mean, next_token_nats
from lightning_langcore.metrics.perplexity import TextLoss


def batch(rows, length, vocabulary, ignored=0.3, seed=0, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(rows, length, vocabulary, generator=generator)
    labels = torch.randint(vocabulary, (rows, length), generator=generator)
    labels[torch.rand(rows, length, generator=generator) < ignored] = IGNORE
    return logits, labels


def by_hand(logits, labels):
    """Nats and tokens with Python's floats, one position at a time."""
    nats, tokens = [], 0
    for row, targets in zip(logits.tolist(), labels.tolist(), strict=True):
        for position, target in zip(row, targets, strict=True):
            if target == -100:
                continue
            top = max(position)
            nats.append(top + math.log(math.fsum(math.exp(x - top) for x in position)) - position[target])
            tokens += 1
    return math.fsum(nats), tokens


def updated(metric, *batches, **more):
    for logits, labels in batches:
        metric.update(logits, labels, **more)
    return metric


def text_loss(*batches, num_bytes=0):
    metric = TextLoss()
    for one in batches:
        metric.update(*next_token_nats(*one), num_bytes)
    return metric


def test_equal_to_a_plain_loop_over_several_batches():
    batches = [batch(3, 7, 11, seed=1), batch(1, 40, 11, seed=2)]
    sums = [by_hand(*b) for b in batches]
    nats, tokens = sum(s[0] for s in sums), sum(s[1] for s in sums)
    loss = text_loss(*batches, num_bytes=50).compute()
    assert loss["nats_per_token"].item() == pytest.approx(nats / tokens, rel=1e-6)
    assert loss["ppl"].item() == pytest.approx(math.exp(nats / tokens), rel=1e-6)
    assert loss["bits_per_byte"].item() == pytest.approx(nats / math.log(2) / 100, rel=1e-6)
    assert (loss["num_tokens"], loss["num_bytes"]) == (tokens, 100)
    assert updated(Perplexity(), *batches).compute() == loss["ppl"]
    assert updated(BitsPerByte(), *batches, num_bytes=50).compute() == loss["bits_per_byte"]


def test_equal_to_torchmetrics_for_float32_logits():
    batches = [batch(2, 30, 50, seed=seed) for seed in range(4)]
    theirs = torchmetrics.text.Perplexity(ignore_index=IGNORE)
    for logits, labels in batches:
        theirs.update(logits, labels)
    assert updated(Perplexity(), *batches).compute().item() == pytest.approx(theirs.compute().item(), rel=1e-5)


@pytest.mark.parametrize("ignored", [-100, -1, 0, 7])
def test_any_label_can_be_ignored_as_in_torchmetrics(ignored):
    logits, labels = batch(2, 30, 20, seed=3)
    labels[labels == IGNORE] = ignored
    theirs = torchmetrics.text.Perplexity(ignore_index=ignored)
    theirs.update(logits, labels)
    ours = updated(Perplexity(ignore_index=ignored), (logits, labels)).compute().item()
    assert ours == pytest.approx(theirs.compute().item(), rel=1e-5)
    bits = updated(BitsPerByte(ignore_index=ignored), (logits, labels), num_bytes=10).compute().item()
    assert bits == pytest.approx(math.log(ours) * int((labels != ignored).sum()) / math.log(2) / 10, rel=1e-7)


def test_a_collection_with_metrics_of_torchmetrics():
    """The first batch has no byte, so that both have equal sums and a collection might let them share one."""
    batches = [(*batch(2, 9, 20, seed=seed), num_bytes) for seed, num_bytes in ((1, 0), (2, 30), (3, 11))]
    theirs = torchmetrics.text.Perplexity(ignore_index=IGNORE)
    metrics = MetricCollection({"ours": Perplexity(), "theirs": theirs, "bits": BitsPerByte()})
    for logits, labels, num_bytes in batches:
        metrics.update(logits, labels, num_bytes=num_bytes)
    nats, tokens = (sum(column) for column in zip(*(by_hand(*b[:2]) for b in batches), strict=True))
    found = {name: value.item() for name, value in metrics.compute().items()}
    assert found["ours"] == pytest.approx(math.exp(nats / tokens), rel=1e-6)
    assert found["theirs"] == pytest.approx(found["ours"], rel=1e-5)
    assert found["bits"] == pytest.approx(nats / math.log(2) / 41, rel=1e-6)


def test_more_positions_than_one_chunk_are_all_counted():
    logits, labels = batch(3, 700, 5, ignored=0.1)
    nats, tokens = next_token_nats(logits, labels)
    assert tokens == (labels != IGNORE).sum()
    reference = functional.cross_entropy(logits.double().flatten(0, 1), labels.flatten(), reduction="sum")
    assert nats.item() == pytest.approx(reference.item(), rel=1e-7)


def test_bfloat16_logits_are_read_exactly_and_summed_in_float32_or_better():
    logits, labels = batch(2, 60, 400, spread=8.0)
    rounded = logits.bfloat16()
    nats, tokens = by_hand(rounded.float(), labels)
    assert updated(Perplexity(), (rounded, labels)).compute().item() == pytest.approx(math.exp(nats / tokens), rel=1e-6)
    in_bfloat16 = -rounded.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0][labels != IGNORE]
    assert abs(in_bfloat16.double().mean().item() - nats / tokens) > 1e-3  # the way not to do it


def test_how_text_is_batched_and_padded_does_not_matter():
    logits, labels = batch(6, 20, 30)
    whole = updated(Perplexity(), (logits, labels)).compute()
    alone = updated(Perplexity(), *((logits[i : i + 1], labels[i : i + 1]) for i in range(6))).compute()
    noise = torch.full((6, 9, 30), float("nan"))
    padded = torch.cat([logits, noise], 1), torch.cat([labels, torch.full((6, 9), IGNORE)], 1)
    assert alone.item() == pytest.approx(whole.item(), rel=1e-12)
    assert updated(Perplexity(), padded).compute().item() == pytest.approx(whole.item(), rel=1e-12)


def test_a_batch_with_everything_ignored_adds_nothing():
    logits, labels = batch(2, 8, 10)
    nothing = (torch.full((2, 8, 10), float("inf")), torch.full((2, 8), IGNORE))
    assert [value.item() for value in next_token_nats(*nothing)] == [0.0, 0]
    alone = updated(Perplexity(), (logits, labels)).compute()
    assert updated(Perplexity(), nothing, (logits, labels), nothing).compute() == alone


def test_an_impossible_token_gives_infinity_and_a_sure_one_gives_one():
    logits = torch.tensor([[[0.0, -float("inf")]]])
    assert updated(Perplexity(), (logits, torch.tensor([[1]]))).compute() == math.inf
    assert updated(Perplexity(), (logits, torch.tensor([[0]]))).compute() == 1.0
    far = torch.tensor([[[0.0, 120.0]]])  # torchmetrics gives inf here
    assert text_loss((far, torch.tensor([[0]]))).compute()["nats_per_token"] == 120.0


def test_counts_go_on_above_two_to_the_24():
    metric, bits = Perplexity(), BitsPerByte()
    metric.num_tokens += 2**24
    bits.num_bytes += 2**53
    metric.nats += 2.0**24
    zeros = torch.zeros(1, 3, 2), torch.zeros(1, 3, dtype=torch.int64)
    updated(metric, zeros)
    updated(bits, zeros, num_bytes=1)
    assert metric.num_tokens == 2**24 + 3
    assert bits.num_bytes == 2**53 + 1
    assert metric.nats.item() == pytest.approx(2.0**24 + 3 * math.log(2), abs=1e-6)
    assert metric.compute().item() == pytest.approx(math.exp((2**24 + 3 * math.log(2)) / (2**24 + 3)), rel=1e-14)


CASTS = {
    "bfloat16": lambda parent: parent.bfloat16(),
    "half": lambda parent: parent.half(),
    "float": lambda parent: parent.float(),
    "to": lambda parent: parent.to(torch.bfloat16),
    "set_dtype": lambda parent: parent.metric.set_dtype(torch.float16),
}


@pytest.mark.parametrize("cast", CASTS)
def test_states_keep_their_types_when_the_module_is_cast(cast):
    parent = torch.nn.Module()
    parent.metric = TextLoss()
    parent.layer = torch.nn.Linear(1, 1)
    sums = next_token_nats(*batch(2, 200, 10))
    parent.metric.update(*sums, num_bytes=257)
    expected = parent.metric.nats.clone()
    CASTS[cast](parent)
    for _ in range(2):
        types = [getattr(parent.metric, s).dtype for s in ("nats", "num_tokens", "num_bytes")]
        assert types == [torch.float64, torch.int64, torch.int64]
        parent.metric.reset()
        parent.metric.update(*sums, num_bytes=257)
    assert torch.equal(parent.metric.nats, expected)
    assert parent.metric.num_bytes == 257


def test_reset_forgets_everything():
    one, two = batch(2, 8, 10, seed=1), batch(2, 8, 10, seed=2)
    metric = updated(Perplexity(), one)
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert math.isnan(metric.compute())
    assert updated(metric, two).compute() == updated(Perplexity(), two).compute()


def test_forward_gives_the_value_of_the_batch_and_adds_to_the_sum():
    one, two = batch(2, 8, 10, seed=1), batch(4, 3, 10, seed=2)
    metric = Perplexity()
    metric(*one)
    assert metric(*two) == updated(Perplexity(), two).compute()
    assert metric.compute() == updated(Perplexity(), one, two).compute()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"logits \(2, 8, 10\) do not fit labels \(2, 7\)"):
        Perplexity().update(torch.zeros(2, 8, 10), torch.zeros(2, 7, dtype=torch.int64))


def test_the_training_loss_is_the_mean_with_a_gradient_and_zero_where_nothing_counts():
    logits, labels = batch(2, 8, 10)
    logits.requires_grad_()
    loss = next_token_mean(logits, labels)
    nats, tokens = by_hand(logits.detach(), labels)
    assert loss.item() == pytest.approx(nats / tokens, rel=1e-6)
    loss.backward()
    chosen = functional.one_hot(labels.clamp(min=0), 10)
    expected = (logits.detach().softmax(-1) - chosen) * (labels != IGNORE)[..., None] / tokens
    assert torch.allclose(logits.grad, expected, atol=1e-7)
    assert next_token_mean(logits, torch.full_like(labels, IGNORE)).item() == 0.0


def test_labels_are_not_shifted_again():
    """A model sure of exactly the given labels has perplexity 1; the neighbours would not."""
    labels = torch.tensor([random.Random(0).sample(range(9), 9)])
    sure = functional.one_hot(labels, 9) * 200.0
    assert updated(Perplexity(), (sure, labels)).compute() == 1.0
