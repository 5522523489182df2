"""Figures of gradients against plain arithmetic."""

import math

import pytest
import torch

from lightning_langcore.monitoring.gradients import adam_ratio, energy_within, gradient_norms
from lightning_langcore.regions.weight_set import WeightSet
from tests.support.models import tiny_llama


def test_norms_and_energies_are_sums_of_squares():
    gradients = [torch.randn(5, 7), torch.randn(3).bfloat16(), torch.randn(4, 6).t()]
    for mine, gradient in zip(gradient_norms(gradients), gradients, strict=True):
        assert mine.dtype == torch.float32
        assert float(mine) == pytest.approx(math.sqrt(sum(float(g) ** 2 for g in gradient.flatten())), rel=1e-4)
    rows = WeightSet("rows", torch.tensor([1]), (5, 7))
    few = WeightSet("idx", torch.tensor([0, 9]), (6, 4))
    energy = energy_within([(gradients[0], rows), (gradients[2], few)], torch.device("cpu"))
    expected = gradients[0][1].square().sum() + gradients[2][0, 0] ** 2 + gradients[2][2, 1] ** 2
    assert float(energy) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_adam_ratio_equals_a_plain_mean(fused):
    model = tiny_llama()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=fused)
    assert adam_ratio(optimizer) is None
    moments = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in model.named_parameters()}
    ids = torch.arange(16).view(1, 16)
    for step in range(1, 5):
        model(input_ids=ids, labels=ids).loss.backward()
        if step > 1:
            ratios = []
            for name, p in model.named_parameters():
                corrected = moments[name] / (1 - 0.95 ** (step - 1))
                ratios.append((p.grad.double().square() / corrected)[corrected.sqrt() > 1e-8])
            assert float(adam_ratio(optimizer)) == pytest.approx(float(torch.cat(ratios).mean()), rel=1e-3)
            assert len(torch.cat(ratios)) < sum(p.numel() for p in model.parameters())  # rows never read
        for name, p in model.named_parameters():
            moments[name] = 0.95 * moments[name] + 0.05 * p.grad.double().square()
        optimizer.step()
        optimizer.zero_grad()
    assert adam_ratio(torch.optim.SGD(model.parameters(), lr=0.1)) is None
