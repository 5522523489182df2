"""What the monitor measures of a step, against plain arithmetic."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch

from lightning_langcore import ContinuedPretraining, CoreGuard
from lightning_langcore.monitoring.novelty import CostMemory, Costs, PairMemory
from tests.support.models import random_half, tiny_llama
from tests.support.monitored import SGD, Monitor, Recorder, noisy
from tests.support.training import fit


def test_signals_equal_plain_arithmetic(tmp_path):
    model = tiny_llama()
    reference = copy.deepcopy(model)
    region = random_half(model, fraction=0.1)
    batches = noisy(4, (1,))
    recorder = Recorder()
    monitor = Monitor("log", dirpath=tmp_path, region=region)
    module = ContinuedPretraining(model, partial(torch.optim.SGD, lr=0.0))
    fit(module, batches, [monitor, CoreGuard(region), recorder], accumulate_grad_batches=2, gradient_clip_val=0.1)
    losses: list[torch.Tensor] = []
    for batch in batches[2:]:
        logits = reference(input_ids=batch["input_ids"]).logits.flatten(0, 1)
        losses.append(torch.nn.functional.cross_entropy(logits, batch["shift_labels"].flatten()))
    (sum(losses) / 2).backward()
    parameters = dict(reference.named_parameters())
    squares = {name: float(p.grad.double().square().sum()) for name, p in parameters.items()}
    inside = sum(float(parameters[name].grad.double().view(-1)[idx].square().sum()) for name, idx in region)
    share = inside / sum(squares[name] for name in region.shapes) / region.fraction
    last = recorder.rows[-1]
    assert last["loss"] == pytest.approx(sum(float(loss.detach()) for loss in losses) / 2, rel=1e-5)
    assert last["grad_norm"] == pytest.approx(math.sqrt(sum(squares.values())), rel=1e-5)
    assert last["core_share"] == pytest.approx(share, rel=1e-4)
    assert last["repetition"] == 1.0
    assert recorder.rows[1]["repetition"] == 16.0
    assert last["unseen_pairs"] == pytest.approx(0.4 * 15)  # of the first step nothing was learned
    assert last["flagged"] == 1.0


@pytest.mark.parametrize("accumulate", [1, 2])
def test_surprise_is_that_of_the_labels_that_count(tmp_path, accumulate):
    batches = noisy(6, (3,))
    for batch in batches:
        batch["shift_labels"][1, 4:7] = -100
    model, recorder, memory, pairs = tiny_llama(), Recorder(), CostMemory(), PairMemory(22)
    module = ContinuedPretraining(model, partial(torch.optim.SGD, lr=0.0))
    fit(module, batches, [Monitor("log", dirpath=tmp_path), recorder], accumulate_grad_batches=accumulate)
    expected = []
    for first in range(0, 6, accumulate):
        step, costs = [], []
        for batch in batches[first : first + accumulate]:
            labels = batch["shift_labels"]
            logits = model(input_ids=batch["input_ids"]).logits.flatten(0, 1)
            nats = torch.nn.functional.cross_entropy(logits, labels.flatten(), reduction="none").view(labels.shape)
            nats, labels = nats.detach().numpy()[:, :-1], labels.numpy()[:, :-1]
            is_new, hashes = pairs.look(batch["input_ids"].numpy(), np.ones(labels.shape, dtype=bool))
            step.append((memory.surprise(labels, nats, is_new), hashes))
            costs.append(Costs.of(labels[labels >= 0], nats[labels >= 0], is_new[labels >= 0]))
        expected.append(None if first == 0 else max(values.max() for values, _ in step))
        if first // accumulate != 3 // accumulate:  # the flagged step isn't learned
            memory.add(costs)
            for _, hashes in step:
                pairs.add(hashes)
    found = [row.get("surprise") for row in recorder.rows[accumulate - 1 :: accumulate]]
    assert found[0] is None
    assert found[1:] == pytest.approx(expected[1:], rel=1e-5)


class Silent(ContinuedPretraining):
    """A module that does not say what tokens cost."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        del self.token_nats
        return loss


def test_a_module_that_does_not_say_what_tokens_cost_has_no_surprise(tmp_path):
    recorder = Recorder()
    fit(Silent(tiny_llama(), SGD), noisy(4, ()), [Monitor(dirpath=tmp_path), recorder])
    assert set(recorder.rows[-1]) == {"loss", "grad_norm", "repetition", "unseen_pairs", "flagged"}


def test_pairs_of_accepted_steps_are_known(tmp_path):
    batches = noisy(2, ())
    batches[1] = copy.deepcopy(batches[0])
    recorder = Recorder()
    fit(ContinuedPretraining(tiny_llama(), SGD), batches, [Monitor(dirpath=tmp_path), recorder])
    assert [row["unseen_pairs"] for row in recorder.rows] == [pytest.approx(0.4 * 15), 0.0]


def test_rows_without_labels_and_padding_are_not_looked_at(tmp_path):
    batches = noisy(2, ())
    for row in (0, 1):
        batches[0]["input_ids"][row, 3:] = 0
        batches[0]["shift_labels"][row, 2:] = -100
    batches[1]["input_ids"][1] = 5
    batches[1]["shift_labels"][1] = -100
    monitor = Monitor(dirpath=tmp_path)
    fit(ContinuedPretraining(tiny_llama(), SGD), batches, [monitor])
    assert monitor.summary()["num_flagged"] == 0
